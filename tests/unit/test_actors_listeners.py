"""The collector's ports and its socket, with real senders: lines by UDP and TCP, Fluent's own logger, `vagus.event`."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest

from vagus.access import Principal
from vagus.actors import listen_streams
from vagus.actors.base import Seat
from vagus.actors.collector import CollectorActor
from vagus.config import AccessRule, CollectSettings, Config, GatewaySettings, InputSettings, socket_path
from vagus.errors import ConfigError, PeerUnreachable, StoreError
from vagus.inputs import forward
from vagus.model import MAX_T_NS, Ack, Event, Level
from vagus.store import Store

LINE = "DATE=20020329210355.443568 HOST=10.1.1.10 PROG=nliperf NL.EVNT={} ID=2746"


class Alone:
    """Links of a node that has no other actors."""

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        if method == "report":
            return [Ack.ACCEPTED] * len(args[0])
        raise PeerUnreachable(f"{actor} is away")

    def nodes(self) -> tuple[str, ...]:
        return ("n1",)


Sit = Callable[..., Any]


@pytest.fixture
def sit(tmp_path: Path) -> Sit:
    @asynccontextmanager
    async def sitting(access: tuple[AccessRule, ...] = (), **inputs: Any) -> AsyncIterator[CollectorActor]:
        config = Config(
            gateway=GatewaySettings(port=0),
            collect=CollectSettings(period_s=60.0, collectors=()),
            inputs=InputSettings(**{"ulm_port": 0, "forward_port": 0, **inputs}),
            access=access,
        )
        actor = CollectorActor(Seat("collector", "n1", str(tmp_path), config, options={"token": "t" * 32}), Alone())
        await actor.begin()
        try:
            yield actor
        finally:
            await actor.end()

    return sitting


async def until(check: Callable[[], object], timeout_s: float = 10.0) -> None:
    async def poll() -> None:
        while not check():
            await asyncio.sleep(0.005)

    await asyncio.wait_for(poll(), timeout_s)


async def stored(actor: CollectorActor, count: int) -> list[Event]:
    await until(lambda: actor.figures()["inputs_accepted"] >= count)
    found = await actor.records("event", 0, MAX_T_NS, 100_000)
    return [event for event in found if event.event != "input.refused"]


def port(actor: CollectorActor, name: str) -> int:
    return actor._listeners.ports[name]


def bad(actor: CollectorActor) -> dict[tuple[str, str], int]:
    return dict(actor._intake.bad.counts)


async def connect(actor: CollectorActor, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port(actor, name))


async def end(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@contextlib.contextmanager
def udp(actor: CollectorActor) -> Any:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port(actor, "ulm")))
        yield sock


# --- lines -----------------------------------------------------------------------------------------------------------


@pytest.mark.says("open-listeners")
async def test_lines_by_udp_and_tcp_are_events(sit):
    async with sit() as actor:
        with udp(actor) as sock:
            sock.send(LINE.format("One").encode())
            sock.send(f"{LINE.format('Two')}\r\n{LINE.format('Three')}\n".encode())
        _, writer = await connect(actor, "ulm")
        writer.write(f"{LINE.format('Four')}\n{LINE.format('Five')}".encode())
        await writer.drain()
        writer.write(b"7 ok\n" + LINE.format("Six").encode())
        await end(writer)
        events = await stored(actor, 5)
        assert {event.event for event in events} == {"One", "Two", "Three", "Four", "Six"}
        assert {(e.node, e.source, e.fields["host"]) for e in events} == {("n1", "nliperf", "10.1.1.10")}
        assert bad(actor) == {("ulm", "malformed"): 1}
        assert any("ulm on port" in note for note in actor.notes())


@pytest.mark.says("limit-line")
async def test_what_is_bad_is_counted_and_told_once_and_costs_nothing_else(sit, monkeypatch):
    async with sit() as actor:
        _, writer = await connect(actor, "ulm")
        writer.write(b"nonsense\n" * 50 + b"x" * 100_000 + b"\n" + LINE.format("Good").encode() + b"\n")
        writer.write(LINE.format("actor.died").encode() + b"\n")
        await writer.drain()
        assert [event.event for event in await stored(actor, 1)] == ["Good"]
        await until(lambda: ("ulm", "refused") in bad(actor))
        assert bad(actor) == {("ulm", "malformed"): 50, ("ulm", "oversize"): 1, ("ulm", "refused"): 1}
        await actor._intake.tell()
        await actor._intake.tell()
        told = [e for e in await actor.records("event", 0, MAX_T_NS, 99) if e.event == "input.refused"]
        assert {(e.fields["reason"], e.fields["times"]) for e in told} == {
            ("malformed", 50),
            ("oversize", 1),
            ("refused", 1),
        }
        assert {e.level for e in told} == {Level.WARNING}
        await end(writer)


@pytest.mark.says("limit-line")
async def test_connections_are_bounded(sit):
    async with sit(max_connections=1) as actor:
        _, first = await connect(actor, "ulm")
        first.write(LINE.format("One").encode() + b"\n")
        await stored(actor, 1)
        reader, second = await connect(actor, "ulm")
        assert await reader.read() == b""
        assert bad(actor) == {("ulm", "connections"): 1}
        await end(first)
        await end(second)


async def test_a_store_that_is_behind_stops_the_reading_and_loses_no_line(sit, monkeypatch):
    monkeypatch.setattr(listen_streams, "RETRY_S", 0.01)
    async with sit() as actor:
        put, held = actor._sensing.put, asyncio.Event()

        async def behind(samples: Any, events: Any, spans: Any) -> None:
            if not held.is_set():
                raise PeerUnreachable("a dead mount")
            await put(samples, events, spans)

        monkeypatch.setattr(actor._sensing, "put", behind)
        _, writer = await connect(actor, "ulm")
        pad = "x" * 1000  # 12 MB in all: more than the kernel keeps
        lines = b"".join(f"{LINE.format(f'e{i}')} PAD={pad}\n".encode() for i in range(12_000))
        writer.write(lines)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(writer.drain(), 0.2)  # nobody reads any more
        assert actor.figures()["inputs_accepted"] == 0
        held.set()
        await writer.drain()
        await end(writer)
        await until(lambda: actor.figures()["inputs_accepted"] == 12_000, 30.0)
        assert bad(actor) == {}


async def test_datagrams_the_kernel_dropped_are_counted(sit):
    async with sit() as actor:
        (datagrams,) = [d for d in actor._listeners._datagrams if d._name == "ulm"]
        datagrams._pause()
        datagrams.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        with udp(actor) as sock:
            for i in range(50):
                sock.send(LINE.format(f"e{i}").encode())
            datagrams.start()
            await until(lambda: actor.figures()["inputs_accepted"] > 0)
            before = actor.figures()["inputs_accepted"]
            sock.send(LINE.format("last").encode())  # what was dropped is said with the next that comes
            await until(lambda: actor.figures()["inputs_accepted"] > before)
        assert bad(actor)["ulm", "lost"] + actor.figures()["inputs_accepted"] == 51


async def test_a_taken_port_is_an_error_that_names_the_setting(sit):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for setting in ("ulm_port", "forward_port"):
            with pytest.raises(ConfigError, match=rf"inputs\.{setting}"):
                async with sit(**{setting: taken.getsockname()[1]}):
                    pass


@pytest.mark.says("rules-everywhere")
async def test_rules_of_access_hold_for_listeners(sit):
    rule = AccessRule(who=("listener:ulm",), send=("Good*",))
    async with sit(access=(rule,)) as actor:
        with udp(actor) as sock:
            for name in ("Bad", "Good.one", "Bad"):
                sock.send(LINE.format(name).encode())
        events = await stored(actor, 1)
        assert [event.event for event in events] == ["Good.one"]
        await until(lambda: bad(actor) == {("ulm", "refused"): 2})
        await actor._intake.tell()
        found = await actor.records("event", 0, MAX_T_NS, 99)
        (told,) = [event for event in found if event.event == "access.refused"]
        assert (told.fields["who"], told.fields["what"]) == ("listener:ulm", "Bad")


# --- forward ---------------------------------------------------------------------------------------------------------


async def test_fluents_own_logger(sit):
    from fluent.sender import FluentSender

    async with sit() as actor:

        def send() -> None:
            sender = FluentSender("app", "127.0.0.1", port(actor, "forward"), nanosecond_precision=True)
            for i in range(3):
                assert sender.emit("login", {"user": "ann", "n": i, "nested": {"ok": True}})
            sender.close()

        await asyncio.to_thread(send)
        events = await stored(actor, 3)
        assert {e.event for e in events} == {"app.login"}
        assert sorted(e.fields["n"] for e in events) == [0, 1, 2]
        assert events[0].fields["nested.ok"] is True


def entries(count: int) -> bytes:
    stamp = msgpack.ExtType(0, struct.pack(">II", 1_600_000_000, 1))
    return b"".join(msgpack.packb([stamp, {"i": i}]) for i in range(count))


async def test_an_acknowledged_chunk_is_committed(sit, tmp_path):
    async with sit() as actor:
        reader, writer = await connect(actor, "forward")
        writer.write(msgpack.packb(["t", entries(1200), {"chunk": "abc", "size": 1200}]))
        assert msgpack.unpackb(await reader.readexactly(len(forward.ack("abc")))) == {"ack": "abc"}
        with Store.open(tmp_path / "nodes" / "n1" / "store" / "collector", readonly=True) as other:
            assert other.count("event") == 1200
        await end(writer)


async def test_what_is_not_stored_is_not_acknowledged(sit, monkeypatch):
    async with sit() as actor:

        async def full(samples: Any, events: Any, spans: Any) -> None:
            raise StoreError("the disk is full")

        monkeypatch.setattr(actor._sensing, "put", full)
        reader, writer = await connect(actor, "forward")
        writer.write(msgpack.packb(["t", entries(3), {"chunk": "abc"}]))
        assert await reader.read() == b""  # the sender keeps the chunk, and sends it again elsewhere or later
        assert bad(actor) == {("forward", "not stored"): 1}
        await end(writer)
        monkeypatch.undo()


@pytest.mark.parametrize("body", [b"\xc1", b"\x93\xa1t\x01", msgpack.packb(["t", b"\xc1", {"chunk": "c"}])])
async def test_a_connection_that_makes_no_sense_is_closed(sit, body):
    async with sit() as actor:
        reader, writer = await connect(actor, "forward")
        writer.write(body)
        writer.write_eof()
        assert await reader.read() == b""
        assert actor.figures()["inputs_accepted"] == 0
        await end(writer)


@pytest.mark.says("limit-forward")
async def test_a_message_beyond_the_limit_is_refused(sit, monkeypatch):
    monkeypatch.setattr(forward, "MAX_MESSAGE_BYTES", 200_000)
    async with sit() as actor:
        reader, writer = await connect(actor, "forward")
        writer.write(b"\x92\xa1t\xc6" + struct.pack(">I", 1 << 30) + b"x" * 300_000)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        await until(lambda: bad(actor) == {("forward", "malformed"): 1})
        await end(writer)


@pytest.mark.says("forward-closed")
async def test_the_shared_key(sit, tmp_path):
    key = tmp_path / "key"
    key.write_text("secret\n")
    key.chmod(0o600)
    async with sit(forward_key_file=str(key)) as actor:
        for word, known in ((b"secret", True), (b"wrong", False)):
            reader, writer = await connect(actor, "forward")
            unpacker = msgpack.Unpacker()
            unpacker.feed(await reader.read(1000))
            _, options = unpacker.unpack()
            digest = hashlib.sha512(b"salt" + b"me" + options["nonce"] + word).hexdigest()
            ping = msgpack.packb(["PING", "me", "salt", digest, "", ""])
            writer.write(ping + msgpack.packb(["t", entries(1), {"chunk": "c"}]))
            answer = msgpack.Unpacker()
            answer.feed(await reader.read(1000))
            assert answer.unpack()[1] is known
            if known:
                await stored(actor, 1)
            else:
                assert await reader.read() == b""
            await end(writer)
        assert bad(actor) == {("forward", "shared key"): 1}
        assert actor.figures()["inputs_accepted"] == 1


# --- programs of this machine ----------------------------------------------------------------------------------------


@pytest.mark.says("unix-sockets", "principals")
async def test_programs_are_known_by_their_uid(sit, tmp_path, monkeypatch):
    from vagus.client.emit import action
    from vagus.client.emitter import Emitter
    from vagus.client.endpoint import Endpoint
    from vagus.client.transport import Parcels

    async with sit(ulm_port=None, forward_port=None) as actor:
        assert socket_path(tmp_path, "n1", "ingest").stat().st_mode & 0o777 == 0o600
        seen = []
        take = actor._intake.take

        async def taking(who: Principal, samples: Any, events: Any) -> Any:
            seen.append(who)
            return await take(who, samples, events)

        monkeypatch.setattr(actor._intake, "take", taking)
        parcels = Parcels(lambda: Endpoint("http://127.0.0.1:9", "t", "n1", tmp_path))
        emitter = Emitter(parcels.send)
        with pytest.raises(ZeroDivisionError), action("app.divide", emitter=emitter, by=0):
            raise ZeroDivisionError("no")
        emitter.put((1_700_000_000_000_000_000, "app.queue", None, {"depth": 3}, {"queue": "a"}))
        emitter.put((1_700_000_000_000_000_000, "host.cpu", None, {"user": 1.0}, None))
        counter = emitter.counter("app.requests", "", {"method": "GET"})
        counter.add(5)
        assert await asyncio.to_thread(emitter.flush, 5.0)
        end, start = await stored(actor, 4)
        assert (start.event, start.fields["by"]) == ("app.divide.start", 0)
        assert (end.event, end.level, end.fields["status"]) == ("app.divide.end", Level.ERROR, -1)
        assert end.fields["guid"] == start.fields["guid"]
        (queue,) = await actor.query("app.queue", 0, MAX_T_NS, 0)
        assert (queue.stream.labels, queue.column("depth").tolist()) == ({"queue": "a"}, [3.0])
        (requests,) = await actor.query("app.requests", 0, MAX_T_NS, 0)
        assert (requests.stream.fields[0].counter, requests.column("total").tolist()[-1]) == (True, 5)
        assert set(seen) == {Principal("uid", str(os.geteuid()))}
        assert bad(actor) == {("ingest", "refused"): 1}
        emitter.close()
        parcels.close()
    assert not socket_path(tmp_path, "n1", "ingest").exists()


@pytest.mark.says("limit-parcel")
async def test_parcels_that_are_none_are_counted(sit, tmp_path):
    async with sit(ulm_port=None, forward_port=None) as actor:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect(str(socket_path(tmp_path, "n1", "ingest")))
            for data in (b"", b"junk", msgpack.packb({"samples": [{"kind": "x"}]}), b"x" * 70_000):
                sock.send(data)
            sock.send(msgpack.packb({"events": [{"event": "good", "fields": {"a": 1}}]}))
        assert [event.event for event in await stored(actor, 1)] == ["good"]
        assert bad(actor) == {("ingest", "malformed"): 3, ("ingest", "oversize"): 1}
