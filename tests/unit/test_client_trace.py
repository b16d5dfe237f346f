"""aiohttp's clients: what their requests say of the servers."""

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from client_reporter import Still

import vagus
from vagus.client.aiohttp_trace import trace_config
from vagus.client.subjects import Subjects


@pytest.fixture
def still():
    return Still()


@pytest.fixture
async def server():
    hangs = asyncio.Event()

    async def answer(request):
        if request.path == "/hang":
            await hangs.wait()
        if request.path == "/cut":
            request.transport.abort()
        if request.path.startswith("/to/"):
            raise web.HTTPFound(request.path[3:])
        return web.Response(status=int(request.path.strip("/") or 200) if request.path.strip("/").isdigit() else 200)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield SimpleNamespace(port=runner.addresses[0][1])
    hangs.set()
    await runner.cleanup()


def session(still, **settings):
    settings.setdefault("names", Subjects())
    return aiohttp.ClientSession(trace_configs=[trace_config(reporter=still.reporter, **settings)])


def test_the_public_name():
    assert vagus.trace_config is trace_config


@pytest.mark.parametrize(
    ("path", "status"), [("/200", "HEALTHY"), ("/404", "HEALTHY"), ("/500", "UNHEALTHY"), ("/503", "UNHEALTHY")]
)
async def test_answers(still, server, path, status):
    async with session(still) as client, client.get(f"http://127.0.0.1:{server.port}{path}") as response:
        assert response.status == int(path[1:])
    assert still.step(10.0) == [(f"127.0.0.1:{server.port}", "GET", status)]
    assert still.reporter.waiting == {}


async def test_names_contexts_and_what_counts_as_failed_are_given(still, server):
    names = Subjects()
    names.add(f"127.0.0.1:{server.port}", "web@1")
    async with session(still, names=names, context="api", failed=lambda status: status == 404) as client:
        await client.post(f"http://127.0.0.1:{server.port}/404")
    async with session(still, subject="web@2", observer="me") as client:
        await client.head(f"http://127.0.0.1:{server.port}/")
    assert still.step() == [("web@1", "api", "UNHEALTHY"), ("web@2", "HEAD", "HEALTHY")]


async def test_a_request_that_hangs_is_pending_then_its_time_out_unhealthy(still, server):
    async with session(still, subject="web@1") as client:
        asked = asyncio.ensure_future(
            client.get(f"http://127.0.0.1:{server.port}/hang", timeout=aiohttp.ClientTimeout(total=0.2))
        )
        while not still.reporter.waiting:
            await asyncio.sleep(0)
        assert still.step(4.0) == [("web@1", "GET", "PENDING")]
        with pytest.raises(asyncio.TimeoutError):
            await asked
    assert still.step() == [("web@1", "GET", "UNHEALTHY")]


async def test_a_request_that_we_cancel_is_no_verdict(still, server):
    async with session(still, subject="web@1") as client:
        asked = asyncio.ensure_future(client.get(f"http://127.0.0.1:{server.port}/hang"))
        while not still.reporter.waiting:
            await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
    assert still.step(10.0) == []
    async with session(still, subject="web@1", pending_s=0.0) as client:
        asked = asyncio.ensure_future(client.get(f"http://127.0.0.1:{server.port}/hang"))
        while not still.reporter.waiting:
            await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
    assert still.step() == [("web@1", "GET", "PENDING")]  # but it had hung by then


async def test_connections_that_fail(still, server, unused_tcp_port):
    async with session(still, subject="web@1") as client:
        with pytest.raises(aiohttp.ClientError):
            await client.get(f"http://127.0.0.1:{unused_tcp_port}/")
        assert still.step() == [("web@1", "GET", "UNHEALTHY")]
        with pytest.raises(aiohttp.ClientError):
            await client.get(f"http://127.0.0.1:{server.port}/cut")
        assert still.step() == [("web@1", "GET", "UNHEALTHY")]


async def test_each_hop_of_a_redirect_is_a_request_of_its_own(still, server, unused_tcp_port):
    async with session(still) as client, client.get(f"http://127.0.0.1:{server.port}/to/503") as response:
        assert response.status == 503
    assert still.step() == [(f"127.0.0.1:{server.port}", "GET", s) for s in ("HEALTHY", "UNHEALTHY")]
    away = f"http://127.0.0.1:{server.port}/to//127.0.0.1:{unused_tcp_port}/"
    async with session(still) as client:
        with pytest.raises(aiohttp.ClientError):
            await client.get(away)
    assert set(still.step()) == {
        (f"127.0.0.1:{server.port}", "GET", "HEALTHY"),
        (f"127.0.0.1:{unused_tcp_port}", "GET", "UNHEALTHY"),
    }
    assert still.reporter.waiting == {}


async def test_a_tracer_that_breaks_breaks_no_request(still, server):
    def failed(status):
        raise RuntimeError("ours")

    async with session(still, failed=failed) as client, client.get(f"http://127.0.0.1:{server.port}/200") as response:
        assert response.status == 200
    assert "ours" in still.reporter.last_error
