"""robots.txt, for feeds that ask for it: a real server, both HTTP sources."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from vagus.feeds import Fetched, Net
from vagus.feeds.sources.http import HttpSource
from vagus.feeds.sources.http_plain import HttpPlainSource

RULES = "User-agent: *\nDisallow: /private\nDisallow: /*.pdf$\nAllow: /private/but\n\nUser-agent: other\nDisallow: /\n"


class Site:
    """A site with a robots.txt that can be changed."""

    def __init__(self) -> None:
        self.robots = web.Response(text=RULES)
        self.asked: Counter[str] = Counter()
        app = web.Application()
        app.router.add_get("/{what:.*}", self.answer)
        self.server = TestServer(app)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked[request.path] += 1
        if request.path == "/robots.txt":
            return web.Response(status=self.robots.status, body=self.robots.body)
        if request.path == "/hop":
            raise web.HTTPFound("/private")
        return web.Response(text="x")

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.port}/{path}"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    await site.server.start_server()
    yield site
    await site.server.close()


@pytest.fixture(params=[HttpSource, HttpPlainSource])
async def source(request: pytest.FixtureRequest) -> AsyncIterator[HttpSource]:
    source: HttpSource = request.param(robots=True)
    yield source
    await source.close()


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("", True), ("a", True), ("private", False), ("private/x", False), ("private/but", True), ("a/b.pdf", False)],
)
async def test_what_it_allows(site: Site, source: HttpSource, path: str, allowed: bool) -> None:
    fetched = await source.fetch(site.url(path), 5.0, 100)
    if allowed:
        assert fetched == Fetched(Net.OK, b"x")
    else:
        assert fetched.net is Net.FAILED
        assert fetched.note.endswith(f"does not allow /{path}")
        assert site.asked[f"/{path}"] == 0


async def test_it_is_asked_once_for_all(site: Site, source: HttpSource) -> None:
    fetched = await asyncio.gather(*(source.fetch(site.url(f"{n}"), 5.0, 100) for n in range(10)))
    assert {f.net for f in fetched} == {Net.OK}
    assert site.asked["/robots.txt"] == 1


async def test_a_redirect_is_asked_for_too(site: Site, source: HttpSource) -> None:
    assert "does not allow /private" in (await source.fetch(site.url("hop"), 5.0, 100)).note
    assert site.asked["/private"] == 0


@pytest.mark.parametrize(("status", "net"), [(404, Net.OK), (403, Net.OK), (500, Net.FAILED)])
async def test_no_robots_allows_all_and_a_broken_site_nothing(
    site: Site, source: HttpSource, status: int, net: Net
) -> None:
    site.robots = web.Response(status=status)
    assert (await source.fetch(site.url("private"), 5.0, 100)).net is net
    assert site.asked["/private"] == (net is Net.OK)


async def test_a_site_that_is_away(source: HttpSource) -> None:
    fetched = await source.fetch(f"http://127.0.0.1:{unused_port()}/", 5.0, 100)
    assert fetched.net is Net.FAILED
    assert "robots.txt" in fetched.note
