"""Several tools on a feed, and several feeds on one base, cost one fetch."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

from vagus.actors.feed_local import LocalFeeds
from vagus.config import FeedSettings, SourceSettings
from vagus.feeds.declared import feeds_of
from vagus.feeds.directives import Emit
from vagus.feeds.tools import tools_of


async def test_feature_11_several_tools_on_one_feed_cost_one_fetch(tmp_path: Path) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(text="load1: 0.5\ngb_free: 7\n")

    app = web.Application()
    app.router.add_get("/{_:.*}", answer)
    server = TestServer(app)
    await server.start_server()
    declared = [
        FeedSettings(
            name="node",
            source=SourceSettings(all=(f"http://127.0.0.1:{server.port}/node",)),
            once=True,
            format="entries",
            options={"fields": {"load1": "float", "gb_free": "float"}},
            tools=(
                "accum",
                {"xml": {"file": "node.xml"}},
                {"rss": {"file": "node.rss", "title": "t", "path": "load1"}},
            ),
        ),
        FeedSettings(name="low", of="node", where="gb_free < 10", tools=({"select": {"file": "low.csv"}},)),
        FeedSettings(name="both", pair=("node", "low")),
    ]
    feeds = feeds_of(declared)
    items: list[Emit] = []
    came = asyncio.Event()

    def take(emit: Emit) -> None:
        items.append(emit)
        if len(items) == 3:
            came.set()

    wrong: list[str] = []
    tools = tools_of(declared, feeds, tmp_path, "n1")
    local = LocalFeeds(
        feeds, emit=take, failed=lambda what, error: wrong.append(f"{what}: {error}"), folder=tmp_path, tools=tools
    )
    await local.start()
    try:
        await came.wait()
    finally:
        await local.stop()
        await server.close()
    assert asked == ["/node"]
    assert sorted(emit.feed for emit in items) == ["both", "low", "node"]
    assert wrong == []
    assert {path.name for path in tmp_path.rglob("*.*")} >= {"node.xml", "node.rss", "low.csv", "accum.xml"}
