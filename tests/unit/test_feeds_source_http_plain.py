"""The plain client byte by byte: raw servers that misbehave, and aiohttp's source beside it on the same bytes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp.test_utils import unused_port

from vagus.feeds import Fetched, Net
from vagus.feeds.sources import http_pool
from vagus.feeds.sources.http import HttpSource
from vagus.feeds.sources.http_plain import HttpPlainSource
from vagus.feeds.sources.http_wire import Answer
from vagus.feeds.sources.names import Names

HI = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
Talk = Callable[["Far", int, bytes, asyncio.StreamWriter], Awaitable[bool]]


class Far:
    """A server of bytes. `talk(far, connection's number, request, writer)` answers; what it returns: read on or close."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.connections = 0
        self.requests: list[bytes] = []
        self.open = 0
        self.changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str = "127.0.0.1") -> int:
        self._server = await asyncio.start_server(self._serve, host, 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        number = self.connections
        try:
            await self._note(1)
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    request = await reader.readuntil(b"\r\n\r\n")
                    self.requests.append(request)
                    if not await self.talk(self, number, request, writer):
                        break
                    await writer.drain()
            writer.close()
            await self._note(-1)
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _note(self, opened: int) -> None:
        async with self.changed:
            self.open += opened
            self.changed.notify_all()

    async def until_open(self, count: int) -> None:
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(lambda: self.open == count), 5.0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


def saying(*parts: bytes, keep: bool = False) -> Talk:
    async def talk(far: Far, connection: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        return keep

    return talk


def repeating(head: bytes, part: bytes) -> Talk:
    async def talk(far: Far, connection: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(head)
        for _ in range(100_000):
            writer.write(part)
            await writer.drain()
        return False

    return talk


@contextlib.asynccontextmanager
async def serving(talk: Talk, host: str = "127.0.0.1") -> AsyncIterator[tuple[Far, str]]:
    far = Far(talk)
    port = await far.start(host)
    try:
        yield far, f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
    finally:
        await far.stop()


@contextlib.asynccontextmanager
async def plain(**options: object) -> AsyncIterator[HttpPlainSource]:
    source = HttpPlainSource(**options)  # type: ignore[arg-type]
    try:
        yield source
    finally:
        await source.close()


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
CASES: dict[str, tuple[Talk, Fetched | Net]] = {
    "length": (saying(HI, keep=True), Fetched(Net.OK, b"hi")),
    "byte by byte": (saying(*(bytes([b]) for b in HI)), Fetched(Net.OK, b"hi")),
    "empty": (saying(OK + b"Content-Length: 0\r\n\r\n"), Fetched(Net.OK)),
    "no content": (saying(b"HTTP/1.1 204 No Content\r\n\r\n", keep=True), Fetched(Net.OK)),
    "not modified with a length": (
        saying(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", keep=True),
        Fetched(Net.NOT_MODIFIED),
    ),
    "until closed": (saying(OK + b"\r\nsome", b" more"), Fetched(Net.OK, b"some more")),
    "old and until closed": (saying(b"HTTP/1.0 200 OK\r\n\r\nsome"), Fetched(Net.OK, b"some")),
    "chunked": (saying(CHUNKED + b"3\r\nabc\r\n", b"2;x=y\r\nde\r\n0\r\n\r\n"), Fetched(Net.OK, b"abcde")),
    "chunked with trailers": (saying(CHUNKED + b"2\r\nhi\r\n0\r\nETag: x\r\n\r\n"), Fetched(Net.OK, b"hi")),
    "continue first": (saying(b"HTTP/1.1 100 Continue\r\n\r\n", HI), Fetched(Net.OK, b"hi")),
    "identity": (saying(OK + b"Content-Encoding: identity\r\nContent-Length: 2\r\n\r\nhi"), Fetched(Net.OK, b"hi")),
    "no reason": (saying(b"HTTP/1.1 500 \r\nContent-Length: 1\r\n\r\nx"), Fetched(Net.STATUS, b"x", "HTTP 500")),
    "error without end": (repeating(b"HTTP/1.1 500 Oh\r\n\r\n", b"x" * 1000), Fetched(Net.STATUS, b"", "HTTP 500 Oh")),
    "chunk cut": (saying(CHUNKED + b"5\r\nab"), Net.FAILED),
    "chunk size is none": (saying(CHUNKED + b"zz\r\nab\r\n"), Net.FAILED),
    "chunked without end": (repeating(CHUNKED, b"1\r\nx\r\n" * 100), Net.TOO_LARGE),
    "until closed without end": (repeating(OK + b"\r\n", b"x" * 1000), Net.TOO_LARGE),
    "more length than bytes": (saying(OK + b"Content-Length: 9\r\n\r\nhi"), Net.FAILED),
    "length above the limit": (saying(OK + b"Content-Length: 9999999999\r\n\r\nhi", keep=True), Net.TOO_LARGE),
    "negative length": (saying(OK + b"Content-Length: -1\r\n\r\nhi"), Net.FAILED),
    "two lengths": (saying(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nhi"), Net.FAILED),
    "length and chunked": (
        saying(OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
        Net.FAILED,
    ),
    "header without end": (repeating(OK + b"A: ", b"x" * 1000), Net.FAILED),
    "garbage": (saying(b"\x16\x03\x01garbage\r\n\r\n"), Net.FAILED),
    "mail": (saying(b"220 mail.example ESMTP\r\n"), Net.FAILED),
    "nothing": (saying(), Net.FAILED),
    "half a head": (saying(OK + b"Content-Le"), Net.FAILED),
}


@pytest.mark.parametrize("kind", [HttpSource, HttpPlainSource])
@pytest.mark.parametrize("case", CASES)
async def test_what_servers_do(case: str, kind: type[HttpSource]) -> None:
    talk, expected = CASES[case]
    source = kind()
    async with serving(talk) as (_, url):
        fetched = await source.fetch(url, 5.0, 1000)
        await source.close()
    if isinstance(expected, Fetched):
        assert fetched == expected
    else:
        assert (fetched.net, fetched.body) == (expected, b"")
        assert fetched.note
        assert fetched.note.isprintable()


@pytest.mark.parametrize(
    "talk",
    [
        repeating(OK, b"A: b\r\n" * 100),
        repeating(CHUNKED + b"0\r\n", b"A: b\r\n" * 100),  # trailers
        repeating(CHUNKED + b"1;", b"x" * 1000),  # a chunk's extension
        repeating(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        repeating(b"HTTP/1.1 200 ", b"x" * 1000),
    ],
)
async def test_headers_without_end(talk: Talk) -> None:
    async with serving(talk) as (_, url), plain() as source:
        fetched = await source.fetch(url, 5.0, 1 << 20)
        assert fetched.net is Net.FAILED
        assert "bytes of headers" in fetched.note or "malformed" in fetched.note


async def test_connections_are_kept_and_used_again() -> None:
    async with serving(saying(HI, keep=True)) as (far, url), plain() as source:
        for _ in range(5):
            assert await source.fetch(url, 5.0, 10) == Fetched(Net.OK, b"hi")
        assert far.connections == 1
        await asyncio.gather(*(source.fetch(url, 5.0, 10) for _ in range(12)))
        await far.until_open(http_pool.MAX_IDLE_PER_PLACE)
    await far.until_open(0)


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        HI + b"!",  # more than it said
        HI + HI,
    ],
)
async def test_a_connection_that_cannot_be_trusted_is_not_used_again(answer: bytes) -> None:
    async with serving(saying(answer, keep=True)) as (far, url), plain() as source:
        for _ in range(2):
            assert await source.fetch(url, 5.0, 10) == Fetched(Net.OK, b"hi")
        assert far.connections == 2


async def test_bytes_between_two_requests_are_not_the_next_answer() -> None:
    async def talk(far: Far, connection: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(HI)
        await writer.drain()
        await asyncio.wait_for(released.wait(), 5.0)
        if connection == 1:
            writer.write(OK + b"Content-Length: 4\r\n\r\nevil")
        return True

    released = asyncio.Event()
    async with serving(talk) as (far, url), plain() as source:
        assert await source.fetch(url, 5.0, 10) == Fetched(Net.OK, b"hi")
        released.set()
        await far.until_open(0)  # closed by us
        assert await source.fetch(url, 5.0, 10) == Fetched(Net.OK, b"hi")


async def test_a_kept_connection_that_the_server_closed_is_replaced_once() -> None:
    async def talk(far: Far, connection: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        if len(far.requests) == 2:
            return False  # closed as the second request arrived
        writer.write(HI)
        return True

    async with serving(talk) as (far, url), plain() as source:
        for _ in range(2):
            assert await source.fetch(url, 5.0, 10) == Fetched(Net.OK, b"hi")
        assert (far.connections, len(far.requests)) == (2, 3)


async def test_no_second_try_once_anything_of_the_answer_came() -> None:
    async def talk(far: Far, connection: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(HI if len(far.requests) == 1 else b"HTTP/1.1 2")
        return len(far.requests) == 1

    async with serving(talk) as (far, url), plain() as source:
        assert (await source.fetch(url, 5.0, 10)).net is Net.OK
        assert (await source.fetch(url, 5.0, 10)).net is Net.FAILED
        assert len(far.requests) == 2


async def test_no_third_try() -> None:
    async def talk(far: Far, connection: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        if len(far.requests) == 1:
            writer.write(HI)
        return len(far.requests) == 1

    async with serving(talk) as (far, url), plain() as source:
        assert (await source.fetch(url, 5.0, 10)).net is Net.OK
        fetched = await source.fetch(url, 5.0, 10)
        assert (fetched.net, len(far.requests)) == (Net.FAILED, 3)
        assert "closed the connection" in fetched.note


async def test_deadlines_of_different_length_and_a_cancelled_fetch() -> None:
    async with serving(saying(b"HTTP/1.1 ", keep=True)) as (far, url), plain() as source:
        times = (0.2, 0.05, 0.1, 0.05)
        fetched = await asyncio.gather(*(source.fetch(url, timeout_s, 10) for timeout_s in times))
        assert [f.net for f in fetched] == [Net.TIMEOUT] * 4
        assert [f.note for f in fetched] == [f"no whole answer within {timeout_s:g} s" for timeout_s in times]
        await far.until_open(0)
        task = asyncio.ensure_future(source.fetch(url, 60.0, 10))
        await far.until_open(1)
        task.cancel()
        await far.until_open(0)
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_callbacks_come_once_and_never_within_begin() -> None:
    async with serving(saying(HI, keep=True)) as (_, url), plain() as source:
        told: list[Fetched] = []
        came = asyncio.Event()

        def done(fetched: Fetched) -> None:
            told.append(fetched)
            if len(told) == 3:
                came.set()

        for location in (url, "http://[::1", f"http://127.0.0.1:{unused_port()}/"):
            source.begin(location, 5.0, 10, done)
            assert told == []
        await asyncio.wait_for(came.wait(), 5.0)
        assert sorted(f.net.value for f in told) == ["failed", "ok", "refused"]
        source.begin(url, 5.0, 10, done)
    assert len(told) == 3  # closed: nobody is told


async def test_the_request() -> None:
    async with (
        serving(saying(HI, keep=True)) as (far, url),
        plain(headers={url: {"accept": "text/x", "X": "ü"}}) as source,
    ):
        await source.fetch(url + "a b?q=ü&x=1#part", 5.0, 10)
        host = url.removeprefix("http://").rstrip("/").encode()
        lines = far.requests[0].split(b"\r\n")
        assert lines[0] == b"GET /a%20b?q=%C3%BC&x=1 HTTP/1.1"
        assert set(lines[1:-2]) == {
            b"Host: " + host,
            b"User-Agent: vagus",
            b"Accept-Encoding: identity",
            b"accept: text/x",
            "X: ü".encode(),
        }
        await source.fetch(url.replace("http://", "http://joe:secret@"), 5.0, 10)
        assert b"Authorization: Basic" in far.requests[1]


async def test_validators_are_dropped_with_the_answer_that_has_none() -> None:
    async def talk(far: Far, connection: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        tag = b'ETag: "1"\r\nLast-Modified: yesterday\r\n' if len(far.requests) == 1 else b""
        writer.write(OK + tag + b"Content-Length: 2\r\n\r\nhi")
        return True

    async with serving(talk) as (far, url), plain() as source:
        for _ in range(3):
            assert (await source.fetch(url, 5.0, 10)).net is Net.OK
        assert [b'If-None-Match: "1"\r\nIf-Modified-Since: yesterday' in r for r in far.requests] == [
            False,
            True,
            False,
        ]


async def test_ipv6_addresses() -> None:
    try:
        async with serving(saying(HI, keep=True), "::1") as (far, url), plain() as source:
            assert await source.fetch(url, 5.0, 10) == Fetched(Net.OK, b"hi")
            assert b"Host: [::1]:" in far.requests[0]
    except OSError as error:
        pytest.skip(f"no IPv6 on loopback: {error}")


async def test_names_are_asked_once_tried_in_order_and_never_block() -> None:
    asked: list[str] = []
    release = threading.Event()

    def lookup(name: str) -> tuple[str, ...]:
        asked.append(name)
        if name == "hung.example":
            release.wait(10.0)
        if name == "none.example":
            raise OSError(-2, "Name or service not known")
        return ("127.0.0.77", "127.0.0.1")  # nobody listens at the first

    async with serving(saying(HI, keep=True)) as (_, url), plain(names=Names(lookup)) as source:
        port = url.rsplit(":", 1)[1]
        hung = asyncio.ensure_future(source.fetch(f"http://hung.example:{port}", 0.2, 10))
        fetches = (source.fetch(f"http://two.example:{port}", 5.0, 10) for _ in range(3))
        assert await asyncio.gather(*fetches) == [Fetched(Net.OK, b"hi")] * 3
        assert (await hung).net is Net.TIMEOUT
        release.set()
        fetched = await source.fetch("http://none.example/", 5.0, 10)
        assert (fetched.net, "not known" in fetched.note) == (Net.FAILED, True)
        assert sorted(asked) == ["hung.example", "none.example", "two.example"]


async def test_idle_connections_are_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_pool, "KEEP_ALIVE_S", 0.02)
    async with serving(saying(HI, keep=True)) as (far, url), plain() as source:
        assert (await source.fetch(url, 5.0, 10)).net is Net.OK
        await far.until_open(0)
        assert (await source.fetch(url, 5.0, 10)).net is Net.OK
        assert far.connections == 2


def test_a_body_in_tiny_parts_costs_about_its_length() -> None:
    answer = Answer()
    parts = [bytes([number % 256]) * (number % 3) for number in range(3000)] + [b"x" * 1000, b"y", b"z"]
    for part in parts:
        answer.add(part)
    assert len(answer.parts) == 4
    assert answer.body == b"".join(parts)
    whole = Answer()
    whole.add(b"all of it")
    assert (whole.body, Answer().body) == (b"all of it", b"")
