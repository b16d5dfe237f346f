"""Large arrays that were freed do not stay with the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHILD = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from vagus.actors.heap import return_large_blocks
if sys.argv[1] == "fixed" and not return_large_blocks():
    print("no glibc")
    sys.exit()
def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("RssAnon"))
def query(_):
    np.ones(1 << 20)  # freed: from now on glibc would take 8 MiB from its heaps too
    kept = []
    for _ in range(300):
        kept.append((np.ones(20_000), bytearray(3000)))
    return bytearray(64 << 10)  # an answer, on top of what is freed
before = anonymous()
with ThreadPoolExecutor(4) as threads:
    for _ in range(3):
        answers = list(threads.map(query, range(4)))
    print(anonymous() - before)
"""


def held_mb(mode: str) -> int:
    found = subprocess.run([sys.executable, "-c", CHILD, mode], capture_output=True, text=True, check=True, timeout=60)
    if found.stdout.startswith("no glibc"):
        pytest.skip("the C library is not glibc")
    return int(found.stdout)


def test_freed_arrays_go_back_to_the_kernel() -> None:
    assert held_mb("fixed") < 20 < held_mb("as it is")


MAPPED = """
import mmap, sys
from pathlib import Path
from vagus.actors.heap import let_go, settle
path = Path(sys.argv[1])
path.write_bytes(bytes(8 << 20))
def held():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssFile"))
with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
    before = held()
    assert sum(mapped[::4096]) == 0
    touched = held()
    found = let_go(path)
    settle()
    print(found, touched - before, held() - before, sum(mapped[::4096]), let_go(path.with_name("other")))
"""


def test_pages_of_a_mapped_file_are_let_go_and_come_back(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MAPPED, str(tmp_path / "x")], capture_output=True, text=True, check=True, timeout=60
    )
    found, touched_kb, held_kb, read, others = map(int, done.stdout.split())
    assert (found, read, others) == (1, 0, 0)
    assert held_kb < touched_kb // 2
