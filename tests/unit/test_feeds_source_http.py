"""The HTTP source against a real server on loopback that misbehaves in every way the source must survive."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import threading
import zlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from vagus.errors import ConfigError, PeerUnreachable
from vagus.feeds import Fetched, Net
from vagus.feeds.sources import http as source_http
from vagus.feeds.sources.gateway import GatewaySource
from vagus.feeds.sources.http import HttpSource, is_private, retry_after_s
from vagus.feeds.sources.http_plain import HttpPlainSource
from vagus.feeds.sources.names import Names

BODY = b"x" * 1000


class Far:
    """A server with a route for each misdeed; `requests` are those it saw."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.released = asyncio.Event()
        app = web.Application()
        app.router.add_get("/{what:.*}", self.answer)
        self.server = TestServer(app, host="0.0.0.0")

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server.port}/{path}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        what = request.match_info["what"]
        if what == "slow":
            await self.released.wait()
        if what == "trickle":  # headers at once, then a body that never ends
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"a little")
            await self.released.wait()
            return response
        if what == "endless":
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(10_000):
                await response.write(BODY)
            return response
        if what == "cut":
            response = web.StreamResponse(headers={"Content-Length": "5000"})
            await response.prepare(request)
            await response.write(BODY)
            assert request.transport is not None
            request.transport.close()
            return response
        if what == "etag":
            if request.headers.get("If-None-Match") == '"v1"':
                return web.Response(status=304, headers={"ETag": '"v1"'})
            return web.Response(body=BODY, headers={"ETag": '"v1"', "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"})
        if what == "busy":
            return web.Response(status=503, body=b"later", headers={"Retry-After": "120"})
        if what == "gzip":
            return web.Response(body=gzip.compress(BODY), headers={"Content-Encoding": "gzip"})
        if what == "bomb":
            return web.Response(body=zlib.compress(b"\0" * 50_000_000), headers={"Content-Encoding": "deflate"})
        if what == "halfzip":
            return web.Response(body=gzip.compress(BODY)[:-9], headers={"Content-Encoding": "gzip"})
        if what == "brotli":
            return web.Response(body=b"?", headers={"Content-Encoding": "br"})
        if what == "loop":
            raise web.HTTPFound("/loop")
        if what == "hop":
            raise web.HTTPFound("/ok")
        if what == "to":
            return web.Response(status=302, headers={"Location": request.query["url"]})
        if what.isdigit():
            return web.Response(status=int(what), body=b"why")
        return web.Response(body=BODY)


@pytest.fixture
async def far() -> AsyncIterator[Far]:
    far = Far()
    await far.server.start_server()
    yield far
    far.released.set()
    await far.server.close()


@pytest.fixture(params=[HttpSource, HttpPlainSource])
async def source(request: pytest.FixtureRequest) -> AsyncIterator[HttpSource]:
    source: HttpSource = request.param()
    yield source
    await source.close()


async def test_whole_body(far: Far, source: HttpSource) -> None:
    assert await source.fetch(far.url("ok"), 5.0, 1000) == Fetched(Net.OK, BODY)
    assert await source.fetch(far.url("204"), 5.0, 1000) == Fetched(Net.OK)


@pytest.mark.parametrize("path", ["slow", "trickle"])
async def test_slow_is_a_timeout(far: Far, source: HttpSource, path: str) -> None:
    fetched = await source.fetch(far.url(path), 0.05, 1000)
    assert (fetched.net, fetched.body) == (Net.TIMEOUT, b"")
    assert "0.05 s" in fetched.note


@pytest.mark.parametrize("path", ["ok", "endless", "bomb"])
@pytest.mark.says("limit-feed")
async def test_the_body_limit_holds_while_reading(far: Far, source: HttpSource, path: str) -> None:
    assert (await source.fetch(far.url(path), 5.0, 999)).net is Net.TOO_LARGE
    assert (await source.fetch(far.url("ok"), 5.0, 1000)).net is Net.OK


@pytest.mark.parametrize(("path", "note"), [("500", "HTTP 500"), ("404", "HTTP 404 Not Found"), ("300", "HTTP 300")])
async def test_error_status_keeps_the_answer(far: Far, source: HttpSource, path: str, note: str) -> None:
    fetched = await source.fetch(far.url(path), 5.0, 1000)
    assert (fetched.net, fetched.body) == (Net.STATUS, b"why")
    assert fetched.note.startswith(note)


async def test_not_modified(far: Far, source: HttpSource) -> None:
    assert (await source.fetch(far.url("etag"), 5.0, 1000)).net is Net.OK
    assert await source.fetch(far.url("etag"), 5.0, 1000) == Fetched(Net.NOT_MODIFIED)
    assert far.requests[1].headers["If-Modified-Since"] == "Wed, 21 Oct 2015 07:28:00 GMT"
    assert "If-None-Match" not in far.requests[0].headers


async def test_retry_after(far: Far, source: HttpSource) -> None:
    fetched = await source.fetch(far.url("busy"), 5.0, 1000)
    assert (fetched.net, fetched.retry_after_s) == (Net.STATUS, 120.0)


@pytest.mark.parametrize(
    ("text", "expected"), [("30", 30.0), ("", 0.0), ("soon", 0.0), ("-5", 0.0), ("²", 0.0), ("9" * 50, 9999999999.0)]
)
def test_retry_after_forms(text: str, expected: float) -> None:
    assert retry_after_s(text, 0.0) == expected


def test_retry_after_date() -> None:
    now = datetime(2024, 1, 1, tzinfo=timezone.utc)
    later = format_datetime(now + timedelta(seconds=90), usegmt=True)
    assert retry_after_s(later, now.timestamp()) == 90.0
    assert retry_after_s(later, now.timestamp() + 1000) == 0.0


async def test_gzip_that_was_not_asked_for(far: Far, source: HttpSource) -> None:
    assert await source.fetch(far.url("gzip"), 5.0, 1000) == Fetched(Net.OK, BODY)
    assert (await source.fetch(far.url("halfzip"), 5.0, 1000)).net is Net.FAILED
    assert "'br'" in (await source.fetch(far.url("brotli"), 5.0, 1000)).note


async def test_redirects_are_followed_to_a_limit(far: Far, source: HttpSource) -> None:
    assert await source.fetch(far.url("hop"), 5.0, 1000) == Fetched(Net.OK, BODY)
    assert (await source.fetch(far.url("loop"), 5.0, 1000)).note == "more than 5 redirects"
    assert "file is refused" in (await source.fetch(far.url("to?url=file:///etc/passwd"), 5.0, 1000)).note


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_redirect_from_outside_to_inside_is_refused(
    far: Far, source: HttpSource, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 127.0.0.9 plays the public internet
    monkeypatch.setattr(source_http, "is_private", lambda address: address != "127.0.0.9" and is_private(address))
    location = far.url("to?url=" + far.url("ok", host), host="127.0.0.9")
    fetched = await source.fetch(location, 5.0, 1000)
    assert fetched.net is Net.FAILED
    assert "refused" in fetched.note
    assert {request.path for request in far.requests} == {"/to"}
    assert (await source.fetch(far.url("to?url=" + far.url("ok", "127.0.0.9"), "127.0.0.9"), 5.0, 1000)).net is Net.OK
    trusting = type(source)(allow_private=True)
    assert (await trusting.fetch(location, 5.0, 1000)).net is Net.OK
    await trusting.close()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:10.0.0.1",
    ],
)
def test_private_addresses(address: str) -> None:
    assert is_private(address)
    assert not is_private("93.184.216.34")
    assert not is_private("2606:2800:220:1::1")


async def test_refused_and_failed(far: Far, source: HttpSource) -> None:
    assert (await source.fetch(f"http://127.0.0.1:{unused_port()}/", 5.0, 10)).net is Net.REFUSED
    assert (await source.fetch(far.url("cut"), 5.0, 10_000)).net is Net.FAILED
    for malformed in ("http://", "http://[::1", "http://a b/", "http://host:99999/", "http:///x", "http://\ud800/"):
        assert (await source.fetch(malformed, 5.0, 10)).net is Net.FAILED, malformed


async def test_something_that_is_not_http(source: HttpSource) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert (await source.fetch(f"http://127.0.0.1:{port}/", 5.0, 10)).net is Net.FAILED
    server.close()
    await server.wait_closed()


async def test_certificates_are_verified(source: HttpSource, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "self-signed.pem"
    encoding, no_password = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, no_password)
    pem.write_bytes(private + certificate.public_bytes(encoding))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = TestServer(web.Application(), scheme="https")
    await server.start_server(ssl=context)
    fetched = await source.fetch(f"https://localhost:{server.port}/", 5.0, 10)
    assert fetched.net is Net.FAILED
    assert "certificate" in fetched.note
    await server.close()


@pytest.mark.parametrize("kind", [HttpSource, HttpPlainSource])
async def test_headers_go_to_their_prefix_only(far: Far, kind: type[HttpSource]) -> None:
    other = Far()
    await other.server.start_server()
    source = kind(headers={far.url("ok"): {"Authorization": "Bearer secret"}})
    for location in (far.url("ok"), far.url("ok/more"), far.url("okay"), far.url("ok", "127.0.0.2")):
        await source.fetch(location, 5.0, 1000)
    assert ["Authorization" in r.headers for r in far.requests] == [True, True, False, False]
    await source.fetch(far.url("to?url=" + other.url("ok")), 5.0, 1000)
    assert "Authorization" not in other.requests[0].headers
    await source.close()
    await other.server.close()


@pytest.mark.parametrize("headers", [{"not a url": {}}, {"http://a/": {"X": "a\r\nY: b"}}, {"http://a/": {"X": 1}}])
def test_wrong_headers_are_refused(headers: dict[str, dict[str, str]]) -> None:
    with pytest.raises(ConfigError):
        HttpSource(headers=headers)


async def test_gateway_with_its_token(far: Far, tmp_path: Path) -> None:
    endpoint = tmp_path / "gateway.json"
    source = GatewaySource(endpoint_file=str(endpoint))
    assert (await source.fetch("gateway:/healthz", 0.1, 1000)).net is Net.REFUSED
    (tmp_path / "token").write_text("s3cret\n")
    endpoint.write_text(f'{{"url": "{far.url("")}", "token_file": "{tmp_path}/token", "pid": 1}}')
    assert await source.fetch("gateway:/healthz", 5.0, 1000) == Fetched(Net.OK, BODY)
    assert far.requests[0].path == "/healthz"
    assert far.requests[0].headers["Authorization"] == "Bearer s3cret"
    endpoint.write_text("[]")
    assert (await source.fetch("gateway:/healthz", 0.1, 1000)).net is Net.REFUSED
    await source.close()


async def test_a_gateway_that_moves_is_found_again(far: Far) -> None:
    known: list[tuple[str, str]] = []

    def find() -> tuple[str, str]:
        if not known:
            raise PeerUnreachable("no running vagus found: run `vagus up`")
        return known[-1]

    source = GatewaySource(find=find)
    missing = await source.fetch("gateway:/healthz", 0.1, 1000)
    assert missing.net is Net.REFUSED
    assert "run `vagus up`" in missing.note
    for token in ("first", "second"):
        known.append((far.url(""), token))
        assert (await source.fetch("gateway:/healthz", 5.0, 1000)).net is Net.OK
        assert far.requests[-1].headers["Authorization"] == f"Bearer {token}"
    await source.close()


async def test_a_compressed_body_of_several_members_is_whole_and_what_follows_it_is_not_read() -> None:
    """Bytes behind the end of a compressed body were kept as long as they came, beyond all limits."""
    members = gzip.compress(b"one ") + gzip.compress(b"") + gzip.compress(b"two")
    sent = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Encoding": "gzip"})
        await response.prepare(request)
        for end in range(len(members)):  # each byte by itself
            await response.write(members[end : end + 1])
        while request.path == "/endless":
            await response.write(b"x" * 65536)
            sent += 1
        return response

    app = web.Application()
    app.router.add_get("/{_:.*}", answer)
    async with TestServer(app) as server:
        source = HttpSource()
        for path in ("/", "/endless"):
            fetched = await source.fetch(str(server.make_url(path)), 10.0, 100)
            assert (fetched.net, fetched.body) == (Net.OK, b"one two"), fetched.note
        await source.close()
    assert sent < 1000


async def test_a_name_server_that_hangs_holds_up_no_other_threads() -> None:
    released = threading.Event()

    def hang(name: str) -> tuple[str, ...]:
        released.wait(30.0)
        raise OSError("no such name")

    source = HttpSource(names=Names(hang))
    try:
        fetches = [source.fetch(f"https://h{number}.test/", 0.05, 100) for number in range(40)]
        assert {fetched.net for fetched in await asyncio.gather(*fetches)} == {Net.TIMEOUT}
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "at once"), 10.0) == "at once"
    finally:
        released.set()
        await source.close()
