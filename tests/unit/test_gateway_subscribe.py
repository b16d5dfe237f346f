"""Feeds and readers: shared bytes, slow readers, server-sent events, WebSockets, service discovery."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import CPU, LINK, TOKEN, MemoryBackend, serving

from vagus.config import AccessRule
from vagus.errors import ConfigError, PeerUnreachable
from vagus.gateway.forms import positions_of, positions_text
from vagus.gateway.hub import Hub, Selection
from vagus.gateway.reader import Reader
from vagus.gateway.server import Gateway
from vagus.model import Event, Page, Sample

AUTH = {"Authorization": f"Bearer {TOKEN}"}


def cpu(t_ns: int, user: float = 0.5) -> Sample:
    return Sample(CPU, t_ns, (user, 2**60 + t_ns))


@pytest.fixture
async def site():
    return Gateway(MemoryBackend(), token=TOKEN).site


async def gathered(reader: Reader, items: int) -> bytes:
    """The bytes of so many items."""
    got, content = 0, b""
    while got < items:
        chunks, lost = reader.take()
        assert not lost
        content += b"".join(chunk.data for chunk in chunks)
        got += sum(chunk.items for chunk in chunks)
        if got < items:
            await asyncio.wait_for(reader.wait(), 10)
    return content


def reader_of(site: Any, form: str = "lines", nodes: tuple[str, ...] | None = ("a",), **more: Any) -> Reader:
    return Reader(site.hub, Selection("host.*", "", form), lambda node, name: True, nodes, **more)


async def test_many_readers_share_one_feed_and_its_bytes(site):
    readers = [reader_of(site) for _ in range(10)]
    assert len(site.hub) == 1
    site.backend.samples.put_nowait([cpu(t) for t in range(1, 4)])
    taken = []
    for reader in readers:
        while not (chunks := reader.take()[0]):
            await reader.wait()
        taken.append(chunks[0].data)
    assert all(data is taken[0] for data in taken)
    assert [json.loads(line)["t_ns"] for line in taken[0].splitlines()] == [1, 2, 3]
    for reader in readers:
        reader.close()
    assert len(site.hub) == 0


async def test_a_slow_reader_loses_its_own_oldest_items_and_holds_nobody_up(site, monkeypatch):
    monkeypatch.setattr("vagus.gateway.hub.MAX_CHUNKS", 3)
    monkeypatch.setattr("vagus.gateway.hub.PACE_S", 0.0)
    slow, quick = reader_of(site), reader_of(site)
    content = b""
    for t in range(1, 8):  # each a chunk of its own: the quick one takes it at once
        site.backend.samples.put_nowait([cpu(2 * t), cpu(2 * t + 1)])
        content += await gathered(quick, 2)
    assert [json.loads(line)["t_ns"] for line in content.splitlines()] == list(range(2, 16))
    chunks, lost = slow.take()
    assert lost == slow.lost == 8
    assert [json.loads(c.data.splitlines()[0])["t_ns"] for c in chunks] == [10, 12, 14]
    assert slow.take() == ([], 0)
    slow.close()
    quick.close()


async def test_a_reader_from_a_position_meets_the_feed_without_gap_or_duplicate(site):
    site.backend.samples.put_nowait([cpu(t) for t in range(1, 11)])
    early = reader_of(site, since_ns=1)
    late = reader_of(site, after={"a": "p4"})
    ahead = reader_of(site, after={"a": "p12"})  # as of a client that another gateway served
    first = await gathered(early, 10)
    site.backend.samples.put_nowait([cpu(t) for t in range(11, 15)])
    assert [json.loads(line)["t_ns"] for line in (first + await gathered(early, 4)).splitlines()] == list(range(1, 15))
    assert [json.loads(line)["t_ns"] for line in (await gathered(late, 10)).splitlines()] == list(range(5, 15))
    assert [json.loads(line)["id"] for line in (await gathered(ahead, 2)).splitlines()] == ["a=p13", "a=p14"]
    assert ahead.positions() == {"a": "p14"}
    for reader in (early, late, ahead):
        reader.close()


async def test_a_node_that_comes_later_is_joined_from_the_beginning_of_the_subscription(site, monkeypatch):
    monkeypatch.setattr("vagus.gateway.reader.HEARTBEAT_S", 0.01)
    site.backend.peers = ()
    reader = Reader(site.hub, Selection("*", "", "lines"), lambda node, name: True, None)
    site.backend.peers = ("b",)
    site.backend.published["b"].put_nowait([Sample(LINK, 5, (7,))])
    assert json.loads(await gathered(reader, 1))["node"] == "b"
    reader.close()


async def test_a_defect_is_counted_told_and_tried_again_and_a_wrong_question_ends(site, monkeypatch):
    monkeypatch.setattr("vagus.gateway.hub.RETRY_S", (0.0,))
    follow, failures = site.backend.follow, []

    async def broken(*args: Any) -> Page:
        if len(failures) < 3:
            failures.append(1)
            raise RuntimeError("boom")
        return await follow(*args)

    site.backend.follow = broken
    reader = reader_of(site)
    site.backend.samples.put_nowait([cpu(1)])
    notices = []
    while "back" not in str(notices):
        await asyncio.wait_for(reader.wait(), 10)
        notices += [chunk.notice for chunk in reader.take()[0]]
    assert notices[0]["missing"].error == "RuntimeError"
    assert (site.failures, "boom" in site.last_failure) == (3, True)
    reader.close()

    async def wrong(*args: Any) -> Page:
        raise ConfigError("no such thing")

    site.backend.follow = wrong
    for more in ({}, {"after": {"a": "p0"}}):
        reader = reader_of(site, **more)
        while reader.error is None:
            await asyncio.wait_for(reader.wait(), 10)
            reader.take()
        assert str(reader.error) == "no such thing"
        reader.close()


async def test_no_answer_from_a_node_is_told_once_to_each_reader(site, monkeypatch):
    monkeypatch.setattr("vagus.gateway.hub.RETRY_S", (0.0,))
    site.backend.peers = ("c",)
    first, asked = reader_of(site, nodes=("c",)), 0
    original = site.backend.ask

    async def ask(*args: Any) -> Any:
        nonlocal asked
        asked += 1
        return await original(*args)

    site.backend.ask = ask
    while asked < 5:
        await asyncio.sleep(0)
    second = reader_of(site, nodes=("c",), since_ns=1)
    for reader in (first, second):
        await asyncio.wait_for(reader.wait(), 10)
        (chunk,) = reader.take()[0]
        assert chunk.notice["missing"].node == "c"
        reader.close()


def test_positions_of_odd_node_names_come_back():
    positions = {"a": "x.1.2.3.4", "b,=%/ü ": "y.1.2@3.4"}
    assert positions_of(positions_text(positions)) == positions
    assert positions_of("") == {}
    for wrong in ("a", "a=", "=x", "a=b,c", ",".join(f"n{i}=p" for i in range(1001))):
        with pytest.raises(ConfigError, match="send back"):
            positions_of(wrong)


# --- server-sent events ----------------------------------------------------------------------------------------------


def events_of(served: Any, path: str, count: int, last: str = "") -> list[tuple[str, dict[str, Any]]]:
    """The first (id, data) as a browser's EventSource dispatches them."""
    host, _, port = served.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        more = f"Last-Event-ID: {last}\r\n" if last else ""
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n{more}\r\n"
        sock.sendall(head.encode())
        found: list[tuple[str, dict[str, Any]]] = []
        newest, data, kind = last, "", "message"
        for line in sock.makefile("r", newline="\n"):
            field, _, value = line.rstrip("\r\n").partition(": ")
            if field == "id":
                newest = value
            elif field == "data":
                data = value
            elif field == "event":
                kind = value
            elif not line.rstrip("\r\n"):
                if data and kind == "message":
                    found.append((newest, json.loads(data)))
                    if len(found) == count:
                        return found
                data, kind = "", "message"
    raise AssertionError("ended early")


@pytest.mark.parametrize("peers", [(), ("b",)])
def test_event_source_resumes_by_its_last_id(peers):
    with serving(MemoryBackend(peers)) as served:
        put = served.backend.samples.put_nowait
        served.loop.call_soon_threadsafe(put, [cpu(t) for t in range(1, 6)])
        if peers:
            served.loop.call_soon_threadsafe(served.backend.published["b"].put_nowait, [Sample(LINK, 9, (1,))])
        total = 5 + len(peers)
        first = events_of(served, "/v1/subscribe?since=5m", 3)
        rest = events_of(served, "/v1/subscribe?since=5m", total - 3, first[-1][0])
        seen = [(e["node"], e["t_ns"]) for _, e in first + rest]
        assert sorted(seen) == sorted([("a", t) for t in range(1, 6)] + [("b", 9)] * len(peers))
        if peers:
            assert set(positions_of(rest[-1][0])) == {"a", "b"}
        served.loop.call_soon_threadsafe(put, [cpu(6)])
        assert events_of(served, "/v1/subscribe", 1, rest[-1][0])[0][1]["t_ns"] == 6


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("selector=%7B", "query.selector"),
        ("since=soon", "query.since"),
        ("after=x", "query.after"),
        ("events=" + "x" * 501, "query.events"),
        ("nonsense=1", "query"),
    ],
)
def test_wrong_subscriptions_are_refused(query, where):
    with serving() as served:
        for path in ("/v1/tail", "/v1/subscribe"):
            status, _, answer = served.ask("GET", f"{path}?{query}")
            assert (status, answer["error"]["where"]) == (422, where)
        assert served.gateway.site.tails == 0


@pytest.mark.says("limit-subscriptions")
def test_too_many_subscriptions_are_refused(monkeypatch):
    monkeypatch.setattr("vagus.gateway.routes_subscribe.MAX_READERS", 0)
    with serving() as served:
        assert served.ask("GET", "/v1/tail")[0] == 429


@pytest.mark.says("answers-filtered", "roles-read")
def test_what_the_rules_refuse_is_left_out_and_named():
    backend = MemoryBackend(())
    rules = (AccessRule(who=("token:cluster",), read=("log.*",)),)
    with serving(backend, access=rules) as served:
        event = Event(1, "log.line", "a")
        served.loop.call_soon_threadsafe(backend.samples.put_nowait, [cpu(1), event])
        host, _, port = served.address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as sock:
            sock.sendall(
                f"GET /v1/tail?selector=*&events=* HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
            )
            lines = []
            for line in sock.makefile("rb"):
                if line.startswith(b"{"):
                    lines.append(json.loads(line))
                if b"log.line" in line:
                    break
        assert {"refused": {"node": "a", "name": "host.cpu"}} in lines
        assert [line["event"] for line in lines if "t_ns" in line] == ["log.line"]


# --- WebSocket -------------------------------------------------------------------------------------------------------


@pytest.fixture
async def gateway():
    gateway = Gateway(MemoryBackend(), token=TOKEN)
    await gateway.start()
    yield gateway
    await gateway.stop()


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as session:
        yield session


def ws_url(gateway: Gateway) -> str:
    return gateway.url.replace("http:", "ws:") + "/v1/ws"


async def told(ws: Any, op: str, number: int | None = None) -> dict[str, Any]:
    """The next message of that kind."""
    while True:
        message = await ws.receive(timeout=10)
        decode = msgspec.json.decode if message.type is aiohttp.WSMsgType.TEXT else msgspec.msgpack.decode
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
        answer = decode(message.data)
        if answer["op"] == op and (number is None or answer["id"] == number):
            return answer


async def test_several_subscriptions_on_one_socket_in_json_and_messagepack(gateway, session):
    async with session.ws_connect(ws_url(gateway), headers=AUTH) as ws:
        await ws.send_json({"op": "subscribe", "id": 1, "selector": "host.cpu.user", "node": "a"})
        await ws.send_bytes(msgspec.msgpack.encode({"op": "subscribe", "id": 2, "events": "log.*", "since": "5m"}))
        gateway.site.backend.samples.put_nowait([cpu(1, float("nan")), Event(2, "log.x", "a", fields={"n": 1})])
        found = {}
        while len(found) < 2:
            answer = await told(ws, "items")
            found[answer["id"]] = answer["items"]
        assert (found[1][0]["t_ns"], found[1][0]["values"], found[1][0]["id"]) == (1, {"user": None}, "a=p1")
        assert (found[2][0]["event"], found[2][0]["fields"], found[2][0]["id"]) == ("log.x", {"n": 1}, "a=p2")
        await ws.send_json({"op": "unsubscribe", "id": 1})
        await told(ws, "ended", 1)
        assert gateway.site.tails == 1
        await ws.send_json({"op": "subscribe", "id": 1, "selector": "host.*", "after": "a=p0"})  # the number is free
        assert (await told(ws, "items", 1))["items"][0]["t_ns"] == 1
    while gateway.site.tails or len(gateway.site.hub):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("no json", "invalid"),
        ("[]", "invalid"),
        ('{"op":"shout","id":1}', "invalid"),
        ('{"op":"subscribe"}', "invalid"),
        ('{"op":"subscribe","id":1,"selector":"{"}', "invalid"),
        ('{"op":"subscribe","id":1,"colour":"red"}', "invalid"),
        ('{"op":"subscribe","id":1,"node":"z"}', "no_data"),
        ('{"op":"unsubscribe","id":7}', "no_data"),
        (b"\xc1", "invalid"),
        (b"\xdd\xff\xff\xff\xff", "invalid"),
        ("[" * 10_000, "invalid"),
    ],
)
async def test_broken_messages_are_answered_and_the_socket_goes_on(gateway, session, sent, code):
    async with session.ws_connect(ws_url(gateway), headers=AUTH) as ws:
        await (ws.send_bytes(sent) if isinstance(sent, bytes) else ws.send_str(sent))
        assert (await told(ws, "error"))["error"]["code"] == code
        await ws.send_json({"op": "subscribe", "id": 1})
        await told(ws, "subscribed", 1)
        await ws.send_json({"op": "subscribe", "id": 1})
        assert "already" in (await told(ws, "error"))["error"]["message"]


@pytest.mark.says("limit-subscriptions")
async def test_limits_of_a_socket(gateway, session, monkeypatch):
    monkeypatch.setattr("vagus.gateway.websocket.MAX_SUBSCRIPTIONS", 1)
    async with session.ws_connect(ws_url(gateway), headers=AUTH) as ws:
        for number in (1, 2):
            await ws.send_json({"op": "subscribe", "id": number})
        assert (await told(ws, "error"))["error"]["code"] == "busy"
        for _ in range(19):
            await ws.send_str("nonsense")
        while (message := await ws.receive(timeout=10)).type is aiohttp.WSMsgType.TEXT:
            pass
        assert (message.type, ws.close_code) == (aiohttp.WSMsgType.CLOSE, 1008)
    async with session.ws_connect(ws_url(gateway), headers=AUTH) as ws:
        await ws.send_str("x" * 70_000)
        message = await ws.receive(timeout=10)
        assert ws.close_code == 1009


@pytest.mark.says("origin-check")
async def test_who_may_connect(gateway, session):
    url = ws_url(gateway)
    for headers, status in (
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 403),
        ({"Sec-WebSocket-Protocol": "vagus, bearer.wrong"}, 401),
        ({**AUTH, "Origin": "https://evil.example"}, 403),
        ({**AUTH, "Origin": "null"}, 403),
        ({**AUTH, "Host": "evil.example"}, 421),
    ):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(url, headers=headers)
        assert refused.value.status == status, headers
    async with session.get(url.replace("ws:", "http:"), headers=AUTH) as response:
        assert (response.status, response.headers["Upgrade"]) == (426, "websocket")
    for origin in ("http://localhost:3000", "http://127.0.0.1", "http://[::1]:80"):
        protocols = ("vagus", f"bearer.{TOKEN}")  # as a browser does
        async with session.ws_connect(url, protocols=protocols, headers={"Origin": origin}) as ws:
            assert ws.protocol == "vagus"  # the token is not sent back
            await ws.send_json({"op": "subscribe", "id": 0})
            await told(ws, "subscribed", 0)


async def test_the_end_of_the_gateway_is_going_away(gateway, session):
    async with session.ws_connect(ws_url(gateway), headers=AUTH) as ws:
        await ws.send_json({"op": "subscribe", "id": 1})
        await told(ws, "subscribed")
        await asyncio.gather(gateway.stop(), _until_closed(ws))
        assert ws.close_code == 1001


async def _until_closed(ws: Any) -> None:
    while (await ws.receive(timeout=10)).type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
        pass


async def test_a_reader_that_stands_still_is_let_go(gateway, monkeypatch):
    monkeypatch.setattr("vagus.gateway.routes_subscribe.STALL_S", 0.05)
    host, _, port = gateway.url.removeprefix("http://").rpartition(":")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, (host, int(port)))
    head = f"GET /v1/tail HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    await loop.sock_sendall(sock, head.encode())
    while not gateway.site.tails:
        await asyncio.sleep(0)
    t = 0
    while gateway.site.tails:  # never read
        gateway.site.backend.samples.put_nowait([cpu(t + n) for n in range(2000)])
        t += 2000
        await asyncio.sleep(0.01)
    sock.close()


# --- service discovery -----------------------------------------------------------------------------------------------


def test_service_discovery_keeps_those_that_do_not_answer():
    backend = MemoryBackend(("b",))
    with serving(backend) as served:
        status, headers, found = served.ask("GET", "/v1/sd")
        assert (status, headers["Content-Type"]) == (200, "application/json")
        (own,) = found
        assert own["targets"] == ["127.0.0.1"]
        assert own["labels"]["__meta_vagus_node"] == "a"
        assert own["labels"]["__metrics_path__"] == "/metrics"
        assert own["labels"]["__meta_vagus_answers"] == "true"

        async def away() -> Any:
            raise PeerUnreachable("the node hangs")

        backend.status = away
        backend.hang = False
        (own,) = served.ask("GET", "/v1/sd")[2]
        assert own["labels"]["__meta_vagus_answers"] == "false"
        assert served.ask("GET", "/v1/sd", token=None)[0] == 401


async def test_the_hub_counts_feeds_by_selection():
    site = Gateway(MemoryBackend(), token=TOKEN).site
    hub: Hub = site.hub
    one, other = reader_of(site), reader_of(site, "array")
    assert len(hub) == 2
    one.close()
    assert len(hub) == 1
    other.close()
    assert len(hub) == 0


async def test_all_rings_share_one_budget(site, monkeypatch):
    monkeypatch.setattr("vagus.gateway.hub.MAX_BYTES", 1500)
    readers = [Reader(site.hub, Selection(f'host.*{{x!="{n}"}}', "", "lines"), lambda *_: True, ("a",)) for n in "1234"]
    await asyncio.sleep(0.05)
    for t in range(1, 15):
        site.backend.samples.put_nowait([cpu(t)])
        await asyncio.sleep(0.025)
    assert all(reader.take()[1] for reader in readers)  # the oldest went, of each
    feeds = list(site.hub._feeds.values())
    assert len(feeds) == 4
    assert sum(feed._bytes for feed in feeds) <= 1500
    for reader in readers:
        reader.close()


async def test_anyone_may_ask_after_health_at_once_and_the_node_is_asked_once(monkeypatch):
    backend, go, asked = MemoryBackend(), asyncio.Event(), []
    status = backend.status

    async def slow() -> Any:
        asked.append(1)
        await go.wait()
        return await status()

    monkeypatch.setattr(backend, "status", slow)
    gateway = Gateway(backend, token=TOKEN)
    url = await gateway.start()
    try:
        async with aiohttp.ClientSession() as session:
            waiting = [asyncio.ensure_future(session.get(f"{url}/healthz")) for _ in range(10)]
            while not asked:
                await asyncio.sleep(0)
            waiting[0].cancel()  # one goes away
            await asyncio.sleep(0.05)
            go.set()
            answers = await asyncio.gather(*waiting[1:])
            assert [answer.status for answer in answers] == [200] * 9
    finally:
        await gateway.stop()
    assert asked == [1]


async def test_the_past_is_read_no_faster_than_it_is_sent(site):
    asked = 0
    ask, one = site.hub.ask, cpu(1)
    kept = sys.getrefcount(one)

    async def asking(node: str, about: Any) -> Page:
        nonlocal asked
        if about[3] or about[4]:  # alone, toward the feed
            asked += 1
            return Page(((f"{asked}.1", one), (f"{asked}.2", one)), f"{asked}.3", behind=True)
        return await ask(node, about)

    site.hub.ask = asking
    reader = reader_of(site, since_ns=1)
    while not (chunks := reader.take()[0]):
        await reader.wait()
    await asyncio.sleep(0.05)
    assert (asked, len(chunks), reader.take()[0]) == (1, 1, [])  # not sent yet: nothing more is fetched
    assert sys.getrefcount(one) == kept  # nor held, but as bytes
    waiting = asyncio.ensure_future(reader.wait())
    await waiting
    assert asked == 2
    reader.close()
