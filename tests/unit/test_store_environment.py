"""Processes, crashes and damage: one writer, many readers, kill -9, a power cut, a full disk, overwritten bytes."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vagus.clock import NS
from vagus.errors import StoreError
from vagus.model import Field, Stream
from vagus.store import Store, environment, files
from vagus.store.checkpoint import CHECKPOINT, DATA
from vagus.store.verify import verify

T0 = 1_700_000_000 * NS
LOAD = Stream("a", "host.load", (Field("one"),))


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A Python process that talks through its pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


WRITER = """
import sys
from vagus.model import Field, Stream, Event
from vagus.store import Store
store = Store.open(sys.argv[1])
stream = store.declare(Stream("a", "host.load", (Field("one"),)))
for k in range(int(sys.argv[2])):
    store.append(stream, 1_700_000_000_000_000_000 + k * 10**9, [float(k)])
    store.put("event", Event(1_700_000_000_000_000_000 + k, "tick", "a"), t_ns=1_700_000_000_000_000_000 + k)
    store.save("last", str(k).encode())
    store.flush()
    if k % 100 == 50:
        store.sync()
    print(k, flush=True)
store.append(stream, 1_800_000_000_000_000_000, [0.0])  # never flushed
print("done", flush=True)
sys.stdin.read()
"""


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    from vagus.model import Event

    process = child(WRITER, tmp_path / "s", 650)
    try:
        assert process.stdout is not None
        acknowledged = [line.strip() for line in iter(process.stdout.readline, "done\n")]
        assert acknowledged == [str(k) for k in range(650)]
        with pytest.raises(StoreError, match=f"written by another process .pid {process.pid}.*readonly=True"):
            Store.open(tmp_path / "s")
        with Store.open(tmp_path / "s", readonly=True) as reader:  # while the writer lives
            (batch,) = reader.scan("*")
            assert len(batch) == 650
    finally:
        kill(process)
    with Store.open(tmp_path / "s") as store:
        (batch,) = store.scan("*")
        assert batch.values[:, 0].tolist() == list(range(650))
        assert [e.t_ns - T0 for e in store.records("event", Event, newest_first=False)] == list(range(650))
        assert store.load("last") == b"649"
        assert store.verify() == []
        assert store.stats()["recovered"] == 0


READER = """
import sys
from vagus.store import Store
with Store.open(sys.argv[1], readonly=True) as store:
    print(store._env._files.lmdb.info()["map_size"], flush=True)
    for line in sys.stdin:
        print(sum(len(batch) for batch in store.scan("*")), flush=True)
"""


def test_a_reader_sees_each_flush_and_a_map_that_grew(tmp_path: Path) -> None:
    with Store.open(tmp_path, map_bytes=1 << 20) as store:
        stream_id = store.declare(LOAD)
        store.flush()
        process = child(READER, tmp_path)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert int(process.stdout.readline()) == 1 << 20

            def rows_seen() -> int:
                print(file=process.stdin, flush=True)
                return int(process.stdout.readline())

            for k in range(30):
                store.append(stream_id, T0 + k, [1.0])
                assert rows_seen() == k
                store.flush()
                assert rows_seen() == k + 1
            store.seal()
            assert rows_seen() == 30
            store._env._files.lmdb.set_mapsize(8 << 20)
            store.extend(stream_id, T0 + NS + np.arange(300_000), np.random.default_rng(1).normal(size=(300_000, 1)))
            store.flush()
            assert store.stats()["file_bytes"] > 1 << 20
            assert rows_seen() == 300_030
        finally:
            process.communicate(timeout=20)


def test_one_process_shares_an_environment(tmp_path: Path) -> None:
    with Store.open(tmp_path) as writer:
        with pytest.raises(StoreError, match="already open in this process"):
            Store.open(tmp_path / "." / ".." / tmp_path.name)
        stream_id = writer.declare(LOAD)
        with Store.open(tmp_path, readonly=True) as reader:
            writer.append(stream_id, T0, [1.0])
            writer.flush()
            assert len(list(reader.scan("*"))) == 1
        writer.append(stream_id, T0 + 1, [2.0])
        writer.flush()
    reader = Store.open(tmp_path, readonly=True)
    with pytest.raises(StoreError, match="already open"):
        Store.open(tmp_path)
    reader.close()
    with Store.open(tmp_path) as writer:
        (batch,) = writer.scan("*")
        assert len(batch) == 2
        writer.close()
        writer.close()


def test_paths_that_cannot_be_opened_say_why(tmp_path: Path) -> None:
    for options in ({"create": False}, {"readonly": True}):
        with pytest.raises(StoreError, match="there is no store at"):
            Store.open(tmp_path / "none", **options)  # type: ignore[arg-type]
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="there is no store at"):
        Store.open(tmp_path / "empty", readonly=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="file"):
        Store.open(tmp_path / "file")
    for content, says in ((b"not lmdb" * 2000, "not an LMDB file"), (b"", "")):
        path = tmp_path / f"odd{len(content)}"
        path.mkdir()
        (path / DATA).write_bytes(content)
        if says:
            with pytest.raises(StoreError, match=says):
                Store.open(path)
        else:
            Store.open(path).close()  # an empty file is what a crash at the very start leaves


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store.open(tmp_path).close()
    monkeypatch.setattr(files, "FORMAT", b"vagus store 3")
    for readonly in (False, True):
        with pytest.raises(StoreError, match=r"format b'vagus store 2'.*upgrade vagus"):
            Store.open(tmp_path, readonly=readonly)
    monkeypatch.undo()
    Store.open(tmp_path).close()  # the refusal left no lock behind


def filled(path: Path) -> None:
    rng = np.random.default_rng(3)
    with Store.open(path) as store:
        stream_id = store.declare(LOAD)
        store.extend(stream_id, T0 + np.arange(100_000), rng.normal(size=(100_000, 1)))


def test_overwritten_bytes_are_found(tmp_path: Path) -> None:
    filled(tmp_path / "good")
    good = (tmp_path / "good" / DATA).read_bytes()
    pages = len(good) // 4096
    found = 0
    for seed in range(8):
        path = tmp_path / f"bad{seed}"
        path.mkdir()
        at = 4096 * random.Random(seed).randrange(pages // 2, pages - 20) + 200
        (path / DATA).write_bytes(good[:at] + bytes(x ^ 0x5A for x in good[at : at + 8]) + good[at + 8 :])
        with Store.open(path) as store:
            problems = verify(store._env, store._query, structure=False)
            if problems:
                found += 1
                assert "checksum" in problems[0]
                with pytest.raises(StoreError, match=r"host.load.*checksum"):
                    list(store.scan("*"))
    assert found >= 5  # the others hit pages that are free


def test_a_file_cut_short_is_refused_or_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    with Store.open(tmp_path) as store:
        store.extend(store.declare(LOAD), T0 + np.arange(400_000), rng.normal(size=(400_000, 1)))
    size = (tmp_path / DATA).stat().st_size
    os.truncate(tmp_path / DATA, size // 2)
    for readonly in (False, True):
        with pytest.raises(StoreError, match="cut short"):
            Store.open(tmp_path, readonly=readonly)


def test_a_power_cut_leaves_exactly_the_last_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages written since the last sync reach the disk in any order or not at all; the roots reach it first."""
    walk = pytest.importorskip("lmdb.verify").verify
    monkeypatch.setattr(environment, "boot_id", lambda: b"first boot")
    live = tmp_path / "live"
    rng = np.random.default_rng(4)
    torn = 0
    with Store.open(live) as store:
        stream_id = store.declare(LOAD)
        for cycle in range(6):
            for k in range(5):
                store.append(stream_id, T0 + cycle * 1000 + k, [float(k)])
                store.save("cycle", f"{cycle} {k}".encode() * 500)
                store.flush()
            store.sync()
            before = (live / DATA).read_bytes()
            expected = [batch.values.tolist() for batch in store.scan("*")]
            for k in range(20):  # much that is not synced, with deletions that free pages
                store.append(stream_id, T0 + cycle * 1000 + 100 + k, [-1.0])
                store.save("cycle", b"unsynced" * 700)
                store.flush()
                if k % 7 == 3:
                    store.seal()
            after = (live / DATA).read_bytes()
            for _ in range(3):
                cut = tmp_path / "cut"
                shutil.rmtree(cut, ignore_errors=True)
                cut.mkdir()
                image = bytearray(after)
                for page in range(2, len(after) // 4096):
                    if rng.random() < 0.5:
                        old = before[page * 4096 : (page + 1) * 4096]
                        image[page * 4096 : (page + 1) * 4096] = old.ljust(4096, b"\0")
                (cut / DATA).write_bytes(image)
                saved = bytearray((live / CHECKPOINT).read_bytes())
                renamed(saved, (cut / DATA).stat().st_ino)
                (cut / CHECKPOINT).write_bytes(saved)
                monkeypatch.setattr(environment, "boot_id", lambda: b"second boot")
                torn += bool(walk(str(cut / DATA), subdir=False))  # as it is, LMDB would find broken pages
                reader_first = bool(rng.random() < 0.3)
                if reader_first:
                    with Store.open(cut, readonly=True) as reader:
                        assert [batch.values.tolist() for batch in reader.scan("*")] == expected
                        assert reader.stats()["recovered"] == 1
                with Store.open(cut) as again:
                    assert again.stats()["recovered"] == int(not reader_first)
                    assert [batch.values.tolist() for batch in again.scan("*")] == expected
                    assert again.load("cycle") == f"{cycle} 4".encode() * 500
                    assert again.verify() == []
                    again.append(again.declare(LOAD), T0 + 10**9, [1.0])
                with Store.open(cut) as again:
                    assert again.stats()["recovered"] == 0
                    assert again.verify() == []
                monkeypatch.setattr(environment, "boot_id", lambda: b"first boot")
    assert torn >= 9


def renamed(checkpoint: bytearray, inode: int) -> None:
    """Gives both slots another data file's inode, as if that file had always been theirs."""
    import zlib

    from vagus.store.checkpoint import _SLOT, _SLOT_BYTES

    for place in (0, _SLOT_BYTES):
        if len(checkpoint) >= place + _SLOT.size:
            checkpoint[place + 8 : place + 16] = inode.to_bytes(8, "little")
            body = bytes(checkpoint[place : place + _SLOT.size - 4])
            checkpoint[place + _SLOT.size - 4 : place + _SLOT.size] = zlib.crc32(body).to_bytes(4, "little")


def test_a_copied_folder_is_opened_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "boot_id", lambda: b"one")
    with Store.open(tmp_path / "live") as store:
        stream_id = store.declare(LOAD)
        store.sync()
        store.append(stream_id, T0, [1.0])
        store.flush()
        shutil.copytree(tmp_path / "live", tmp_path / "copy")
    monkeypatch.setattr(environment, "boot_id", lambda: b"two")
    with Store.open(tmp_path / "copy") as store:
        assert len(list(store.scan("*"))) == 1


FULL_DISK = """
import resource, sys
from vagus.errors import StoreError
from vagus.model import Field, Stream
from vagus.store import Store
import numpy as np
store = Store.open(sys.argv[1])
stream = store.declare(Stream("a", "host.load", (Field("one"),)))
store.append(stream, 10**18, [1.0])
store.flush()
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
store.extend(stream, 10**18 + 1 + np.arange(400_000), np.random.default_rng(1).normal(size=(400_000, 1)))
try:
    store.flush()
    print("no error")
except StoreError as error:
    print(error)
print(sum(len(b) for b in store.scan("*")))
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
store.flush()
print(sum(len(b) for b in store.scan("*")), store.verify())
store.close()
"""


def test_a_full_disk_is_an_error_and_what_was_taken_in_is_kept(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    out, err = child(FULL_DISK, tmp_path).communicate(timeout=60)
    lines = out.splitlines()
    assert len(lines) == 3, err
    assert "the disk is full" in lines[0]
    assert "kept in memory" in lines[0]
    assert lines[1:] == ["1", "400001 []"]


def test_a_key_that_is_cut_short_is_damage_and_says_so(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        stream = store.declare(Stream("n1", "a.b", (Field("x"),)))
        store.extend(stream, np.arange(1000) * 10**9 + 10**18, [np.arange(1000.0)])
        store.flush()
        with store._env.write() as txn:
            txn.put(b"\xff", b"", db=store._env.db["blocks"])
            txn.put(b"\x00\x00", b"", db=store._env.db["blocks"])
        with pytest.raises(StoreError, match="damaged"):
            for _ in store.scan("a.b"):
                pass
