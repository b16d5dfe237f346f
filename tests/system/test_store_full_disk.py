"""A disk that is really full: a small tmpfs in a mount namespace of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root"),
    pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed"),
]

FULL = """
import os, sys
import numpy as np
from vagus.errors import StoreError
from vagus.model import Field, Stream
from vagus.store import Store

disk = sys.argv[1]
load = Stream("a", "host.load", (Field("one"),))
rng = np.random.default_rng(1)

def rows(store):
    return sum(len(b) for b in store.scan("*"))

def attempt(what):
    try:
        what()
        print("done")
    except StoreError as error:
        print(error)

store = Store.open(disk + "/store")
stream = store.declare(load)
for k in range(4):
    store.extend(stream, 10**18 + k * 50_000 + np.arange(50_000), rng.normal(size=(50_000, 1)))
    store.flush()
store.sync()
before = rows(store)
filler = os.open(disk + "/filler", os.O_WRONLY | os.O_CREAT)  # somebody else takes what is left
try:
    while os.write(filler, bytes(4096)):
        pass
except OSError:
    os.close(filler)
store.extend(stream, 2 * 10**18 + np.arange(200_000), rng.normal(size=(200_000, 1)))
attempt(store.flush)
attempt(store.sync)
attempt(store.compact)
print(rows(store) == before, store.verify())
with Store.open(disk + "/store", readonly=True) as reader:
    print(rows(reader) == before)
os.unlink(disk + "/filler")
attempt(store.flush)
attempt(store.compact)
print(rows(store) == before + 200_000, store.verify())
store.close()
with Store.open(disk + "/store") as again:
    print(rows(again) == before + 200_000)
"""


def test_a_full_disk_says_so_keeps_what_it_has_and_goes_on(tmp_path: Path) -> None:
    script = 'mount -t tmpfs -o size=12m none "$1" && exec "$2" -c "$3" "$1"'
    argv = ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), sys.executable, FULL]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=60 * PATIENCE, check=False)
    if "mount:" in result.stderr:
        pytest.skip(f"no tmpfs can be mounted here: {result.stderr.strip()[:100]}")
    lines = result.stdout.splitlines()
    assert len(lines) == 9, result.stderr
    flushed, synced, compacted, *rest = lines
    assert "the disk is full" in flushed
    assert "kept in memory" in flushed
    assert "the disk is full" in synced
    assert "free space" in compacted
    assert rest == ["True []", "True", "done", "done", "True []", "True"]
