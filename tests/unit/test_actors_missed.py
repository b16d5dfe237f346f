"""What the collector says is missing while its observer answers, and while it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vagus.actors.base import Seat
from vagus.actors.collector import CollectorActor
from vagus.actors.missed import APART_S, SILENT_S, Missed
from vagus.clock import ManualClock
from vagus.config import Config, ExpectedSettings
from vagus.errors import PeerUnreachable
from vagus.model import Missing

GONE = Missing("node:c", "node", "dead", 5, "c")


class Observer:
    """Links to an observer that answers, or not."""

    def __init__(self) -> None:
        self.silent = False

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        assert (actor, method) == ("vagus:observer@a", "missing")
        if self.silent:
            raise PeerUnreachable("it does not answer")
        return [GONE]


async def test_the_last_word_stands_and_silence_for_long_is_missing_itself() -> None:
    observer, clock = Observer(), ManualClock()
    links: Any = observer
    missed = Missed(links, "vagus:observer@a", clock)
    assert await missed.ask() == (GONE,)
    observer.silent = True
    began_ns = clock.time_ns()
    assert await missed.ask() == (GONE,)
    clock.advance(SILENT_S - 1)
    assert await missed.ask() == (GONE,)
    clock.advance(1)
    gone, silent = await missed.ask()
    assert (gone, silent.what, silent.why, silent.node) == (GONE, "vagus:observer@a", "dead", "a")
    assert (silent.since_ns, silent.error) == (began_ns, "it does not answer")
    observer.silent = False
    assert await missed.ask() == (GONE,)
    observer.silent = True
    assert await missed.ask() == (GONE,)


async def test_two_failures_far_apart_are_no_silence() -> None:
    observer, clock = Observer(), ManualClock()
    links: Any = observer
    missed = Missed(links, "vagus:observer@a", clock)
    observer.silent = True
    for _ in range(3):
        assert await missed.ask() == (), "nobody asked in between"
        clock.advance(APART_S + 1)


async def test_a_collector_asks_only_where_something_is_expected(tmp_path: Path) -> None:
    links: Any = Observer()
    for expected, missing in ((ExpectedSettings(), ()), (ExpectedSettings(nodes=3), (GONE,))):
        seat = Seat("collector", "a", str(tmp_path), Config(expected=expected), options={"token": "t" * 16})
        assert await CollectorActor(seat, links)._missing() == missing
