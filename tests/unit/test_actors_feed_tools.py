"""Feature 11: several tools on one feed; one that is slow, raises or hangs stops neither the feed nor the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any

import pytest

from vagus.actors.feed_tools import FeedTools
from vagus.errors import StoreError
from vagus.feeds import Item, Meta, Net, Notice, Raw
from vagus.feeds.directives import Emit
from vagus.model import Status

NOW = 1_700_000_000_000_000_000


def emit(n: int = 0, feed: str = "f", size: int = 10, raw: Raw | None = None, part: str = "") -> Emit:
    meta = Meta(feed, "http://a/", NOW + n, NOW + n, Net.OK, size_bytes=size, part=part)
    return Emit(feed, Item(meta, n), raw=raw)


def notice(text: str) -> Notice:
    return Notice("t", "f", "a", "r", Status.UNHEALTHY, NOW, NOW, text)


class Note:
    """Writes down what it is given, in order."""

    name = "note"

    def __init__(self, gate: threading.Event | None = None) -> None:
        self.seen: list[Any] = []
        self.gate = gate
        self.entered = threading.Event()
        self.finished = threading.Event()

    def take(self, item: Item[Any]) -> Iterable[Notice]:
        self.entered.set()
        if self.gate is not None:
            assert self.gate.wait(60)
        self.seen.append(item.value)
        return (notice(f"saw {item.value}"),)

    def tick(self, now_ns: int) -> Iterable[Notice]:
        self.seen.append(("tick", now_ns))
        return ()

    def finish(self, now_ns: int) -> Iterable[Notice]:
        self.seen.append(("finish", now_ns))
        self.finished.set()
        return (notice("finished"),)


class Raises(Note):
    def take(self, item: Item[Any]) -> Iterable[Notice]:
        raise StoreError("the disk is full")

    def tick(self, now_ns: int) -> Iterable[Notice]:
        yield notice("before")
        raise KeyError("tick")

    def finish(self, now_ns: int) -> Iterable[Notice]:
        raise OSError("finish")


class WantsRaw(Note):
    wants_raw = True

    def take_raw(self, raw: Raw) -> None:
        self.seen.append(raw.body)


def test_feature_11_items_and_ticks_come_in_order_and_finish_is_last() -> None:
    one, other, elsewhere = Note(), Note(), Note()
    told: list[Notice] = []
    tools = FeedTools({"f": [one, other], "g": [elsewhere]}, told.append)
    for n in range(100):
        tools.take(emit(n))
    tools.tick(NOW)
    tools.tick(NOW + 1)
    tools.take(emit(100))
    tools.take(emit(0, "unknown"))
    assert tools.finish(NOW + 2) == ()
    ticks = [entry for entry in one.seen if isinstance(entry, tuple)]
    assert [entry for entry in one.seen if not isinstance(entry, tuple)] == list(range(101))
    assert ticks[-2:] == [("tick", NOW + 1), ("finish", NOW + 2)]
    assert one.seen.index(("tick", NOW + 1)) == one.seen.index(100) - 1
    assert [entry for entry in other.seen if not isinstance(entry, tuple)] == list(range(101))
    assert [entry for entry in elsewhere.seen if not isinstance(entry, tuple)] == []
    assert len(told) == 2 * 101 + 3
    assert tools.figures()["tool_items"] == 202
    tools.take(emit(5))
    tools.tick(NOW + 9)
    assert tools.finish(NOW + 9) == ()
    assert one.seen[-1] == ("finish", NOW + 2)


def test_feature_11_a_tool_that_wants_the_bytes_gets_them_before_the_item() -> None:
    tool, plain = WantsRaw(), Note()
    tools = FeedTools({"f": [tool, plain]}, lambda notice: None)
    tools.take(emit(1, raw=Raw(emit(1).item.meta, b"bytes")))
    tools.take(emit(2))
    tools.finish(NOW)
    assert tool.seen == [b"bytes", 1, 2, ("finish", NOW)]
    assert plain.seen == [1, 2, ("finish", NOW)]


def test_feature_11_a_raising_tool_is_told_of_once_a_while_and_stops_nothing() -> None:
    good = Note()
    failed: list[str] = []
    told: list[Notice] = []
    tools = FeedTools({"f": [Raises(), good]}, told.append, lambda where, error: failed.append(f"{where}: {error}"))
    for n in range(50):
        tools.take(emit(n))
    tools.tick(NOW)
    assert tools.finish(NOW) == ()
    assert [entry for entry in good.seen if not isinstance(entry, tuple)] == list(range(50))
    assert failed == ["feed f: tool note: the disk is full"]
    assert tools.figures()["tool_failures"] == 52
    assert "finish" in tools.notes()[0]
    assert "before" in {notice.text for notice in told}  # what came before the failure counts


def test_feature_11_a_failing_delivery_stops_nothing() -> None:
    good = Note()

    def deliver(notice: Notice) -> None:
        raise RuntimeError("no one listens")

    tools = FeedTools({"f": [good]}, deliver)
    tools.take(emit(1))
    tools.take(emit(2))
    assert tools.finish(NOW) == ()
    assert good.seen == [1, 2, ("finish", NOW)]


def test_feature_11_a_full_queue_loses_its_own_oldest() -> None:
    gate = threading.Event()
    slow, quick = Note(gate), Note()
    # the quick one's turn comes only after the first item of the slow one: with patience it waits that long
    tools = FeedTools({"f": [slow], "g": [quick]}, lambda notice: None, max_items=10, patience_s=60)
    tools.take(emit(0))
    assert slow.entered.wait(10)
    for n in range(1, 101):
        tools.take(emit(n))
    for n in range(5):
        tools.take(emit(n, "g"))
    gate.set()
    assert tools.finish(NOW) == ()
    assert slow.seen == [0, *range(91, 101), ("finish", NOW)]
    assert quick.seen == [*range(5), ("finish", NOW)]
    assert tools.figures()["tool_items_dropped"] == 90
    assert "90 items" in tools.notes()[0]


def test_feature_11_a_queue_is_bounded_in_bytes_too() -> None:
    gate = threading.Event()
    slow = Note(gate)
    tools = FeedTools({"f": [slow]}, lambda notice: None, max_bytes=100_000, patience_s=60)
    tools.take(emit(0))
    assert slow.entered.wait(10)
    for n in range(1, 10):
        tools.take(emit(n, size=40_000))
    tools.take(emit(10, size=10_000_000))  # a single one is kept, however large
    gate.set()
    tools.finish(NOW)
    assert slow.seen == [0, 10, ("finish", NOW)]


def test_feature_11_a_hanging_tool_is_left_alone_and_used_again_when_it_comes_back() -> None:
    gate = threading.Event()
    hanging, good = Note(gate), Note()
    failed: list[str] = []
    tools = FeedTools(
        {"f": [hanging, good]}, lambda notice: None, lambda where, error: failed.append(str(error)), patience_s=0.01
    )
    for n in range(3):
        tools.take(emit(n))
    assert hanging.entered.wait(10)
    while len([entry for entry in good.seen if not isinstance(entry, tuple)]) < 3:
        tools.tick(NOW)
        threading.Event().wait(0.005)
    assert hanging.seen == []
    assert "has not ended" in failed[0]
    assert tools.figures()["tools_hanging"] == 1
    assert "has not ended" in tools.notes()[0]
    gate.set()
    assert tools.finish(NOW) == ()
    assert [entry for entry in hanging.seen if not isinstance(entry, tuple)] == [0, 1, 2]
    assert hanging.seen[-1] == ("finish", NOW)
    assert tools.figures()["tools_hanging"] == 0


def test_feature_11_finish_is_bounded_in_time_and_names_what_hangs() -> None:
    gate = threading.Event()
    hanging, good = Note(gate), Note()
    tools = FeedTools({"f": [hanging, good]}, lambda notice: None, patience_s=60)
    tools.take(emit(1))
    assert hanging.entered.wait(10)
    began = time.monotonic()
    assert tools.finish(NOW, timeout_s=0.2) == ("feed f: tool note",)
    assert time.monotonic() - began < 30  # not the 60 s of its patience
    assert good.finished.is_set()
    assert [entry for entry in good.seen if not isinstance(entry, tuple)] == [1]
    gate.set()


class HangsAtTheEnd(Note):
    def finish(self, now_ns: int) -> Iterable[Notice]:
        assert self.gate is not None
        assert self.gate.wait(60)
        return ()

    def take(self, item: Item[Any]) -> Iterable[Notice]:
        self.seen.append(item.value)
        return ()


def test_feature_11_a_finish_that_hangs_leaves_the_other_tools_theirs() -> None:
    gate = threading.Event()
    hanging, good = HangsAtTheEnd(gate), Note()
    tools = FeedTools({"f": [hanging, good]}, lambda notice: None)
    tools.take(emit(1))
    assert tools.finish(NOW, timeout_s=0.2) == ("feed f: tool note",)
    assert good.finished.is_set()
    gate.set()


def test_feature_11_a_slow_tool_takes_no_turns_from_a_quick_one() -> None:
    """While the slow one has a backlog, the quick one's items wait for one call of it at most."""
    order: list[str] = []
    step = threading.Semaphore(0)

    class Slow(Note):
        def take(self, item: Item[Any]) -> Iterable[Notice]:
            assert step.acquire(timeout=60)
            time.sleep(0.03)  # longer than a turn
            order.append("slow")
            return ()

    class Quick(Note):
        def take(self, item: Item[Any]) -> Iterable[Notice]:
            order.append("quick")
            return ()

    tools = FeedTools({"s": [Slow()], "q": [Quick()]}, lambda notice: None, patience_s=60)
    for n in range(5):
        tools.take(emit(n, "s"))
    for n in range(100):
        tools.take(emit(n, "q"))
    for _ in range(5):
        step.release()
    tools.finish(NOW)
    assert order.count("quick") == 100
    assert order[:2].count("slow") <= 1
    assert order[-3:] == ["slow"] * 3


def test_feature_11_no_tools_no_thread() -> None:
    before = threading.active_count()
    tools = FeedTools({}, lambda notice: None)
    tools.take(emit())
    tools.tick(NOW)
    assert not tools
    assert threading.active_count() == before
    assert tools.finish(NOW) == ()


@pytest.mark.parametrize("body", [b"", b"x" * 1000])
def test_feature_11_parts_of_one_body_count_as_small(body: bytes) -> None:
    tool = WantsRaw()
    tools = FeedTools({"f": [tool]}, lambda notice: None, max_bytes=50_000)
    raw = Raw(emit().item.meta, body)
    for n in range(20):
        tools.take(emit(n, size=1 << 20, raw=raw, part=str(n)))
    tools.finish(NOW)
    assert [entry for entry in tool.seen if isinstance(entry, int)] == list(range(20))
