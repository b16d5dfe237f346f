"""The supervisor's news of where collectors hear probes: learnt once in each life, told to those who probe."""

from __future__ import annotations

from typing import Any

from vagus.actors.base import Seat
from vagus.config import Config
from vagus.runtime.news import FAILED, News
from vagus.runtime.plan import Observed


class Fleet:
    """Collectors that answer for their addresses, and remember what they were told."""

    def __init__(self, *nodes: str) -> None:
        self.seen = {o.seat.name: o for o in map(self.seat, nodes)}
        self.addresses: dict[str, tuple[str, int] | None] = {f"vagus:collector@{n}": (n, 1) for n in nodes}
        self.asked: list[tuple[str, str]] = []
        self.told: dict[str, dict[str, Any]] = {}
        self.away: set[str] = set()
        self.news = News()

    def seat(self, node: str, restarts: int = 0) -> Observed:
        return Observed(Seat("collector", node, "", Config(), restarts=restarts), node, state="HEALTHY")

    async def ask(self, name: str, method: str, *args: Any) -> Any:
        if name in self.away:
            return FAILED
        self.asked.append((name, method))
        if method == "set_probe_peers":
            self.told[name] = args[0]
        return self.addresses[name] if method == "probe_address" else None

    async def round(self) -> None:
        await self.news.tell(("a", "b", "c"), self.seen, [], self.ask)


async def test_addresses_are_learnt_once_and_told_to_the_others() -> None:
    fleet = Fleet("a", "b", "c")
    await fleet.round()
    await fleet.round()
    assert fleet.told["vagus:collector@a"] == {"a": ("a", 1), "b": ("b", 1), "c": ("c", 1)}
    assert fleet.told["vagus:collector@c"] is fleet.told["vagus:collector@a"], "one for all: each leaves itself out"
    assert fleet.asked.count(("vagus:collector@a", "probe_address")) == 1
    assert fleet.asked.count(("vagus:collector@a", "set_probe_peers")) == 1


async def test_feed_actors_are_told_who_else_fetches() -> None:
    fleet = Fleet("a")
    feeds = [Observed(Seat("feed", node, "", Config()), node, "HEALTHY") for node in "ba"]
    fleet.seen |= {o.seat.name: o for o in feeds}
    told: list[tuple[str, Any]] = []

    async def ask(name: str, method: str, *args: Any) -> Any:
        if method == "set_feeders":
            told.append((name, args[0]))
        return None

    for _ in range(2):
        await fleet.news.tell(("a", "b"), fleet.seen, [], ask)
    assert sorted(told) == [("vagus:feed@a", ("a", "b")), ("vagus:feed@b", ("a", "b"))], "each once"
    del fleet.seen["vagus:feed@b"]
    await fleet.news.tell(("a",), fleet.seen, [], ask)
    assert told[2:] == [("vagus:feed@a", ("a",))]


async def test_who_makes_no_probes_is_asked_once_and_told_nothing() -> None:
    fleet = Fleet("a", "b")
    fleet.addresses["vagus:collector@b"] = None
    await fleet.round()
    await fleet.round()
    assert fleet.told == {"vagus:collector@a": {"a": ("a", 1)}}
    assert fleet.asked.count(("vagus:collector@b", "probe_address")) == 1


async def test_a_successor_is_asked_anew_and_one_that_did_not_answer_again() -> None:
    fleet = Fleet("a", "b")
    fleet.away.add("vagus:collector@b")
    await fleet.round()
    assert fleet.told["vagus:collector@a"] == {"a": ("a", 1)}
    fleet.away.clear()
    await fleet.round()
    assert fleet.told["vagus:collector@a"] == {"a": ("a", 1), "b": ("b", 1)}
    fleet.seen["vagus:collector@b"] = fleet.seat("b", restarts=1)
    fleet.addresses["vagus:collector@b"] = ("b", 2)
    await fleet.round()
    assert fleet.told["vagus:collector@a"] == {"a": ("a", 1), "b": ("b", 2)}
