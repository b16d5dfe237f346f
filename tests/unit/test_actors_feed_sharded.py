"""Feeds spread over nodes: three actors, one clock turned by hand, a server that counts: each location once a tick."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from vagus.actors.base import Seat
from vagus.actors.feed import FeedActor
from vagus.actors.feed_runner import MAX_FETCHES_PER_HOST
from vagus.clock import ManualClock
from vagus.config import Config, FeedSettings, SourceSettings
from vagus.errors import PeerUnreachable
from vagus.feeds import Item, Net

HOSTS = 24
PERIOD_S = 10.0


class Server:
    """Counts what it is asked for, and holds answers back while `hold` is unset."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.hold = asyncio.Event()
        self.hold.set()
        self.waiting = 0
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked[request.path] += 1
        if request.path == "/list":
            return web.json_response([f"h{n}" for n in range(HOSTS)])
        self.waiting += 1
        await self.hold.wait()
        self.waiting -= 1
        return web.json_response({"load1": 1.5})

    def taken(self) -> Counter[str]:
        """What was asked for since the last time, without the list."""
        asked, self.asked = self.asked, Counter()
        del asked["/list"]
        return asked


class Cluster:
    """Feed actors that call each other; those that were killed do not answer."""

    def __init__(self, home: Path, server: Server, feeds: tuple[FeedSettings, ...]) -> None:
        self.clock = ManualClock()
        self.actors: dict[str, FeedActor] = {}
        self._home = home
        self._config = Config(feeds=feeds, feeds_on="every-node")

    async def join(self, *nodes: str) -> None:
        for node in nodes:
            seat = Seat("feed", node, str(self._home), self._config, options={"head": "n1"})
            self.actors[node] = FeedActor(seat, self, self.clock)
            await self.actors[node].begin()

    async def leave(self, node: str) -> FeedActor:
        actor = self.actors.pop(node)
        await actor.end()
        return actor

    async def told(self, *nodes: str) -> None:
        """The supervisor tells everyone who fetches."""
        for actor in self.actors.values():
            await actor.set_feeders(nodes)
        while not all(
            a._moves._settled and a._moves.nodes == nodes and a._engines.current for a in self.actors.values()
        ):
            await asyncio.sleep(0.002)

    async def tick(self, seconds: float = PERIOD_S) -> None:
        self.clock.advance(seconds)
        for actor in self.actors.values():
            actor.tick()
        for actor in self.actors.values():
            await actor.idle()

    async def items(self, feed: str) -> dict[str, list[Item[Any]]]:
        return {node: await actor.items(feed, 10_000) for node, actor in self.actors.items()}

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        node = actor.partition("@")[2]
        if not actor.startswith("vagus:feed@"):
            return None
        if node not in self.actors or self.actors[node].state != "HEALTHY":
            raise PeerUnreachable(f"{actor} is away")
        return await getattr(self.actors[node], method)(*args)

    def nodes(self) -> tuple[str, ...]:
        return tuple(self.actors)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_get("/{_:.*}", server.answer)
    running = TestServer(app)
    await running.start_server()
    server.url = f"http://127.0.0.1:{running.port}"
    yield server
    server.hold.set()
    await running.close()


def hosts(server: Server, name: str = "web", **more: Any) -> FeedSettings:
    source = SourceSettings(all=tuple(f"{server.url}/h{n}" for n in range(HOSTS)))
    return FeedSettings(name=name, source=source, every=f"{PERIOD_S}s", timeout="60s", format="json", **more)


ONCE = Counter({f"/h{n}": 1 for n in range(HOSTS)})


@pytest.fixture
async def sharded(server: Server, tmp_path: Path) -> AsyncIterator[Any]:
    made: list[Cluster] = []

    async def start(*feeds: FeedSettings) -> Cluster:
        cluster = Cluster(tmp_path, server, feeds)
        made.append(cluster)
        await cluster.join("n1", "n2", "n3")
        await cluster.told("n1", "n2", "n3")
        return cluster

    yield start
    server.hold.set()
    for cluster in made:
        for node in list(cluster.actors):
            await cluster.leave(node)


async def test_each_location_is_fetched_once_a_tick_whoever_comes_and_goes(server: Server, sharded: Any) -> None:
    cluster = await sharded(hosts(server))
    await cluster.tick()
    assert server.taken() == ONCE
    shares = {node: len(items) for node, items in (await cluster.items("web")).items()}
    assert sum(shares.values()) == HOSTS
    assert min(shares.values()) > 0

    await cluster.leave("n3")
    await cluster.told("n1", "n2")
    await cluster.tick()
    assert server.taken() == ONCE, "what was n3's goes on with the next tick, at its new owner"
    await cluster.tick()
    assert server.taken() == ONCE

    await cluster.join("n3")
    await cluster.told("n1", "n2", "n3")
    await cluster.tick()
    assert server.taken() == ONCE
    again = (await cluster.items("web"))["n3"]
    assert len(again) == shares["n3"], "its old share; no tick that others did meanwhile is missed, or done again"
    assert {item.meta.net for item in again} == {Net.OK}


async def test_a_fetch_under_way_when_its_location_moves_is_not_begun_again(server: Server, sharded: Any) -> None:
    cluster = await sharded(hosts(server))
    server.hold.clear()
    cluster.clock.advance(PERIOD_S)
    for actor in cluster.actors.values():
        actor.tick()
    shares = Counter(cluster.actors["n1"]._moves.owner("web", f"{server.url}/h{n}") for n in range(HOSTS))
    while server.waiting < sum(min(MAX_FETCHES_PER_HOST, share) for share in shares.values()):
        await asyncio.sleep(0.002)
    await cluster.join("n4")
    await cluster.told("n1", "n2", "n3", "n4")
    cluster.clock.advance(1e-6)  # the same tick still
    for actor in cluster.actors.values():
        actor.tick()
    server.hold.set()
    for actor in cluster.actors.values():
        await actor.idle()
    assert server.taken() == ONCE
    dues = Counter(i.meta.location for items in (await cluster.items("web")).values() for i in items)
    assert set(dues.values()) == {1}, "the item of a fetch is its old owner's"
    await cluster.tick()
    assert server.taken() == ONCE
    assert (await cluster.items("web"))["n4"]


async def test_what_a_list_drives_is_spread_by_element_and_the_list_is_told_once(server: Server, sharded: Any) -> None:
    listed = SourceSettings(all=(f"{server.url}/list",))
    driving = FeedSettings(name="hosts", source=listed, every="1h", timeout="5s", format="json")
    each = FeedSettings(
        name="each",
        foreach=FeedSettings(of="hosts", flatten=True),
        source=SourceSettings(all=(server.url + "/{}",)),
        every=f"{PERIOD_S}s",
        timeout="5s",
        format="json",
    )
    cluster = await sharded(driving, each)
    for _ in range(400):  # the list is fetched somewhere within its hour
        await cluster.tick()
        if server.asked["/h0"] and server.asked["/list"] >= 3:
            break
    server.taken()
    await cluster.tick()
    assert server.taken() == ONCE
    told = [item for items in (await cluster.items("hosts")).values() for item in items]
    assert len({(i.meta.location, i.meta.due_ns) for i in told}) == len(told), "each list once, not by every node"
    shares = {n: {i.meta.location for i in items} for n, items in (await cluster.items("each")).items()}
    assert sum(map(len, shares.values())) == HOSTS
    await cluster.leave("n2")
    await cluster.told("n1", "n3")
    await cluster.tick()
    assert server.taken() == ONCE, "the list is known without being fetched again"


async def test_what_is_joined_or_has_tools_is_at_one_node(server: Server, sharded: Any) -> None:
    pair = FeedSettings(
        name="pair",
        pair=tuple(
            FeedSettings(
                source=SourceSettings(all=(f"{server.url}/{side}",)), every=f"{PERIOD_S}s", timeout="5s", format="json"
            )
            for side in ("left", "right")
        ),
    )
    printed = hosts(server, "table", tools=({"accum": {"slicesize": 1000}},))
    cluster = await sharded(pair, printed)
    for _ in range(3):
        await cluster.tick()
    for feed, expected in (("pair", 1), ("table", HOSTS)):
        found = {node: {i.meta.location for i in items} for node, items in (await cluster.items(feed)).items() if items}
        assert [len(places) for places in found.values()] == [expected], feed
    statuses = {n: {s.name: s for s in await a.statuses()} for n, a in cluster.actors.items()}
    [holder] = [node for node, found in statuses.items() if "table" in found]
    assert statuses[holder]["table"].locations == HOSTS
    assert cluster.actors[holder].figures()["tools"] == 1
    assert sum(actor.figures()["tools"] for actor in cluster.actors.values()) == 1


async def test_commands_stay_at_the_head(server: Server, sharded: Any) -> None:
    cluster = await sharded(
        FeedSettings(name="up", source=SourceSettings(all=("proc:uptime",)), every=f"{PERIOD_S}s", format="uptime"),
        hosts(server),
    )
    for _ in range(2):
        await cluster.tick()
    assert {node for node, items in (await cluster.items("up")).items() if items} == {"n1"}


async def test_a_killed_actor_s_ticks_are_missed_items_and_nothing_moves(server: Server, sharded: Any) -> None:
    cluster = await sharded(hosts(server))
    await cluster.tick()
    shares = {node: len(items) for node, items in (await cluster.items("web")).items()}
    await cluster.leave("n2")  # its node lives: the supervisor starts it again, and tells nobody of a change
    for _ in range(3):
        await cluster.tick()
    server.taken()
    await cluster.join("n2")
    await cluster.told("n1", "n2", "n3")
    await cluster.tick()
    nets = Counter(item.meta.net for item in (await cluster.items("web"))["n2"])
    assert nets == {Net.MISSED: 3 * shares["n2"], Net.OK: shares["n2"]}
    assert server.taken() == ONCE
