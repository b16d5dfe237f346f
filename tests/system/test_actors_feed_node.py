"""Feeds on a node: a real collector, store and gateway beside the feed actor; items are streams like any other."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from conftest import PATIENCE

from vagus.actors import feed as feed_module
from vagus.actors.base import Actor, Seat
from vagus.actors.collector import CollectorActor
from vagus.actors.feed import FeedActor
from vagus.config import (
    CollectSettings,
    Config,
    ContextSettings,
    DecideSettings,
    FeedSettings,
    GatewaySettings,
    SourceSettings,
)
from vagus.errors import PeerUnreachable
from vagus.model import Ack, ActorStatus, Decision, Report, Status

pytestmark = pytest.mark.system

TOKEN = "t" * 32


class Node:
    """Links between the actors of one process; what goes to observer and learner is only remembered."""

    def __init__(self) -> None:
        self.actors: dict[str, Actor] = {}
        self.reports: list[Report] = []
        self.decisions: list[Decision] = []

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        if actor in self.actors:
            return await getattr(self.actors[actor], method)(*args)
        if method == "report":
            self.reports += args[0]
            return [Ack.ACCEPTED] * len(args[0])
        if method == "decided":
            self.decisions += args[0]
            return None
        raise PeerUnreachable(f"{actor} is away")

    def nodes(self) -> tuple[str, ...]:
        return ("n1",)


class Running:
    """A node that runs, and questions to its gateway."""

    def __init__(self, node: Node, collector: CollectorActor, feed: FeedActor, session: aiohttp.ClientSession) -> None:
        self.node = node
        self.collector = collector
        self.feed = feed
        self._session = session

    async def get(self, path: str, **query: Any) -> Any:
        url = self.collector._url
        async with self._session.get(url + path, params=query, headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
            assert answer.status == 200, await answer.text()
            return json.loads(await answer.text())

    async def post(self, path: str, body: Any) -> Any:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with self._session.post(self.collector._url + path, json=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            return json.loads(await answer.text())

    async def eventually(self, path: str, holds: Any, **query: Any) -> Any:
        until_s = time.monotonic() + 10.0 * PATIENCE
        while True:
            answer = await self.get(path, **query)
            if holds(answer):
                return answer
            assert time.monotonic() < until_s, answer
            await asyncio.sleep(0.02)


def web_feed(name: str, url: str, **more: Any) -> FeedSettings:
    given = {"every": "0.1s", "timeout": "2s", "format": "json", **more}
    return FeedSettings(name=name, source=SourceSettings(all=(url,)), **given)


@pytest.fixture
async def url() -> AsyncIterator[str]:
    count = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal count
        count += 1
        if request.path == "/hosts":
            return web.json_response(["a", "b"])
        return web.json_response({"load1": 7.0, "count": count, "disks": [{"free": 1}, {"free": 2}]})

    app = web.Application()
    app.router.add_get("/{_:.*}", answer)
    server = TestServer(app)
    await server.start_server()
    yield f"http://127.0.0.1:{server.port}"
    await server.close()


@pytest.fixture
async def running(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    monkeypatch.setattr(feed_module, "TELL_S", 0.05)
    feeds = (
        web_feed(
            "comon",
            f"{url}/comon",
            where="load1 > 2",
            tools=({"alert": {"field": "load1", "maximum": 5, "report": True, "subject": "db@2"}},),
        ),
        FeedSettings(name="disks", of="comon", flatten="disks"),
        web_feed("hosts", f"{url}/hosts", every="1h"),
        FeedSettings(name="list", of="hosts", flatten=True),
        web_feed("each", url + "/{}", foreach="list"),
        FeedSettings(name="both", pair=(web_feed("", f"{url}/left"), web_feed("", f"{url}/right"))),
        FeedSettings(name="wrong", of="nowhere"),
    )
    config = Config(
        gateway=GatewaySettings(port=0),
        collect=CollectSettings(period_s=0.05, collectors=()),
        feeds=feeds,
        decide=DecideSettings(context={"load": ContextSettings(series="feed.comon.load1", bins=(1.0, 10.0))}),
    )
    node = Node()
    options = {"token": TOKEN, "head": "n1"}
    collector = CollectorActor(Seat("collector", "n1", str(tmp_path), config, options=options), node)
    feed = FeedActor(Seat("feed", "n1", str(tmp_path), config, options=options), node)
    node.actors = {actor.seat.name: actor for actor in (collector, feed)}
    await collector.begin()
    await feed.begin()
    await feed.set_feeders(("n1",))  # with a list from the web the work is shared: the supervisor says by whom
    async with aiohttp.ClientSession() as session:
        try:
            yield Running(node, collector, feed, session)
        finally:
            await feed.end()
            await collector.end()


async def test_items_are_discovered_queried_followed_and_forecast(running: Running, url: str) -> None:
    parts = {"feed.comon": {""}, "feed.disks": {"0", "1"}, "feed.each": {""}, "feed.both": {""}, "feed.fetch": {""}}
    expected = {(kind, part) for kind, each in parts.items() for part in each}

    def by_part(answer: Any) -> dict[tuple[str, str], Any]:
        return {(s["stream"]["kind"], s["stream"]["labels"].get("part", "")): s for s in answer["sensors"]}

    def fields(answer: Any) -> set[str]:
        both = by_part(answer).get(("feed.both", ""))
        return {field["name"] for field in both["stream"]["fields"]} if both else set()

    found = await running.eventually(
        "/v1/sensors",
        lambda a: by_part(a).keys() >= expected and fields(a) >= {"_0_load1", "_1_load1"},  # both sides of a pair
        selector="feed.*",
    )
    streams = by_part(found)
    assert streams["feed.comon", ""]["live"]

    selector = f'feed.comon.load1{{location="{url}/comon"}}'
    answer = await running.eventually("/v1/query", lambda a: a["batches"], selector=selector, since="1m")
    assert set(answer["batches"][0]["columns"]["load1"]) == {7.0}
    predicted = await running.eventually(
        "/v1/query",
        lambda a: a["batches"] and len(a["batches"][0]["columns"]["load1.forecast"]) > 2,
        selector="feed.comon.load1.forecast",
        since="1m",
    )
    assert predicted["batches"][0]["columns"]["load1.forecast"][-1] == pytest.approx(7.0)

    items: list[Any] = []
    async for page in running.collector.subscribe("feed.comon"):
        items += page.items
        if len(items) >= 2:
            break
    assert {record.stream.kind for _, record in items} == {"feed.comon"}


async def test_what_a_feed_is_and_how_it_does(running: Running, url: str) -> None:
    def ready(answer: Any) -> bool:
        counted = {f["name"]: sum(f["codes"].values()) for f in answer["feeds"]}
        return all(counted.get(name, 0) > 0 for name in ("comon", "disks", "list", "each", "both"))

    answer = await running.eventually("/v1/feeds", ready)
    feeds = {feed["name"]: feed for feed in answer["feeds"]}
    comon = feeds["comon"]
    assert (comon["kind"], comon["schedule"], comon["tools"]) == ("source", "every 0.1s", ["alert"])
    assert (comon["locations"], comon["failing"], comon["error"]) == (1, {}, "")
    assert comon["codes"]["ok/Good"] >= 1
    assert comon["next_due_ns"] > 0
    assert feeds["each"]["locations"] == 2
    assert feeds["both"]["locations"] == 2
    assert "nowhere" in feeds["wrong"]["error"]

    await running.collector.set_roster([ActorStatus("vagus:feed@n1", "feed", "n1", "HEALTHY")], [])
    entries = {e["name"]: e for e in (await running.get("/v1/directory", type="feed"))["entries"]}
    assert entries["comon"]["live"]
    assert entries["comon"]["labels"] == {
        "actor": "vagus:feed@n1",
        "kind": "source",
        "every": "0.1s",
        "format": "json",
        "tools": "alert",
        "shape": "any",
        "locations": "1",
        "schedule": "every 0.1s",
    }
    assert "nowhere" in entries["wrong"]["note"]


async def test_items_through_the_gateway_also_out_of_the_archive(running: Running, url: str) -> None:
    each = await running.eventually(
        "/v1/feeds/each/items",
        lambda a: {i["meta"]["location"] for i in a["items"] if i["value"]} == {f"{url}/a", f"{url}/b"},
    )
    first = next(item for item in each["items"] if item["value"])  # a busy machine misses ticks: items without a value
    assert first["node"] == "n1"
    assert first["value"]["load1"] == 7.0
    assert first["meta"]["provenance"][0]["feed"] == "hosts"
    archived = await running.eventually("/v1/feeds/each/items", lambda a: a["items"], since="1m", limit="1000")
    known = {json.dumps(item["meta"], sort_keys=True): item for item in archived["items"]}
    assert known[json.dumps(first["meta"], sort_keys=True)] == first, "parsed again: the same"
    metas = await running.eventually("/v1/records", lambda a: a["records"], kind="item", limit="100")
    assert "ok" in {record["net"] for record in metas["records"]}


async def test_an_alert_is_an_event_in_the_store_and_evidence_on_its_subject(running: Running, url: str) -> None:
    answer = await running.eventually("/v1/records", lambda a: a["records"], kind="event", event="feed.alert")
    event = answer["records"][-1]
    assert (event["level"], event["source"]) == ("warning", "vagus:feed@n1")
    assert (event["fields"]["subject"], event["fields"]["status"]) == ("db@2", "UNHEALTHY")
    assert event["fields"]["value"] == 7.0
    until_s = time.monotonic() + 10.0 * PATIENCE
    while not (reports := [r for r in running.node.reports if r.subject == "db@2"]):
        assert time.monotonic() < until_s
        await asyncio.sleep(0.02)
    assert reports[0].observer == "feed:comon@n1"
    assert [metric.status for metric in reports[0].contexts.values()] == [Status.UNHEALTHY]


async def test_a_decision_knows_the_load_that_a_feed_saw(running: Running) -> None:
    await running.eventually("/v1/sensors", lambda a: a["sensors"], selector="feed.comon")
    answer = await running.post("/v1/decide", {"features": {"city": "Bern"}, "arms": ["a", "b"]})
    assert answer["context"] == {"load": "1..10"}
    until_s = time.monotonic() + 10.0 * PATIENCE
    while not running.node.decisions:
        assert time.monotonic() < until_s
        await asyncio.sleep(0.02)
    assert running.node.decisions[0].features == {"city": "Bern", "load": "1..10"}
