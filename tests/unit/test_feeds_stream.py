"""Streams of items: slices end where they should, nothing is lost or read twice, whoever reads first."""

from __future__ import annotations

import asyncio
import heapq
import queue
import threading
import tracemalloc
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone

import pytest

from vagus.clock import NS
from vagus.errors import ConfigError
from vagus.feeds.item import Item, Meta, Net
from vagus.feeds.stream import Quiet, Stream, later_than


def item(t_s: float, value: float | None, location: str = "file:a") -> Item[float]:
    net = Net.OK if value is not None else Net.TIMEOUT
    return Item(Meta("load", location, round(t_s) * NS, round(t_s * NS), net), value)


def values(items: Iterable[Item[float]]) -> list[float | None]:
    return [one.value for one in items]


def numbers(*times: float) -> list[Item[float]]:
    return [item(t, t) for t in times]


def test_map_filter_fold_meta_and_contents() -> None:
    given = [item(1, 1.0), item(2, None), item(3, 3.0)]
    doubled = Stream(given).map(lambda value: value * 2)
    assert values(doubled) == [2.0, None, 6.0]
    assert values(Stream(given).filter(lambda value: value > 1)) == [3.0]
    assert values(Stream(given).filter(lambda value: value > 1, failed="keep")) == [None, 3.0]
    assert list(Stream(given).contents()) == [1.0, 3.0]
    assert [meta.net for meta in Stream(given).meta()] == [Net.OK, Net.TIMEOUT, Net.OK]
    assert Stream(given).fold(lambda total, one: total + (one.value or 0.0), 0.5) == 4.5


def test_what_a_function_raises_reaches_the_program() -> None:
    with pytest.raises(ZeroDivisionError):
        list(Stream(numbers(0)).map(lambda value: 1 / value))


def test_a_slice_ends_before_the_first_item_that_is_later() -> None:
    part, rest = Stream(numbers(1, 2, 3, 4)).slice_until(later_than(2))
    assert values(part) == [1, 2]
    assert not rest.ended
    assert values(rest) == [3, 4]
    assert rest.ended
    assert part.ended


def test_whatever_is_read_first_nothing_is_lost() -> None:
    part, rest = Stream(numbers(1, 2, 3, 4)).slice_until(later_than(2))
    assert values(rest) == [3, 4]
    assert values(part) == [1, 2]
    part, rest = Stream(numbers(1, 2, 3, 4)).slice_until(later_than(3))
    assert next(iter(part)).value == 1
    assert values(rest) == [4]
    assert values(part) == [2, 3]


def test_slices_of_a_slice_and_of_a_mapped_stream() -> None:
    part, rest = Stream(numbers(1, 2, 3, 4, 5)).map(lambda value: value + 10).slice_until(later_than(4))
    first, second = part.slice_until(lambda one: one.value == 13)
    assert (values(first), values(second), values(rest)) == ([11, 12], [13, 14], [15])


def test_no_depth_grows_with_the_number_of_slices() -> None:
    rest = Stream(numbers(*range(5000)))
    seen = []
    while not rest.ended:
        part, rest = rest.slice_until(later_than(len(seen)))
        seen.append(values(part))
    assert seen == [[t] for t in range(5000)]


def test_slices_by_time_of_arrival_count_from_the_first_item() -> None:
    given = numbers(100, 105, 109.5, 110, 135)
    assert [values(part) for part in Stream(given).slices("10s")] == [[100, 105, 109.5], [110], [], [135]]
    half_read = [next(iter(part)).value for part in Stream(given[:4]).slices(10)]
    assert half_read == [100, 110]
    assert list(Stream[float]([]).slices(10)) == []
    for wrong in (0, "soon", -1):
        with pytest.raises(ConfigError):
            Stream(given).slices(wrong)


def test_time_that_passes_without_an_item_ends_a_slice() -> None:
    live: list[Item[float] | Quiet] = [item(1, 1.0), Quiet(2 * NS), Quiet(11 * NS), item(12, 2.0)]
    part, rest = Stream(live).filter(lambda _: True).slice_until(later_than(10))
    assert values(part) == [1.0]
    assert values(rest) == [2.0]
    assert [values(part) for part in Stream(live).slices(5)] == [[1.0], [], [2.0]]


def test_a_time_is_seconds_or_a_datetime() -> None:
    assert later_than(1.5).t_ns == later_than(datetime.fromtimestamp(1.5, timezone.utc)).t_ns == 1_500_000_000
    for wrong in ("now", [1], float("nan"), 10**400, None):
        with pytest.raises(ConfigError, match="later_than"):
            later_than(wrong)  # type: ignore[arg-type]


def test_what_is_no_time_costs_nothing() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match="later_than"):
            later_than("now")  # type: ignore[arg-type]
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_the_talks_program() -> None:
    """Every 600 seconds the 10 locations with the least load."""
    nodes = Stream(
        [item(60 * tick + n / 100, (n * 7 + tick) % 20 / 10, f"http://n{n}") for tick in range(20) for n in range(15)]
    )
    printed = []
    for part in nodes.slices(600):
        loads: dict[str, float] = {}
        loads = part.fold(lambda newest, one: {**newest, one.meta.location: one.value or 0.0}, loads)
        printed.append(heapq.nsmallest(10, loads, key=lambda place: loads[place]))
    assert [len(least) for least in printed] == [10, 10]
    assert printed[0] != printed[1]


async def test_an_asynchronous_reader_gets_the_same() -> None:
    part, rest = Stream(numbers(1, 2, 3)).slice_until(later_than(2))
    assert [one.value async for one in part] == [1, 2]
    assert [one.value async for one in rest] == [3]


async def test_a_cancelled_wait_loses_nothing() -> None:
    arriving: queue.Queue[Item[float] | None] = queue.Queue()
    asked = threading.Event()

    def live() -> Iterator[Item[float]]:
        while True:
            asked.set()
            got = arriving.get()
            if got is None:
                return
            yield got

    stream = Stream(live())

    async def first() -> float | None:
        async for one in stream:
            return one.value
        return None

    waiting = asyncio.ensure_future(first())
    await asyncio.to_thread(asked.wait)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    arriving.put(item(1, 1.0))
    arriving.put(item(2, 2.0))
    arriving.put(None)
    assert await first() == 1.0
    assert await asyncio.to_thread(lambda: values(stream)) == [2.0]


def test_the_end_of_with_closes_what_it_reads_from() -> None:
    closed: list[bool] = []
    with Stream(numbers(1), close=lambda: closed.append(True)) as stream:
        part, _ = stream.map(lambda value: value).slice_until(later_than(1))
    assert closed == [True]
    part.close()
    assert closed == [True, True]
