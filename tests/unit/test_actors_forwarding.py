"""Remote write: what the server took is behind the position; outages, refusals and restarts lose and block nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest
from aiohttp import web

from vagus.actors.forwarding import LAG_NS, MAX_SPAN_NS, RemoteWrite, packed, position_name, unpacked
from vagus.clock import NS, ManualClock
from vagus.config import RemoteWriteSettings
from vagus.errors import ConfigError
from vagus.model import Event, Field, Stream
from vagus.store.batch import Batch

NOW_NS = 1_700_000_000 * NS
STREAM = Stream("a", "host.load", (Field("load1"),))


class Server:
    """A receiver that answers what it is told to."""

    def __init__(self) -> None:
        self.status = 204
        self.headers: dict[str, str] = {}
        self.got: list[tuple[int, str]] = []

    async def take(self, request: web.Request) -> web.Response:
        assert request.headers["Content-Encoding"] == "snappy"
        body = await request.read()
        if self.status < 300:
            self.got.append((len(body), request.headers.get("Authorization", "")))
        return web.Response(status=self.status, text="out of order sample", headers=self.headers)


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, str]]:
    served = Server()
    app = web.Application()
    app.router.add_post("/api/v1/write", served.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield served, f"http://127.0.0.1:{port}/api/v1/write"
    await runner.cleanup()


class Archive:
    """A sample each second."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.saved: list[int] = []
        self.events: list[Event] = []

    def read(self, selector: str, start_ns: int, end_ns: int) -> list[Batch]:
        self.asked.append((start_ns, end_ns))
        t_ns = np.arange(-(-start_ns // NS) * NS, end_ns, NS)
        return [Batch(STREAM, t_ns, (np.ones(len(t_ns)),))] if len(t_ns) else []


def made(url: str, archive: Archive, clock: ManualClock, position_ns: int = 0, **more: object) -> RemoteWrite:
    settings = RemoteWriteSettings(url=url, **more)  # type: ignore[arg-type]
    return RemoteWrite(settings, "a", archive.read, archive.saved.append, archive.events.append, position_ns, clock)


async def test_each_sample_is_sent_once_and_the_position_follows(server: tuple[Server, str]) -> None:
    served, url = server
    clock, archive = ManualClock(NOW_NS), Archive()
    writing = made(url, archive, clock)
    for _ in range(3):
        await writing.step()
        clock.advance(5.0)
    assert len(served.got) == 3
    assert writing.sent == 15
    assert archive.asked == [(NOW_NS - LAG_NS + 5 * NS * i, NOW_NS - LAG_NS + 5 * NS * (i + 1)) for i in range(-1, 2)]
    assert archive.saved[-1] == writing.position_ns
    await writing.close()


async def test_an_outage_is_told_once_and_made_up_for(server: tuple[Server, str]) -> None:
    served, url = server
    clock, archive = ManualClock(NOW_NS), Archive()
    writing = made(url, archive, clock)
    await writing.step()
    served.status = 503
    for _ in range(40):
        clock.advance(5.0)
        await writing.step()
    assert "503" in writing.trouble
    assert [e.event for e in archive.events] == ["remote_write.delayed"]
    assert len(archive.asked) < 12  # ever more rarely
    served.status = 200
    clock.advance(300.0)
    await writing.step()
    assert writing.trouble == ""
    assert [e.event for e in archive.events] == ["remote_write.delayed", "remote_write.recovered"]
    assert writing.sent == 5 + 500
    spans = [end - start for start, end in archive.asked]
    assert max(spans) <= MAX_SPAN_NS
    await writing.close()


async def test_the_servers_wish_to_wait_is_heard(server: tuple[Server, str]) -> None:
    served, url = server
    served.status, served.headers = 429, {"Retry-After": "60"}
    clock, archive = ManualClock(NOW_NS), Archive()
    writing = made(url, archive, clock)
    await writing.step()
    clock.advance(59.0)
    await writing.step()
    assert len(archive.asked) == 1
    clock.advance(2.0)
    await writing.step()
    assert len(archive.asked) == 2
    await writing.close()


async def test_what_the_server_refuses_is_counted_and_does_not_block(server: tuple[Server, str]) -> None:
    served, url = server
    served.status = 400
    clock, archive = ManualClock(NOW_NS), Archive()
    writing = made(url, archive, clock)
    await writing.step()
    assert (writing.refused, writing.sent) == (5, 0)
    assert "out of order" in str(archive.events[0].fields["reason"])
    assert writing.position_ns == NOW_NS - LAG_NS
    await writing.close()


async def test_a_server_that_is_not_there_is_trouble_not_an_error() -> None:
    clock, archive = ManualClock(NOW_NS), Archive()
    writing = made("http://127.0.0.1:9/api/v1/write", archive, clock)
    await writing.step()
    assert "127.0.0.1:9" in writing.trouble
    assert archive.saved == []
    await writing.close()


async def test_a_restart_goes_on_at_the_saved_position(server: tuple[Server, str]) -> None:
    _, url = server
    clock, archive = ManualClock(NOW_NS), Archive()
    before = NOW_NS - 200 * NS
    writing = made(url, archive, clock, unpacked(packed(before)))
    await writing.step()
    assert archive.asked[0][0] == before
    assert writing.sent == 197
    future = made(url, archive, clock, NOW_NS + 7200 * NS)  # saved before the clock was set back
    await future.step()
    assert future.position_ns == NOW_NS - LAG_NS
    await writing.close()
    await future.close()


async def test_a_token_is_sent(server: tuple[Server, str], tmp_path: object) -> None:
    from pathlib import Path

    path = Path(str(tmp_path)) / "token"
    path.write_text("secret-token\n")
    path.chmod(0o600)
    served, url = server
    writing = made(url, Archive(), ManualClock(NOW_NS), token_file=str(path))
    await writing.step()
    assert served.got[0][1] == "Bearer secret-token"
    await writing.close()


def test_positions() -> None:
    assert unpacked(None) == 0
    assert unpacked(b"xx") == 0
    assert position_name(RemoteWriteSettings(url="http://x/")).endswith("http://x/")
    with pytest.raises(ConfigError, match="300"):
        position_name(RemoteWriteSettings(url="http://" + "x" * 400))


async def test_what_the_url_keeps_secret_is_not_told() -> None:
    told: list[Event] = []
    settings = RemoteWriteSettings(url="http://user:pass@127.0.0.1:1/write?key=secret")
    writing = RemoteWrite(settings, "n1", Archive().read, lambda _: None, told.append, clock=ManualClock())
    try:
        await writing.step()
    finally:
        await writing.close()
    assert [event.event for event in told] == ["remote_write.delayed"]
    for text in (writing.trouble, str(told[0].fields)):
        assert "http://127.0.0.1:1/write" in text
        assert "pass" not in text
        assert "secret" not in text
