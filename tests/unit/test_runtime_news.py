"""What thousands of actors are told: each what is new to it, so many in a round, the deaf last."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import Any

import pytest

from vagus.actors.base import Seat
from vagus.config import Config, ControllerSettings
from vagus.model import ActorStatus, Level
from vagus.runtime import news as news_module
from vagus.runtime import plan
from vagus.runtime.fleet import Fleet
from vagus.runtime.news import FAILED, News
from vagus.runtime.plan import Observed

ROLES = ("collector", "observer", "feed")


class Cluster:
    """Actors that answer, but for those that are deaf; what each was told, in order."""

    def __init__(self, nodes: int) -> None:
        self.nodes = tuple(f"n{n:04}" for n in range(nodes))
        self.seen = {f"vagus:{role}@{node}": seat(role, node) for node in self.nodes for role in ROLES}
        self.deaf: set[str] = set()
        self.told: dict[str, list[tuple[Any, ...]]] = {}
        self.asked: list[str] = []

    async def ask(self, name: str, method: str, *args: Any) -> Any:
        self.asked.append(name)
        await asyncio.sleep(0)
        if name in self.deaf:
            return FAILED
        if method.endswith("address"):
            return "10.0.0.1", 7
        self.told.setdefault(name, []).append((method, *args))
        return None

    def roster(self) -> list[ActorStatus]:
        return [ActorStatus(name, o.seat.role, o.seat.node, o.state) for name, o in self.seen.items()]

    async def round(self, news: News) -> bool:
        self.asked = []
        return await news.tell(self.nodes, self.seen, self.roster(), self.ask)

    def knows(self, name: str, method: str) -> Any:
        """What it was told last by a method."""
        return next((told[1] for told in reversed(self.told.get(name, [])) if told[0] == method), None)


def seat(role: str, node: str, restarts: int = 0) -> Observed:
    return Observed(Seat(role, node, "", Config(), restarts=restarts), f"id-{node}", "HEALTHY")


def told_all(cluster: Cluster) -> bool:
    addresses = dict.fromkeys(cluster.nodes, ("10.0.0.1", 7))
    return all(
        cluster.knows(name, "know") == cluster.nodes
        and (o.seat.role != "observer" or cluster.knows(name, "set_peers") == addresses)
        and (o.seat.role != "collector" or cluster.knows(name, "set_probe_peers") == addresses)
        and (o.seat.role != "feed" or cluster.knows(name, "set_feeders") == cluster.nodes)
        for name, o in cluster.seen.items()
        if name not in cluster.deaf
    )


@pytest.fixture
def few_calls(monkeypatch):
    monkeypatch.setattr(news_module, "TOLD_A_ROUND", 20)


async def test_a_large_cluster_is_told_in_rounds_of_so_many_calls(few_calls) -> None:
    cluster, news, rounds = Cluster(50), News(lambda: 0.0), 0
    while await cluster.round(news):
        assert len(cluster.asked) <= 60, "20 of each kind of address, 20 of all else"
        rounds += 1
        assert rounds < 40
    assert told_all(cluster)
    assert await cluster.round(news) is False
    assert cluster.asked == [], "nothing is new"
    tables = [told for told in cluster.told["vagus:observer@n0000"] if told[0] == "set_peers"]
    assert len(tables) == 1, "not of each part of the addresses"


async def test_who_does_not_answer_keeps_nobody_waiting(few_calls) -> None:
    cluster, news = Cluster(30), News(lambda: 0.0)
    cluster.deaf = {f"vagus:feed@{node}" for node in cluster.nodes[:25]}
    for _ in range(40):
        await cluster.round(news)
    assert told_all(cluster)
    cluster.deaf = set()
    for _ in range(10):
        await cluster.round(news)
    assert told_all(cluster), "and is told again until it answers"


async def test_a_cluster_that_changes_each_round_keeps_nobody_waiting(few_calls) -> None:
    rounds = iter(range(1000))
    cluster, news = Cluster(15), News(lambda: next(rounds) * news_module.ROSTER_PERIOD_S)
    stay = [name for name in cluster.seen if not name.endswith(cluster.nodes[-1])]
    for number in range(40):
        last, new = cluster.nodes[-1], f"z{number:03}"
        cluster.nodes = (*cluster.nodes[:-1], new)
        for role in ROLES:
            del cluster.seen[f"vagus:{role}@{last}"]
            cluster.seen[f"vagus:{role}@{new}"] = seat(role, new)
        await cluster.round(news)
    methods = {"observer": ("set_peers",), "collector": ("set_probe_peers", "set_roster"), "feed": ("set_feeders",)}
    for name in stay:
        for method in ("know", *methods[cluster.seen[name].seat.role]):
            told = [told for told in cluster.told[name] if told[0] == method]
            assert len(told) >= 3, (name, method)


async def test_more_deaf_than_a_round_has_calls_keep_nobody_waiting(few_calls) -> None:
    cluster, news = Cluster(50), News(lambda: 0.0)
    cluster.deaf = {f"vagus:observer@{node}" for node in cluster.nodes[:25]}
    rounds = 0
    while await cluster.round(news):
        rounds += 1
        assert rounds < 40, "the deaf are no reason for rounds without a pause"
    addresses = dict.fromkeys(cluster.nodes[25:], ("10.0.0.1", 7))
    assert all(cluster.knows(f"vagus:observer@{node}", "set_peers") == addresses for node in cluster.nodes[25:])
    cluster.deaf = set()
    for _ in range(10):
        await cluster.round(news)
    assert told_all(cluster)


async def test_only_those_whom_it_concerns_are_told_of_a_change() -> None:
    cluster, news = Cluster(5), News(lambda: 0.0)
    assert await cluster.round(news) is False
    cluster.seen["vagus:observer@n0003"] = seat("observer", "n0003", restarts=1)
    await cluster.round(news)
    assert Counter(cluster.asked) == {"vagus:observer@n0003": 3}, "address, nodes, peers: its life is new"
    cluster.nodes = cluster.nodes[:4]
    for role in ROLES:
        del cluster.seen[f"vagus:{role}@n0004"]
    await cluster.round(news)
    assert told_all(cluster)
    before = cluster.nodes
    cluster.nodes = (*before, "n0009")  # a node that has no actor yet, which goes again
    await cluster.round(news)
    cluster.nodes = before
    await cluster.round(news)
    assert told_all(cluster), "what was true before is news again"


async def test_what_happened_reaches_its_node_once_also_when_thousands_start_at_once() -> None:
    cluster, news = Cluster(2000), News(lambda: 0.0)
    for o in cluster.seen.values():
        news.happened(o, "actor.started", Level.INFO, restarts=0)
    cluster.deaf = {"vagus:collector@n0001"}
    while await cluster.round(news):
        pass
    cluster.deaf = set()
    while await cluster.round(news):
        pass
    got = [
        e for name in cluster.seen for told in cluster.told.get(name, ()) if told[0] == "set_roster" for e in told[2]
    ]
    assert Counter(e.fields["actor"] for e in got) == dict.fromkeys(cluster.seen, 1)
    assert all(
        e.node == name.partition("@")[2]
        for name in cluster.seen
        for told in cluster.told.get(name, ())
        if told[0] == "set_roster"
        for e in told[2]
    )


def test_seats_that_are_remembered_are_those_that_would_be_computed() -> None:
    config = Config(controllers=(ControllerSettings(name="one"),))
    nobody: Any = None
    fleet, random = Fleet(config, "/home", {"token": "t"}, nobody), Random(1)
    nodes: list[plan.Node] = []
    for step in range(200):
        what = random.randrange(5)
        if what == 0:
            nodes = [*nodes, plan.Node(f"id-{step}", f"n{step}", not nodes)]
        elif what == 1:
            nodes = [node for node in nodes if random.random() < 0.8]
        elif what == 2:
            fleet._set_armed("one", random.random() < 0.5)
        elif what == 3:
            name = f"c{random.randrange(3)}"
            fleet._spawned[name] = plan.Spawned(
                ControllerSettings(name=name, on="every-node"), random.choice([dict, list])
            )
        elif fleet._spawned:
            fleet._spawned.popitem()
        now = [plan.Node(node.id, node.name, node.head) for node in nodes]  # made anew each round
        fresh = plan.desired(fleet.config, "/home", now, fleet._spawned.values(), {"token": "t"})
        assert fleet._wanted(now) == fresh
        assert fleet._wanted(list(now)) is fleet._wanted(now)
