"""Live numbers as features of decisions: from any node, the newest, aged, in intervals; what is sent goes first."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import NOW_NS, TOKEN, MemoryBackend, serving

from vagus.client.connection import Connection
from vagus.clock import NS, ManualClock
from vagus.config import ContextSettings, DecideSettings
from vagus.controllers.decide.records import Grouping, TableUpdate
from vagus.errors import ConfigError, PeerUnreachable
from vagus.gateway.live_context import LiveContext, interval, newest
from vagus.model import Field, Sample, Stream
from vagus.selector import parse


def load(node: str, value: float, age_s: float = 1.0, **labels: str) -> Sample:
    return Sample(Stream(node, "feed.comon", (Field("load1"),), labels), round(NOW_NS - age_s * NS), (value,))


DISKS = Stream("a", "feed.disks", (Field("used_ratio"), Field("free"), Field("none")))


class Backend(MemoryBackend):
    """Has live samples, here and at node b."""

    def __init__(self, *samples: Sample) -> None:
        super().__init__()
        self.live = list(samples)
        self.asked = 0

    async def latest(self, selectors: Sequence[str]) -> list[Sample]:
        self.asked += 1
        return self._chosen("a", selectors)

    async def ask(self, node: str, method: str, args: tuple[Any, ...]) -> Any:
        return self._chosen(node, *args) if method == "latest" else await super().ask(node, method, args)

    def _chosen(self, node: str, selectors: Sequence[str]) -> list[Sample]:
        return [s for s in self.live if s.stream.node == node and parse(selectors[0]).matches(s.stream)]


def test_a_decision_knows_the_newest_item_of_a_feed_at_another_node():
    backend = Backend(load("b", 0.7, location="http://x/"), load("b", 9.0, location="http://y/"))
    context = {"load": ContextSettings(series='feed.comon.load1{location="http://x/"}')}
    with serving(backend, context=context) as served:
        answer = served.ask("POST", "/v1/decide", {"features": {"city": "Bern"}, "arms": ["a", "b"]})[2]
        assert answer["context"] == {"load": 0.7}
        assert backend.decisions[answer["decision_id"]].features == {"city": "Bern", "load": 0.7}
        answer = served.ask("POST", "/v1/decide", {"features": {"load": 3}, "arms": ["a", "b"]})[2]
        assert answer["context"] == {}
        assert backend.decisions[answer["decision_id"]].features == {"load": 3}
        with Connection(served.url, TOKEN) as connection:
            assert connection.decide({"city": "Bern"}, ["a"]).features == {"city": "Bern", "load": 0.7}


def test_the_interval_names_the_group():
    backend = Backend(load("a", 1.5))
    backend.table.apply(TableUpdate(1, 0, Grouping(group_by=("load",))))
    context = {"load": ContextSettings(series="feed.comon.load1", bins=(1.0, 2.0))}
    with serving(backend, context=context) as served:
        assert served.ask("POST", "/v1/decide", {"arms": ["a"]})[2]["group"] == "1..2"
    assert [interval(v, (0.5, 2.0)) for v in (0.1, 0.5, 1.9, 2.0, 7.0)] == ["<0.5", "0.5..2", "0.5..2", ">=2", ">=2"]


async def test_what_is_old_or_no_number_is_no_feature() -> None:
    clock = ManualClock(NOW_NS)
    backend = Backend(load("a", 0.5, age_s=30), Sample(DISKS, NOW_NS, (0.25, 4.0, float("nan"))))
    wanted = {
        "load": ContextSettings(series="feed.comon.load1", max_age="1m"),
        "disk": ContextSettings(series="feed.disks"),
    }
    context = LiveContext(backend, clock, wanted, 2.0)
    assert await context.features() == {"load": 0.5, "disk.used_ratio": 0.25, "disk.free": 4.0}
    clock.advance(31.0)
    assert await context.features() == {"disk.used_ratio": 0.25, "disk.free": 4.0}
    context.close()


async def test_it_is_asked_for_once_a_second_and_decisions_do_not_wait() -> None:
    clock = ManualClock(NOW_NS)
    backend = Backend(load("a", 1.0))
    context = LiveContext(backend, clock, {"load": ContextSettings(series="feed.comon.load1")}, 2.0)
    for _ in range(100):
        assert await context.features() == {"load": 1.0}
    assert backend.asked == 1
    backend.live = [load("a", 2.0, age_s=0)]
    clock.advance(1.0)
    assert await context.features() == {"load": 1.0}, "what is known; the new number is on its way"
    assert context._asking is not None
    await context._asking
    assert await context.features() == {"load": 2.0}
    assert backend.asked == 2


async def test_decisions_are_made_while_nobody_answers() -> None:
    class Away(Backend):
        async def latest(self, selectors: Sequence[str]) -> list[Sample]:
            raise PeerUnreachable("not yet")

        async def ask(self, node: str, method: str, args: tuple[Any, ...]) -> Any:
            raise PeerUnreachable("not yet")

    wanted = {"load": ContextSettings(series="feed.comon.load1")}
    assert await LiveContext(Away(), ManualClock(NOW_NS), wanted, 2.0).features() == {}


def test_of_several_streams_the_newest_counts():
    nan = float("nan")
    samples = [load("a", 1.0, 5, x="1"), load("b", 2.0, 2, x="2"), load("b", 3.0, 2, x="3"), load("a", nan, 0)]
    found = newest(samples)
    assert found is not None
    assert found.values == (2.0,)
    assert newest([load("a", nan)]) is None


@pytest.mark.parametrize(
    ("context", "match"),
    [
        ({"load": "feed.x{"}, "selector"),
        ({"load": "feed.x.load1.forecast"}, "not live"),
        ({"load": ContextSettings(series="feed.x")} | {f"f{n}": "a" for n in range(50)}, "51 features"),
    ],
)
def test_wrong_settings_are_refused(context: Any, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        DecideSettings(context=context)
    with pytest.raises(ConfigError, match="do not grow"):
        ContextSettings(series="feed.x", bins=(1.0, 1.0))
