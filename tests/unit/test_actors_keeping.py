"""The observer's writer: at once where nothing waits and the disk is quick, else in the order given by its thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from vagus.actors import keeping
from vagus.actors.keeping import AT_ONCE, Keeper, Kept
from vagus.model import Event
from vagus.store import Store


@pytest.fixture
async def keeper(tmp_path: Path) -> AsyncIterator[Keeper]:
    made = Keeper(Store.open(tmp_path / "store"))
    yield made
    await made.close()


def event(n: int) -> Kept:
    return Kept("event", Event(n, "e", "n1"), n, {"event": "e"})


def times(keeper: Keeper) -> list[int]:
    return sorted(e.t_ns for e in keeper.store.records("event", Event))


async def test_a_few_records_that_find_nothing_waiting_are_committed_at_once(keeper: Keeper) -> None:
    done: list[tuple[Exception | None, threading.Thread]] = []
    keeper.put([event(1)], lambda error: done.append((error, threading.current_thread())), at_once=True)
    assert done == [(None, threading.current_thread())]
    assert times(keeper) == [1]
    assert keeper.queued == 0


async def test_many_or_unmarked_ones_are_the_threads(keeper: Keeper) -> None:
    by: list[threading.Thread] = []
    keeper.put([event(n) for n in range(AT_ONCE + 1)], lambda _: by.append(threading.current_thread()), at_once=True)
    await keeper.run(lambda store: None)
    keeper.put([event(99)], lambda _: by.append(threading.current_thread()))
    await keeper.run(lambda store: None)
    assert len(by) == 2
    assert threading.current_thread() not in by


async def test_what_waits_goes_first(keeper: Keeper) -> None:
    order: list[int] = []
    hold, held = threading.Event(), threading.Event()

    def slowly(store: Store) -> None:
        held.set()
        assert hold.wait(10)

    running = asyncio.ensure_future(keeper.run(slowly))
    await asyncio.to_thread(held.wait, 10)
    keeper.put([event(1)], lambda _: order.append(1))
    keeper.put([event(2)], lambda _: order.append(2), at_once=True)
    assert not order
    hold.set()
    await running
    await keeper.run(lambda store: None)
    assert order == [1, 2]


async def test_after_a_slow_commit_only_the_thread_waits_for_the_disk(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s, flush = [100.0], keeper.store.flush
    monkeypatch.setattr(keeping, "time", SimpleNamespace(monotonic=lambda: now_s[0], sleep=time.sleep))

    def slow() -> None:
        now_s[0] += keeping.SLOW_S * 2
        flush()

    by: list[threading.Thread] = []
    monkeypatch.setattr(keeper.store, "flush", slow)
    keeper.put([event(1)], lambda _: by.append(threading.current_thread()), at_once=True)
    monkeypatch.setattr(keeper.store, "flush", flush)
    keeper.put([event(2)], lambda _: by.append(threading.current_thread()), at_once=True)
    await keeper.run(lambda store: None)
    assert keeper._turn.acquire(timeout=10)  # its thread has answered, and is about to let go
    keeper._turn.release()
    now_s[0] += keeping.SLOW_FOR_S + 1
    keeper.put([event(3)], lambda _: by.append(threading.current_thread()), at_once=True)
    here = threading.current_thread()
    assert [thread is here for thread in by] == [True, False, True]
    assert times(keeper) == [1, 2, 3]
