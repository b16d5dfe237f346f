"""The clock set back, long silences, lists that change all the time: the engine goes on, and stays small."""

from __future__ import annotations

import json
from collections.abc import Iterable

from vagus.clock import NS
from vagus.feeds.directives import Archive, Directive, Emit, Fetch
from vagus.feeds.engine import Engine
from vagus.feeds.feed import Feed, all_, base, failover, pair
from vagus.feeds.formats.json import Json
from vagus.feeds.formats.text import Text
from vagus.feeds.item import Fetched, Net, Raw
from vagus.feeds.when import every

T0 = 1_700_000_000 * NS
LIST = "http://list/"


def node(name: str) -> Feed[str]:
    return base(all_(f"http://{name}/"), every("10s", timeout="5s"), Text())


def driven() -> Feed[str]:
    listed: Feed[list[str]] = base(all_(LIST), every("10s", timeout="5s"), Json())
    return listed.flatten().foreach(node)


class Run:
    """An engine whose fetches take no time; `bad` fails, the list is `elements`."""

    def __init__(self, feed: Feed[object], elements: Iterable[str] = ()) -> None:
        self.engine = Engine({"f": feed}, now_ns=T0)
        self.now_ns = T0
        self.elements = list(elements)
        self.emits: list[Emit] = []
        self.raws: list[Raw] = []
        self.fetches: list[Fetch] = []

    def _fetched(self, fetch: Fetch) -> Fetched:
        if fetch.location == LIST:
            return Fetched(Net.OK, json.dumps(self.elements).encode())
        return Fetched(Net.FAILED) if "bad" in fetch.location else Fetched(Net.OK, b"x")

    def __call__(self, lasting_s: int) -> list[Emit]:
        """The items of so many seconds."""
        self.emits = []
        for _ in range(lasting_s):
            self.now_ns += NS
            self._perform(self.engine.tick(self.now_ns))
        return self.emits

    def _perform(self, directives: Iterable[Directive]) -> None:
        for directive in directives:
            if isinstance(directive, Emit):
                self.emits.append(directive)
            elif isinstance(directive, Archive):
                self.raws.append(directive.raw)
            else:
                self.fetches.append(directive)
                self._perform(self.engine.fetched(directive, self._fetched(directive), self.now_ns))


def locations(emits: Iterable[Emit]) -> set[str]:
    return {emit.item.meta.location for emit in emits}


def test_after_the_clock_was_set_back_the_newest_list_is_the_one_that_came_last() -> None:
    run = Run(driven(), ["a", "b"])
    run(3600)
    run.elements = ["c"]
    run.now_ns -= 1800 * NS
    run(20)
    assert locations(run(30)) == {"http://c/"}


def test_after_the_clock_was_set_back_sides_find_each_other() -> None:
    run = Run(pair(node("x"), driven()), ["a"])
    run(2000)
    before = len(run(600))
    run.now_ns -= 86_400 * NS
    assert len(run(600)) == before


def test_after_the_clock_was_set_back_failover_still_fails_over() -> None:
    run = Run(failover(node("bad"), node("good")))
    run(2000)
    run.now_ns -= 86_400 * NS
    emits = run(600)
    assert [emit.item.value for emit in emits] == ["x"] * len(emits)
    assert len(emits) >= 58


def test_lists_that_change_all_the_time_leave_nothing_behind() -> None:
    listed: Feed[list[str]] = base(all_(LIST), every("10s", timeout="5s"), Json())
    run = Run(listed.flatten().foreach(lambda x: node(x).named(f"n-{x}")))

    def later(lists: range) -> int:
        for number in lists:
            run.elements = [f"e{number + element}" for element in range(20)]
            run(10)
        return len(run.engine.bases())

    assert later(range(10)) < 30
    assert later(range(10, 200)) < 30
    graph = run.engine._graph
    assert (
        len(graph._chains) < 3000
    )  # of nearly 4,000: what came in the last ten minutes may still have to be told apart


def test_of_a_list_that_stays_only_what_is_near_is_remembered() -> None:
    run = Run(driven(), [str(element) for element in range(30)])
    run(3000)
    assert len(run.engine._graph._chains) < 30 * 60 + 2000
    raws = run.raws
    emits = list(Engine(run.engine.feeds, now_ns=T0).replay(raws))
    assert len(emits) == sum(raw.meta.location != LIST for raw in raws)
