"""What is fetched only when it is new: each feed, and each part of one, has had it before it is told that it has."""

from __future__ import annotations

import json

from aiohttp import web
from aiohttp.test_utils import TestServer

from vagus.actors.feed_sources import FeedSources
from vagus.clock import NS
from vagus.feeds.directives import Emit, Fetch
from vagus.feeds.engine import Engine
from vagus.feeds.feed import Feed, all_, any_, base
from vagus.feeds.formats.json import Json
from vagus.feeds.formats.text import Text
from vagus.feeds.item import Fetched, Net
from vagus.feeds.when import every

T0 = 1_700_000_000 * NS


async def test_what_one_feed_has_another_has_not() -> None:
    versions = ["1"]

    async def answer(request: web.Request) -> web.Response:
        etag = f'"{versions[-1]}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304)
        return web.Response(text=versions[-1], headers={"ETag": etag})

    app = web.Application()
    app.router.add_get("/", answer)
    server = TestServer(app)
    await server.start_server()
    sources = FeedSources()
    url = str(server.make_url("/"))

    async def fetched(feed: str) -> Fetched:
        return await sources[feed, "http"].fetch(url, 5.0, 1000)

    assert [(await fetched(feed)).body for feed in ("a", "b")] == [b"1", b"1"]
    versions.append("2")
    assert [(await fetched(feed)).body for feed in ("a", "b")] == [b"2", b"2"]
    assert (await fetched("b")).net is Net.NOT_MODIFIED
    sources["b", "http"].forget(url)  # type: ignore[attr-defined]
    assert (await fetched("b")).body == b"2"
    assert (await fetched("a")).net is Net.NOT_MODIFIED
    for source in sources.values():
        await source.close()
    await server.close()


def begun(engine: Engine, now_ns: int) -> list[Fetch]:
    return [step for step in engine.tick(now_ns) if isinstance(step, Fetch)]


def ended(engine: Engine, fetch: Fetch, fetched: Fetched, now_ns: int) -> list[Fetch]:
    return [step for step in engine.fetched(fetch, fetched, now_ns) if isinstance(step, Fetch)]


def test_a_new_engine_wants_all_of_its_first_answer() -> None:
    feed: Feed[str] = base(all_("http://a/"), every("10s", timeout="5s"), Text())
    for _ in range(2):
        engine = Engine({"f": feed}, now_ns=T0)
        fresh = []
        for second in range(0, 60, 10):
            now_ns = T0 + (second + 10) * NS
            for fetch in begun(engine, now_ns):
                fresh.append(fetch.fresh)
                assert any(isinstance(step, Emit) for step in engine.fetched(fetch, Fetched(Net.OK, b"x"), now_ns))
        assert fresh == [True, *[False] * 5]


def test_an_element_that_comes_back_has_nothing_yet() -> None:
    listed: Feed[list[str]] = base(all_("http://list/"), every("10s", timeout="5s"), Json(), name="list")
    feed = listed.flatten().foreach(lambda x: base(all_(f"http://{x}/"), every("10s", timeout="5s"), Text()))
    engine = Engine({"f": feed}, now_ns=T0)
    lists = {0: ["a"], 100: [], 200: ["a"]}
    fresh: list[tuple[int, bool]] = []
    elements = ["a"]
    for second in range(1, 300):
        elements = lists.get(second, elements)
        now_ns = T0 + second * NS
        fetches = begun(engine, now_ns)
        while fetches:
            fetch = fetches.pop()
            body = json.dumps(elements).encode() if fetch.location == "http://list/" else b"x"
            if fetch.location == "http://a/":
                fresh.append((second // 100, fetch.fresh))
            fetches += ended(engine, fetch, Fetched(Net.OK, body), now_ns)
    assert [told for told in fresh if told[1]] == [(0, True), (2, True)]
    assert (0, False) in fresh
    assert (2, False) in fresh


def test_any_is_not_modified_only_since_its_own_last_item() -> None:
    feed: Feed[str] = base(any_("http://a/", "http://b/"), every("10s", timeout="5s"), Text())
    engine = Engine({"f": feed}, now_ns=T0)
    asked: list[tuple[str, bool]] = []
    for second, bad in ((10, ""), (20, ""), (30, "http://a/"), (40, "")):
        fetches = begun(engine, T0 + second * NS)
        while fetches:
            fetch = fetches.pop()
            asked.append((fetch.location[7], fetch.fresh))
            answer = Fetched(Net.FAILED) if fetch.location == bad else Fetched(Net.OK, b"x")
            fetches += ended(engine, fetch, answer, T0 + second * NS)
    assert asked == [("a", True), ("a", False), ("a", False), ("b", True), ("a", True)]
