"""Work that moves between nodes: exactly one owner at a time, last ticks handed over, nothing lost without news."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from vagus.actors import feed_moves
from vagus.actors.base import Seat
from vagus.actors.feed_moves import Dues, FeedMoves
from vagus.config import Config, FeedSettings, SourceSettings
from vagus.errors import PeerUnreachable

PLACES = tuple(f"http://host{n}/" for n in range(60))
LIST = FeedSettings(name="hosts", source=SourceSettings(all=("http://list/",)))
FEEDS = (
    FeedSettings(name="web", source=SourceSettings(all=PLACES)),
    LIST,
    FeedSettings(name="each", foreach="hosts", source=SourceSettings(all=("http://{}/",))),
)


class Cluster:
    """Feed actors' moves that call each other; `away` do not answer."""

    def __init__(self) -> None:
        self.moves: dict[str, FeedMoves] = {}
        self.dues: dict[str, dict[tuple[str, str], int]] = {}
        self.taken: dict[str, list[tuple[dict[tuple[str, str], int], bool]]] = {}
        self.away: set[str] = set()
        self.tasks: list[asyncio.Task[None]] = []

    def join(self, node: str, feeds_on: str = "every-node") -> FeedMoves:
        self.dues[node], self.taken[node] = {}, []

        async def dues() -> Mapping[tuple[str, str], int]:
            return self.dues[node]

        async def take(last: Dues, first: bool) -> None:
            self.taken[node].append((dict(last), first))

        config = Config(feeds=FEEDS, feeds_on=feeds_on)  # type: ignore[arg-type]
        moves = FeedMoves(Seat("feed", node, "", config, options={"head": "n1"}), self, dues, take)
        self.moves[node] = moves
        self.tasks.append(asyncio.ensure_future(moves.run()))
        return moves

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        node = actor.partition("@")[2]
        if node in self.away:
            raise PeerUnreachable(f"{actor} is away")
        return await getattr(self.moves[node], method)(*args)

    def nodes(self) -> tuple[str, ...]:
        return tuple(self.moves)

    async def told(self, *nodes: str, to: tuple[str, ...] = ()) -> None:
        for node in to or nodes:
            self.moves[node].heard(nodes)
        while not all(self.settled(node, nodes) for node in to or nodes):
            await asyncio.sleep(0.001)

    def settled(self, node: str, nodes: tuple[str, ...]) -> bool:
        moves = self.moves[node]
        return set(moves.nodes) == set(nodes) and moves._settled

    def owners(self, feed: str = "web") -> dict[str, list[str]]:
        return {place: [n for n, m in self.moves.items() if m.share().owns(feed, place)] for place in PLACES}


@pytest.fixture
async def cluster():
    cluster = Cluster()
    yield cluster
    for task in cluster.tasks:
        task.cancel()
    await asyncio.gather(*cluster.tasks, return_exceptions=True)


async def test_each_location_has_one_owner_whoever_comes_and_goes(cluster: Cluster) -> None:
    for node in ("n1", "n2", "n3"):
        cluster.join(node)
    assert not any(cluster.owners().values()), "nobody fetches before it is known who else does"
    await cluster.told("n1", "n2", "n3")
    three = cluster.owners()
    assert {len(owners) for owners in three.values()} == {1}
    assert {owners[0] for owners in three.values()} == {"n1", "n2", "n3"}
    cluster.away.add("n3")
    await cluster.told("n1", "n2")
    two = {place: [n for n in owners if n != "n3"] for place, owners in cluster.owners().items()}
    assert {len(owners) for owners in two.values()} == {1}
    assert all(two[place] == owners for place, owners in three.items() if owners != ["n3"]), "only what was n3's moved"
    assert [first for _, first in cluster.taken["n1"]] == [True, False, False]


async def test_last_ticks_go_with_the_locations_and_lists_stay(cluster: Cluster) -> None:
    cluster.join("n1")
    await cluster.told("n1")
    cluster.dues["n1"] = {("web", PLACES[0]): 100, ("each", "http://x/"): 90, ("hosts", "http://list/"): 70}
    cluster.join("n2")
    await cluster.told("n1", "n2")
    assert cluster.taken["n2"] == [({("web", PLACES[0]): 100, ("each", "http://x/"): 90}, True)]


async def test_nobody_takes_over_before_the_owner_has_let_go(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_moves, "TRY_S", 0.001)
    cluster.join("n1")
    await cluster.told("n1")
    cluster.join("n2").heard(("n1", "n2"))
    while not cluster.moves["n2"].nodes:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0.001)
        assert all(owners == ["n1"] for owners in cluster.owners().values())
    await cluster.told("n1", "n2")
    assert {owners[0] for owners in cluster.owners().values()} == {"n1", "n2"}


async def test_who_does_not_answer_is_not_waited_for_without_end(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_moves, "TRY_S", 0.001)
    monkeypatch.setattr(feed_moves, "HAND_OVER_S", 0.02)
    for node in ("n1", "n2"):
        cluster.join(node)
    cluster.away.add("n2")
    await cluster.told("n1", "n2", to=("n1",))
    assert any(cluster.moves["n1"].share().owns("web", place) for place in PLACES)


async def test_without_news_it_begins_with_the_nodes_it_knows(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_moves, "NEWS_S", 0.01)
    moves = cluster.join("n1")
    while not moves.nodes:
        await asyncio.sleep(0.005)
    assert moves.nodes == ("n1",)


async def test_at_the_head_alone_everything_is_its_own(cluster: Cluster) -> None:
    moves = cluster.join("n1", feeds_on="head")
    assert (moves.spread, moves.nodes) == (False, ("n1",))
    assert moves.runs("web")
    assert {moves.owner("web", place) for place in PLACES} == {"n1"}
    await cluster.tasks[0]
    assert cluster.taken["n1"] == []
