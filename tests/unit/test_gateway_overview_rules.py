"""The overview for a token whose rules name nodes: of the others not even their names, and what is kept is said."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import NOW_NS, TOKEN
from glance_backend import Glance

from vagus.access import Principal
from vagus.cli.top.command import _document
from vagus.cli.top.frame import plain
from vagus.cli.top.state import State, told
from vagus.cli.top.told import read
from vagus.clock import ManualClock
from vagus.config import AccessRule
from vagus.errors import PeerUnreachable
from vagus.gateway.door import Keys
from vagus.gateway.overview_asks import Asks
from vagus.gateway.overview_board import PERIODS_S, Board
from vagus.gateway.overview_events import Events
from vagus.gateway.overview_rights import OTHERS
from vagus.model import Event, FeedStatus, Metric, NodeStatus, Report, Status

GUEST = Principal("token", "guest")
KINDS = ("overview", "host.*", "status")


class Two(Glance):
    """Node `a`, and `node-b` with something in every section; a leader there."""

    def __init__(self) -> None:
        super().__init__(("node-b",))
        self.stores["node-b"] = self.stores.pop("b")
        self.overviews["node-b"] = self.overviews.pop("b")
        self.feeds_said = [FeedStatus("comon", "a", "source", "every 5m", "", ("rss",), 1, {})]
        self.statuses["node-b"] = NodeStatus("node-b", NOW_NS, series=200)
        report = Report("api@1", "disk@node-b", NOW_NS, {"read": Metric(Status.DEAD, 30.0)})
        self.stores["node-b"].submit(report, NOW_NS, 0)
        self.groups["isp=1"] = {**self.groups["isp=1"], "leader": "node-b"}
        lacking = self.statuses["a"].missing[0]
        self.statuses["a"] = NodeStatus(
            "a", NOW_NS, missing=(type(lacking)("node:node-b", "node", "dead", NOW_NS, "node-b", "", "start it"),)
        )

    async def ask(self, node: str, method: str, args: tuple[Any, ...]) -> Any:
        if node in self.gone:
            raise PeerUnreachable("vagus:collector@node-b does not answer")
        if method == "feeds":
            return [FeedStatus("secret", "node-b", "source", "every 5m", "", ("rss",), 1, {})]
        if method == "records":
            return [msgspec.structs.replace(self.receipts[0], node="node-b")]
        if method == "decision_log":
            return [msgspec.structs.replace((await self.decision_log(*args))[0], decision_id="of node-b")]
        return await super().ask(node, method, args)


class Looked:
    """A board over a cluster, and one who looks by rules."""

    def __init__(self, backend: Glance, rules: Sequence[AccessRule]) -> None:
        self.told: list[Event] = []
        clock = ManualClock(NOW_NS)
        self.door = Keys("a", clock, TOKEN, {"guest": "the-token-of-a-guest"}, rules, self.told.append)
        self.board = Board(backend, clock, 1.0, pytest.fail)
        self.asks = Asks(backend, clock, 1.0, pytest.fail)
        self.events = Events(self.board, self.door, GUEST)

    async def sections(self) -> dict[str, Any]:
        """What has come after another round of all questions."""

        async def signals() -> Any:
            known, column = await self.asks.signals()
            self.board.columns.append(column)
            return known

        for name in PERIODS_S:
            ask = signals if name == "signals" else getattr(self.asks, name)
            self.board._put(name, await self.board._tried(name, ask))
        self.stream = b"".join(self.events.news()).decode()
        found = re.findall(r"event: (\w+)\ndata: (.*)\n\n", self.stream)
        return {name: json.loads(data) for name, data in found}


def only_a(*read: str) -> list[AccessRule]:
    return [AccessRule(who=("token:guest",), nodes=("a",), read=read)]


@pytest.mark.says("rules-of-nodes")
@pytest.mark.parametrize("names", [KINDS, ("*",)], ids=["kinds", "all"])
@pytest.mark.parametrize("gone", [False, True], ids=["there", "gone"])
async def test_a_rule_for_nodes_tells_nothing_of_the_others(names: tuple[str, ...], gone: bool) -> None:
    backend = Two()
    if gone:
        backend.gone.add("node-b")
    looked = Looked(backend, only_a(*names))
    first = await looked.sections()
    assert "node-b" not in looked.stream
    assert list(first["signals"]["lines"]) == ["a"]
    again = await looked.sections()
    assert "node-b" not in looked.stream
    assert list(again["tick"]["values"]) == ["a"]
    assert again["tick"]["values"]["a"][1:3] == [0.25, 1.5]
    for name in (*PERIODS_S, "tick"):
        section = first.get(name) or again[name]
        assert OTHERS in section["refused"], f"{name}: that there is more is said"
        assert (section["missing"], section["missing_count"]) == ([], 0), name
    assert {event.fields["what"] for event in looked.told} >= {"overview"}, "and told as a refusal"
    assert first["nodes"]["lacking"] == []


async def test_who_may_know_of_a_node_is_told_that_it_is_missing_and_what_is_lacking() -> None:
    backend = Two()
    backend.gone.add("node-b")
    looked = Looked(backend, [AccessRule(who=("token:guest",), read=("*",))])
    found = await looked.sections()
    for name in PERIODS_S:
        assert [one["node"] for one in found[name]["missing"]] == ["node-b"], name
        assert found[name]["refused"] == [], name
    assert [one["what"] for one in found["nodes"]["lacking"]] == ["node:node-b"]
    assert found["decisions"]["groups"][0]["leader"] == "node-b"


async def test_a_single_thing_that_is_allowed_at_another_node_is_shown() -> None:
    rules = [*only_a("overview"), AccessRule(who=("token:guest",), nodes=("node-b",), read=("feed.secret",))]
    found = await Looked(Two(), rules).sections()
    assert [(one["name"], one["node"]) for one in found["feeds"]["feeds"]] == [("secret", "node-b")]
    assert found["feeds"]["refused"] == ["feed.comon"]


async def test_signals_say_what_is_refused_as_the_other_sections_do() -> None:
    looked = Looked(Two(), [AccessRule(who=("token:guest",), read=("overview", "host.load"))])
    first, again = await looked.sections(), await looked.sections()
    assert first["signals"]["refused"] == again["tick"]["refused"] == ["host.cpu", "host.memory", "net.link"]
    assert again["tick"]["values"] == {"a": [None, None, 1.5, None], "node-b": [None, None, 2.5, None]}
    nothing = await Looked(Two(), [AccessRule(who=("token:guest",), read=("overview",))]).sections()
    assert nothing["signals"]["lines"] == {}
    assert len(nothing["signals"]["refused"]) == 4


async def test_that_nobody_answered_is_said_without_names() -> None:
    backend = Two()
    looked = Looked(backend, only_a("*"))
    await looked.sections()

    async def silent() -> NodeStatus:
        raise PeerUnreachable("vagus:collector@a does not answer")

    backend.gone.add("node-b")
    backend.status = silent  # type: ignore[method-assign]
    found = await looked.sections()
    assert found["nodes"]["error"] == "no node answered"
    assert [one["node"] for one in found["nodes"]["missing"]] == ["a"]
    assert [one["node"] for one in found["nodes"]["nodes"]] == ["a"], "what was known stays"
    assert "node-b" not in looked.stream


async def test_why_a_leader_is_silent_may_name_it() -> None:
    backend = Two()

    async def explain(group: str) -> Mapping[str, Any]:
        raise PeerUnreachable("vagus:decide@node-b does not answer")

    backend.explain = explain  # type: ignore[method-assign]
    found = await Looked(backend, only_a("*")).sections()
    assert [one["note"] for one in found["decisions"]["groups"]] == ["its leader told nothing"]
    whole = await Looked(backend, [AccessRule(who=("token:guest",), read=("*",))]).sections()
    assert [one["note"] for one in whole["decisions"]["groups"]] == ["vagus:decide@node-b does not answer"]


async def test_top_says_what_is_not_for_its_token() -> None:
    looked = Looked(Two(), only_a(*KINDS))
    state, found = State(view="nodes"), await looked.sections()
    for name, content in (found | await looked.sections()).items():
        state = told(state, name, read(name, json.dumps(content).encode()))
    lines = "\n".join(line.plain for line in plain(state, 200))
    assert f"not for this token: {OTHERS}, net.link" in lines
    assert "node-b" not in lines
    assert _document(state, [])["signals"]["refused"] == ["net.link", OTHERS]
