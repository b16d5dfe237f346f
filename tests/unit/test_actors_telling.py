"""Events on their way to the collector: in order, bounded, kept when nobody takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vagus.actors import telling
from vagus.actors.telling import Telling
from vagus.errors import PeerUnreachable
from vagus.model import Event


class Collector:
    """Links to one collector that may be away."""

    def __init__(self) -> None:
        self.away = False
        self.got: list[Event] = []

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        assert (actor, method) == ("vagus:collector@n1", "told")
        if self.away:
            raise PeerUnreachable("away")
        self.got += args[0]

    def nodes(self) -> tuple[str, ...]:
        return ("n1",)


def event(n: int) -> Event:
    return Event(n, f"e.{n}", "n1")


async def test_events_reach_the_collector_in_order() -> None:
    kept: list[Event] = []
    collector = Collector()
    told = Telling("n1", collector, kept.extend)
    for n in range(2500):
        told.note(event(n))
    await told.flush()
    assert [e.t_ns for e in collector.got] == list(range(2500))
    assert not kept
    assert len(told) == 0


async def test_what_the_collector_does_not_take_is_kept() -> None:
    kept: list[Event] = []
    collector = Collector()
    collector.away = True
    told = Telling("n1", collector, kept.extend)
    told.note(event(1))
    for _ in range(telling.MAX_TRIES - 1):
        await told.flush()
    assert not kept
    await told.flush()
    assert [e.t_ns for e in kept] == [1]
    for n in range(telling.MAX_WAITING + 1):
        told.note(event(n))
    assert len(told) <= telling.MAX_WAITING
    collector.away = False
    await told.flush()
    assert [e.t_ns for e in kept[1:] + collector.got] == list(range(telling.MAX_WAITING + 1))


async def test_without_a_collector_and_at_the_end_events_are_kept() -> None:
    kept: list[Event] = []

    def keep(events: Sequence[Event]) -> None:
        kept.extend(events)

    Telling("n1", None, keep).note(event(1))
    told = Telling("n1", Collector(), keep)
    told.note(event(2))
    told.close()
    assert [e.t_ns for e in kept] == [1, 2]
