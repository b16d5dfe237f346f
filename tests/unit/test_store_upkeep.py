"""Readers that hold pages, the watchdog over our own, and the store rewritten into a new file under all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vagus.clock import NS, ManualClock
from vagus.errors import StoreError
from vagus.model import Event, Field, Stream
from vagus.store import Store
from vagus.store.checkpoint import DATA
from vagus.store.handover import NEW
from vagus.store.holders import Holders
from vagus.store.reader import open_all

T0 = 1_700_000_000 * NS
LOAD = Stream("a", "host.load", (Field("one"),))

# A process of another program: it holds a read transaction on the store, and reads all of it when told.
HOLDER = """
import sys, lmdb
env = lmdb.open(sys.argv[1], readonly=True, max_dbs=12, map_size=0)
blocks = env.open_db(b"blocks", create=False)
txn = env.begin(buffers=True)
def total():
    return sum(len(v) + sum(bytes(v)[:64]) for v in txn.cursor(blocks).iternext(keys=False))
print(total(), flush=True)
for line in sys.stdin:
    print(total(), flush=True)
"""

# One of ours, that reads whenever it is told.
OURS = """
import sys
from vagus.store import Store
store = Store.open(sys.argv[1], readonly=True)
print(sum(len(b) for b in store.scan("*")), flush=True)
for line in sys.stdin:
    print(sum(len(b) for b in store.scan("*")), flush=True)
"""


class Child:
    """A Python process that answers each line with a line."""

    def __init__(self, code: str, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.first = self.line()

    def line(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def ask(self, what: str = "") -> int:
        print(what, file=self.process.stdin, flush=True)
        return self.line()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def children() -> Iterator[list[Child]]:
    made: list[Child] = []
    yield made
    for child in made:
        child.kill()


def grow(store: Store, rng: np.random.Generator, start: int, rows: int = 3000) -> None:
    store.extend(store.declare(LOAD), T0 + (start + np.arange(rows)) * (NS // 3000), rng.normal(size=(rows, 1)))
    store.flush()


def events(store: Store, name: str) -> list[Event]:
    return [e for e in store.records("event", Event) if e.event == name]


LIMIT = 2 << 20


def churn(store: Store, clock: ManualClock, rounds: int, sizes: list[int], first: int = 0) -> None:
    """As an actor does: writes, syncs each second, retains now and then."""
    rng = np.random.default_rng(first)
    for k in range(first, first + rounds):
        grow(store, rng, k * 3000)
        clock.advance(1)
        store.sync()
        if k % 5 == 0:
            store.retain(max_bytes=LIMIT)
        sizes.append((store.path / DATA).stat().st_size)


def test_a_held_reader_is_told_and_left_behind_before_the_file_outgrows_its_limit(
    tmp_path: Path, children: list[Child]
) -> None:
    clock = ManualClock(T0)
    path = tmp_path / "nodes" / "n1" / "store" / "collector"
    with Store.open(path, clock=clock) as store:
        sizes: list[int] = []
        churn(store, clock, 60, sizes)  # the file reaches its size
        assert max(sizes) <= 1.3 * LIMIT
        child = Child(HOLDER, path)
        children.append(child)
        for k in range(12):
            store.append(store.declare(LOAD), T0 + 10**6 * NS + k, [1.0])
            clock.advance(1)
            store.sync()
        (stale,) = events(store, "store.reader_stale")
        assert (stale.fields["pid"], stale.node, stale.fields["store"]) == (child.process.pid, "n1", "collector")
        assert float(stale.fields["age_s"]) >= 10
        assert "python" in str(stale.fields["command"])
        churn(store, clock, 100, sizes, 60)  # not so long that retention takes the event itself
        assert max(sizes) <= 1.3 * LIMIT
        store.flush()
        (evicted,) = events(store, "store.reader_evicted")
        assert evicted.fields["pid"] == child.process.pid
        assert int(evicted.fields["held_bytes"]) > 0
        assert child.ask() == child.first  # what it reads did not change under it
        assert store.holders() == []
        assert store.verify() == []
    with Store.open(path) as store:
        assert store.verify() == []
        assert len(events(store, "store.reader_evicted")) == 1


def test_a_reader_that_died_holds_nothing(tmp_path: Path, children: list[Child]) -> None:
    clock = ManualClock(T0)
    with Store.open(tmp_path, clock=clock) as store:
        grow(store, np.random.default_rng(1), 0)
        child = Child(HOLDER, tmp_path)
        children.append(child)
        assert [h.pid for h in store.holders()] == [child.process.pid]
        child.kill()
        assert store.holders() == []
        clock.advance(60)
        store.sync()
        store.flush()
        assert events(store, "store.reader_stale") == []


def test_a_stopped_reader_of_ours_reads_on_in_the_new_file(tmp_path: Path, children: list[Child]) -> None:
    with Store.open(tmp_path) as store:
        rng = np.random.default_rng(1)
        grow(store, rng, 0)
        child = Child(OURS, tmp_path)
        children.append(child)
        assert child.first == 3000
        os.kill(child.process.pid, signal.SIGSTOP)
        before = os.stat(tmp_path / DATA).st_ino
        store.compact()
        assert os.stat(tmp_path / DATA).st_ino != before
        grow(store, rng, 3000)
        os.kill(child.process.pid, signal.SIGCONT)
        assert child.ask() == 6000
        store.compact()
        store.compact()
        grow(store, rng, 6000)
        assert child.ask() == 9000


def test_without_room_to_move_on_writes_are_refused_until_the_reader_ends(
    tmp_path: Path, children: list[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock(T0)
    with Store.open(tmp_path, clock=clock) as store:
        sizes: list[int] = []
        churn(store, clock, 60, sizes)
        child = Child(HOLDER, tmp_path)
        children.append(child)
        real = os.statvfs(tmp_path)
        full = os.statvfs_result((*real[:4], 0, *real[5:]))
        monkeypatch.setattr(os, "statvfs", lambda _: full)
        with pytest.raises(StoreError, match=rf"process {child.process.pid} \(.*python.*end or resume.*free space"):
            churn(store, clock, 200, sizes, 60)
        assert max(sizes) <= 1.3 * LIMIT
        size = (tmp_path / DATA).stat().st_size
        clock.advance(5)
        with pytest.raises(StoreError, match="nothing more is written"):
            store.flush()
        assert (tmp_path / DATA).stat().st_size == size
        child.kill()
        clock.advance(5)
        store.flush()  # what was refused is written now
        monkeypatch.undo()
        assert len(events(store, "store.refusing")) == 1
        assert store.verify() == []


def test_compact_gives_the_free_pages_back_and_keeps_everything(tmp_path: Path) -> None:
    clock = ManualClock(T0)
    rng = np.random.default_rng(2)
    with Store.open(tmp_path, clock=clock) as store:
        for k in range(20):
            grow(store, rng, k * 3000)
        for k in range(3000):
            store.put("event", Event(T0 + k, "x", "a"), t_ns=T0 + k, index={"event": "x"})
        store.save("state", b"s" * 9000)
        store.retain(max_bytes=1 << 20)
        store.append(store.declare(LOAD), T0 + 10**9 * NS, [1.0])  # in the head
        store.flush()
        rows = [batch.values.tolist() for batch in store.scan("*")]
        count = store.count("event")
        reading = store.records("event", Event)
        newest = next(reading)
        steps: list[tuple[int, int]] = []
        before, after = store.compact(lambda done, total: steps.append((done, total)))
        assert after < before
        assert (tmp_path / DATA).stat().st_size <= after
        assert steps[-1][0] == steps[-1][1]
        assert [batch.values.tolist() for batch in store.scan("*")] == rows
        assert store.count("event") == count
        assert [newest, *reading][-1].t_ns >= T0  # an answer that was begun before goes on
        assert store.load("state") == b"s" * 9000
        assert store.verify() == []
        assert not (tmp_path / NEW).exists()
        grow(store, rng, 10**6)
    with Store.open(tmp_path, clock=clock) as store:
        assert store.count("event") == count
        assert store.verify() == []
        assert store.scan("host.load").__next__().t_ns[-1] == T0 + 10**9 * NS


def test_threads_and_processes_read_right_while_the_file_is_replaced(tmp_path: Path, children: list[Child]) -> None:
    wrong: list[object] = []
    with Store.open(tmp_path) as store:
        grow(store, np.random.default_rng(1), 0, 9000)
        store.put("event", Event(T0, "x", "a"), t_ns=T0)
        store.flush()
        over = threading.Event()

        def read() -> None:
            while not over.is_set():
                try:
                    found = (sum(len(b) for b in store.scan("*")), len(list(store.events("x"))))
                    if found != (9000, 1):
                        wrong.append(found)
                except StoreError as error:
                    wrong.append(error)

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        child = Child(OURS, tmp_path)
        children.append(child)
        for _ in range(15):
            store.compact()
            assert child.ask() == 9000
        over.set()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert store.holders() == []


# Forks a process for each "PATH STEP", which dies at that step of a compaction; prints its exit status.
DYING = """
import os, sys
from vagus.store import Store
def dying(real):
    def call(*args, **kwargs):
        calls[0] += 1
        if calls[0] == at:
            os._exit(9)
        return real(*args, **kwargs)
    return call
print(0, flush=True)
for line in sys.stdin:
    path, at = line.rsplit(maxsplit=1)
    at, calls = int(at), [0]
    pid = os.fork()
    if not pid:
        store = Store.open(path)
        store.append(store.declare(next(iter(store._query.streams.values()))), 1_800_000_000_000_000_000, [7.0])
        store.flush()
        os.replace, os.fdatasync = dying(os.replace), dying(os.fdatasync)
        store.compact()
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""

# Opens the stores that it is told, keeps them open, and says how many rows each has.
READERS = """
import sys
from vagus.store import Store
stores = {}
print(0, flush=True)
for path in sys.stdin:
    store = stores.get(path) or stores.setdefault(path, Store.open(path.strip(), readonly=True))
    print(sum(len(b) for b in store.scan("*")), flush=True)
"""


def test_dying_at_any_step_of_a_compaction_loses_nothing(tmp_path: Path, children: list[Child]) -> None:
    """A reader keeps LMDB's lock file alive, so that the next writer must agree with it, not begin it anew."""
    dying, reader = Child(DYING, tmp_path), Child(READERS, tmp_path)
    children += [dying, reader]
    for at in range(1, 40):
        path = tmp_path / str(at)
        with Store.open(path) as store:
            rng = np.random.default_rng(at)
            for k in range(3):
                grow(store, rng, k * 3000)
        assert reader.ask(str(path)) == 9000
        status = dying.ask(f"{path} {at}")
        with Store.open(path) as store:
            assert sum(len(b) for b in store.scan("*")) == 9001
            assert store.verify() == []
            assert not (path / NEW).exists()
            grow(store, rng, 9000)
            assert reader.ask(str(path)) == 12_001
        with Store.open(path) as store:
            assert sum(len(b) for b in store.scan("*")) == 12_001
            assert store.verify() == []
        if status == 0:
            break
        assert status == 9
    assert 6 <= at < 39


def test_a_read_that_nobody_resumes_is_ended_by_the_watchdog_and_told(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        grow(store, np.random.default_rng(1), 0)
        env = store._env

        def held() -> Generator[int, None, None]:
            with env.read() as txn:
                for key in txn.cursor(env.db["blocks"]).iternext(values=False):
                    yield len(key)

        reading = held()
        assert next(reading) == 12
        assert len(store.holders()) == 1
        assert env._reads.expire(time.monotonic_ns() + 5 * NS) == 0
        with env.read():  # a read whose thread is in it is left alone
            assert env._reads.expire(time.monotonic_ns() + 11 * NS) == 1
        assert store.holders() == []
        with pytest.raises(StoreError, match=r"held open for 11 s and was ended by the watchdog.*read in pieces"):
            list(reading)
        abandoned = held()
        next(abandoned)
        assert env._reads.expire(time.monotonic_ns() + 11 * NS) == 1
        abandoned.close()  # its end is no error
        assert list(held()) != []


def test_a_consumer_that_waits_holds_no_transaction(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store, open_all(tmp_path.parent, [store]) as reader:
        for name in ("a", "b"):
            stream = store.declare(Stream(name, "host.load", (Field("one"),)))
            store.extend(stream, T0 + np.arange(2000), np.zeros((2000, 1)))
        for k in range(600):
            store.put("event", Event(T0 + k, "x", "a"), t_ns=T0 + k, index={"event": "x"})
        store.flush()
        answers: list[Iterator[Any]] = [
            store.scan("*"),
            store.records("event", Event),
            store.records("event", Event, where=("event", "x")),
            reader.scan("*"),
            reader.records("event", Event),
        ]
        for answer in answers:
            next(answer)
            assert store.holders() == []


def test_ages_of_readers_count_from_when_a_transaction_was_first_seen() -> None:
    table = "    pid     thread     txnid\n        10 7f00 5\n        11 7f01 -\n        10 7f02 9\n"
    holders = Holders()
    assert [(h.pid, h.txn, h.age_s, h.behind) for h in holders.look(table, 9, None, 0)] == [
        (10, 5, 0, 4),
        (10, 9, 0, 0),
    ]
    assert [(h.txn, h.age_s) for h in holders.look(table.replace(" 9", " 12"), 12, None, 3 * NS)] == [(5, 3), (12, 0)]
    assert [(h.txn, h.age_s) for h in holders.look(table, 12, (10, 5), 4 * NS)] == [(9, 0)]
    assert holders.look("(no active readers)\n", 12, None, 5 * NS) == []
