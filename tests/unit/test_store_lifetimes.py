"""What must outlive what: files and those who read them, in threads, processes, forks, and after a power cut."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vagus.clock import NS
from vagus.errors import StoreError
from vagus.model import Field, Stream
from vagus.store import Store, environment, files, handover, lock, syncing, transactions
from vagus.store.checkpoint import DATA
from vagus.store.reader import open_all

T0 = 1_700_000_000 * NS
LOAD = Stream("a", "host.load", (Field("one"),))


def run(code: str, *args: object) -> str:
    """What a process of its own prints."""
    done = subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Reading:
    """A thread that stands inside a read transaction, with a value of it in hand, until `end`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._inside, self._go = threading.Event(), threading.Event()
        self.found: Any = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._inside.wait(10)

    def _run(self) -> None:
        try:
            env = self._store._env
            with env.read() as txn:
                value = txn.get(b"a", db=env.db["state"])
                self._inside.set()
                self._go.wait(10)
                self.found = bytes(value)
        except StoreError as error:
            self.found = str(error)

    def end(self) -> Any:
        self._go.set()
        self._thread.join()
        return self.found


def filled(path: Path, map_bytes: int = 16 << 20) -> None:
    with Store.open(path, map_bytes=map_bytes) as store:
        store.append(store.declare(LOAD), T0, [1.0])
        store.save("a", b"x" * 9000)


def test_closing_waits_for_reads_of_other_threads_and_unmaps_nothing_under_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    store = Store.open(tmp_path, readonly=True)
    reading = Reading(store)
    threading.Timer(0.05, reading.end).start()
    store.close()
    assert reading.found == b"x" * 9000
    with pytest.raises(StoreError, match="closed"):
        list(store.scan("*"))

    monkeypatch.setattr(transactions, "SWITCH_S", 0.02)
    store = Store.open(tmp_path)  # a writer, whose reader hangs
    reading = Reading(store)
    store.close()
    assert "closed while this was read" in reading.end()  # without a crash
    with Store.open(tmp_path) as store:  # nothing was left open
        assert store.verify() == []


def test_a_map_that_grew_is_not_taken_up_under_a_read_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "SWITCH_S", 0.02)
    filled(tmp_path, map_bytes=1 << 20)
    code = (
        "import sys\nfrom vagus.store import Store\n"
        "with Store.open(sys.argv[1], map_bytes=64 << 20) as store: store.save('b', bytes(range(256)) * 20_000)"
    )
    with Store.open(tmp_path, readonly=True) as store:
        reading = Reading(store)
        with store._env.read() as txn:  # and one of the thread that reads on
            run(code, tmp_path)
            with pytest.raises(StoreError, match="read again"):
                store.load("b")
            assert txn.get(b"a", db=store._env.db["state"]) == b"x" * 9000
        with pytest.raises(StoreError, match="read again"):
            store.load("b")
        assert reading.end() == b"x" * 9000
        assert store.load("b") == bytes(range(256)) * 20_000


FORKS = """
import os, subprocess, sys
from vagus.errors import StoreError
from vagus.model import Field, Stream
from vagus.store import Store

def refused(what):
    try:
        what()
    except StoreError as error:
        return "fork" in str(error)

with Store.open(sys.argv[1]) as store:
    load = store.declare(Stream("a", "host.load", (Field("one"),)))
    store.append(load, 1, [1.0])
    store.sync()
    before = store._env._files.lmdb.readers()
    child = os.fork()
    if not child:
        ok = [refused(lambda: list(store.scan("*"))), refused(store.flush), refused(lambda: store.save("a", b""))]
        ok += [refused(lambda: Store.open(sys.argv[1], readonly=True)), refused(lambda: Store.open(sys.argv[1]))]
        store.close()  # at the end of a `with`
        with Store.open(sys.argv[2]) as other:  # another one
            other.save("child", b"1")
        os._exit(0 if all(ok) else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), store._env._files.lmdb.readers() == before)
    store.append(load, 2, [2.0])
    store.flush()
    print(sum(len(batch) for batch in store.scan("*")), store.verify())
    mine, theirs = os.pipe()
    if not os.fork():
        os.close(theirs)
        os.read(mine, 1)  # outlives what it inherited
        os._exit(0)
another = "import sys; from vagus.store import Store; Store.open(sys.argv[1]).close()"
print(subprocess.run([sys.executable, "-c", another, sys.argv[1]]).returncode)
"""


def test_a_forked_child_is_refused_and_ends_nothing_of_its_parent(tmp_path: Path) -> None:
    assert run(FORKS, tmp_path / "a", tmp_path / "b") == "0 True\n2 []\n0\n"
    with Store.open(tmp_path / "b", readonly=True) as store:
        assert store.load("child") == b"1"


KILLED = """
import os, sys
from pathlib import Path
from vagus.store.environment import Environment
env = Environment.open(Path(sys.argv[1]), create=True, readonly=False, boot=b"one")
for number in range(3):
    with env.write() as txn:
        txn.put(b"a", b"%d" % number, db=env.db["state"])
os._exit(0)
"""


def test_after_a_power_cut_a_reader_waits_until_the_root_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file may be torn until then: LMDB must not map it."""
    monkeypatch.setattr(environment, "boot_id", lambda: b"two")
    monkeypatch.setattr(syncing, "OPENING_S", 0.05)
    run(KILLED, tmp_path)
    holding = lock.WriterLock(tmp_path)
    taken = lock.WriterLock.take

    def refused(self: lock.WriterLock, as_reader: bool = False) -> None:
        raise StoreError("held by the writer, which is about to recover")

    monkeypatch.setattr(lock.WriterLock, "take", refused)
    with pytest.raises(StoreError, match="synced"):
        Store.open(tmp_path, readonly=True)
    tries: list[int] = []

    def recovering(self: lock.WriterLock, as_reader: bool = False) -> None:
        tries.append(1)
        if len(tries) == 2:  # the writer has done it meanwhile
            monkeypatch.setattr(lock.WriterLock, "take", taken)
            holding.take()
            syncing.Syncing(tmp_path, b"two").recover()
            holding.release()
        raise StoreError("held by the writer")

    monkeypatch.setattr(lock.WriterLock, "take", recovering)
    with Store.open(tmp_path, readonly=True) as store:
        assert store.load("a") is None
        assert not store.stats()["recovered"]
    with Store.open(tmp_path) as store:
        assert store.load("a") is None


def test_a_new_store_has_no_file_before_that_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut in between would leave one without roots, which nobody can open, and no checkpoint."""
    named: list[bool] = []

    def cut(made: Path, path: Path) -> None:
        assert not (path / DATA).exists()
        named.append((made / DATA).stat().st_size > 0)
        raise OSError(5, "the power goes")

    monkeypatch.setattr(handover, "put_in_place", cut)
    with pytest.raises(StoreError, match="the power goes"):
        Store.open(tmp_path)
    assert named == [True]
    monkeypatch.undo()
    filled(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", "data.mdb", "lock.mdb", "writer"]


VERIFYING = """
import sys
from vagus.store import Store
with Store.open(sys.argv[1], readonly=True) as store, store._env.unwritten() as alone:
    print(alone, flush=True)
    sys.stdin.read()
"""


def test_a_writer_waits_for_a_reader_that_verifies_and_for_nobody_else(tmp_path: Path) -> None:
    filled(tmp_path)
    argv = [sys.executable, "-c", VERIFYING, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as verifying:
        assert verifying.stdout is not None
        assert verifying.stdin is not None
        assert verifying.stdout.readline() == "True\n"
        threading.Timer(0.2, verifying.stdin.close).start()
        with Store.open(tmp_path) as store:
            assert store.load("a") is not None
            assert lock.writer_of(tmp_path) == os.getpid()
            code = "import sys\nfrom vagus.store import Store\ntry: Store.open(sys.argv[1])\nexcept Exception as e: print(e)"
            assert f"pid {os.getpid()}" in run(code, tmp_path)


def test_a_lock_file_of_another_state_is_an_error_and_no_endless_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    monkeypatch.setattr(syncing, "read_metas", lambda data: [])
    with pytest.raises(StoreError, match="lock file"):
        Store.open(tmp_path)
    monkeypatch.undo()
    with Store.open(tmp_path) as store:
        assert store.verify() == []


def test_a_folder_that_was_replaced_is_never_taken_for_the_former_one(tmp_path: Path) -> None:
    """Also when the file system gives the new folder the inode of the old one."""
    here, there = tmp_path / "here", tmp_path / "there"
    filled(here)
    with Store.open(here, readonly=True) as store:
        os.rename(here, there)
        filled(here)
        with pytest.raises(StoreError, match="another folder"):
            list(store.scan("*"))
        with Store.open(here) as new:
            assert new.load("a") == b"x" * 9000
    with Store.open(here, readonly=True) as first:
        key = environment.Environment._opened.popitem()[0]
        os.rename(here, tmp_path / "gone")
        filled(here)
        environment.Environment._opened[files.file_of(here)] = first._env  # as if the inode were the same
        assert key != files.file_of(here)
        with Store.open(here, readonly=True) as second:
            assert second._env is not first._env


def test_readers_in_threads_read_all_while_the_file_is_replaced_under_them(tmp_path: Path) -> None:
    for name in ("a", "b"):
        filled(tmp_path / name)
    problems: list[str] = []
    counts: list[int] = []
    ended = threading.Event()
    with open_all(tmp_path) as reader:

        def read() -> None:
            while not ended.is_set():
                counts.append(len(list(reader.scan("*"))))
                problems.extend(reader.problems.values())

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        code = "import sys\nfrom vagus.store import Store\nwith Store.open(sys.argv[1]) as s: [s.compact() for _ in range(8)]"
        run(code, tmp_path / "a")
        ended.set()
        for thread in threads:
            thread.join()
    assert set(counts) == {2}
    assert problems == []


def test_a_rewriting_that_fails_between_its_renames_leaves_the_writer_no_file_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    rename: Callable[..., None] = os.replace

    def failing(source: Path, to: Path) -> None:
        if Path(to) == tmp_path / "lock.mdb":
            raise OSError(5, "Input/output error")
        rename(source, to)

    with Store.open(tmp_path) as store, Store.open(tmp_path, readonly=True) as reader:
        monkeypatch.setattr(os, "replace", failing)
        with pytest.raises(StoreError, match="fails"):
            store.compact()
        monkeypatch.undo()
        store.save("b", b"acknowledged")
        store.sync()
        assert reader.load("b") == b"acknowledged"
        assert (
            run(
                "import sys; from vagus.store import Store; print(Store.open(sys.argv[1], readonly=True).load('b'))",
                tmp_path,
            )
            == "b'acknowledged'\n"
        )
        store.compact()
    with Store.open(tmp_path) as store:
        assert store.load("b") == b"acknowledged"


def test_a_full_disk_leaves_a_lock_without_a_name_and_no_torn_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    real: Callable[..., int] = os.pwrite

    def full(file: int, data: bytes, at: int) -> int:
        if os.path.basename(os.readlink(f"/proc/self/fd/{file}")) in names:
            if errno_wanted:
                raise OSError(28, "No space left on device")
            return real(file, data[: len(data) // 2], at)
        return real(file, data, at)

    monkeypatch.setattr(os, "pwrite", full)
    names, errno_wanted = {lock.WRITER}, True
    with Store.open(tmp_path) as store:
        assert store.load("a") is not None
        errno_wanted, names = False, {"checkpoint"}
        store.save("b", b"1")
        with pytest.raises(StoreError, match="disk is full"):
            store.sync()
        names = set()
        store.sync()
    assert (tmp_path / DATA).exists()
