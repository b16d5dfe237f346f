"""What programs, peers and devices may send, clumsily or on purpose: it costs them, and nobody else."""

from __future__ import annotations

import asyncio
import gzip
import math
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from vagus.access import Access, Principal
from vagus.actors import derived, intake, listen_datagrams, listen_streams, listeners, sensing
from vagus.actors.base import Seat
from vagus.actors.collector import CollectorActor
from vagus.clock import NS
from vagus.collectors.run import Runner
from vagus.config import AccessRule, CollectSettings, Config, GatewaySettings, InputSettings
from vagus.errors import CollectError, ConfigError, PeerUnreachable
from vagus.health.rules import judge_node
from vagus.inputs import forward
from vagus.inputs.admission import Admission
from vagus.model import MAX_T_NS, Ack, Event, Field, Report, Sample, Status, Stream
from vagus.store.batch import Batch

UID = Principal("uid", "1000")
Sit = Callable[..., Any]


class Alone:
    """Links of a node that has no other actors but an observer that takes reports."""

    def __init__(self) -> None:
        self.reports: list[Report] = []

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        if method == "report":
            self.reports += args[0]
            return [Ack.ACCEPTED] * len(args[0])
        raise PeerUnreachable(f"{actor} is away")

    def nodes(self) -> tuple[str, ...]:
        return ("n1",)


@pytest.fixture
def sit(tmp_path: Path) -> Sit:
    @asynccontextmanager
    async def sitting(access: tuple[AccessRule, ...] = (), **inputs: Any) -> AsyncIterator[CollectorActor]:
        config = Config(
            gateway=GatewaySettings(port=0),
            collect=CollectSettings(period_s=0.05, collectors=()),
            inputs=InputSettings(**inputs),
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


def sample(kind: str, labels: dict[str, str], **values: float) -> Sample:
    return Sample(Stream("n1", kind, tuple(map(Field, values)), labels), time.time_ns(), tuple(values.values()))


@pytest.mark.parametrize(
    "told",
    [
        sample("service.heartbeat", {"service": "db", "instance": "a"}, total=1.0),  # what vagus.heartbeat sends
        sample("service.heartbeat", {"instance": "a"}, up=1.0),
        sample("service.heartbeat", {"service": "db", "instance": "a"}, up=1.0, rtt_s=math.nan),
    ],
)
async def test_what_programs_send_is_no_verdict_of_the_node_and_ends_no_senses(sit, monkeypatch, told):
    monkeypatch.setattr(sensing, "SELF_REPORT_S", 0.0)
    async with sit() as actor:
        assert (await actor.take(UID, [told], ())).acks == (Ack.ACCEPTED,)
        ticks = actor.figures()["ticks"]
        await until(lambda: actor.figures()["ticks"] > ticks + 3)
        assert not actor.errors, actor.last_error
        assert not [r for r in actor.links.reports if not r.subject.startswith(("sensor:", "vagus:"))]


async def test_a_report_that_cannot_be_made_ends_no_senses(sit, monkeypatch):
    monkeypatch.setattr(sensing, "SELF_REPORT_S", 0.0)
    async with sit() as actor:
        monkeypatch.setattr(sensing, "judge_node", lambda samples: 1 // 0)
        await until(lambda: actor.errors > 3)
        assert actor.last_error.startswith("report: ZeroDivisionError")
        ticks = actor.figures()["ticks"]
        await until(lambda: actor.figures()["ticks"] > ticks + 3)


def test_a_mount_of_any_name_can_be_reported():
    full = sample("host.filesystem", {"mount": "/mnt/a\nb\x1b[31m"}, size_bytes=100.0, avail_bytes=1.0)
    (context,) = judge_node([full])
    assert context == "disk_free /mnt/a?b?[31m"


def test_an_error_that_quotes_a_path_of_any_bytes_can_be_stored():
    class Broken:
        def collect(self, t_ns: int) -> list[Sample]:
            raise CollectError("cannot read /sys/fs/cgroup/\udcff")

        def close(self) -> None: ...

    runner = Runner([("broken", Broken())], "n1")
    (event,) = [r for r in runner.tick(10**18) if isinstance(r, Event)]
    assert str(event.fields["error"]).encode() == b"cannot read /sys/fs/cgroup/?"


async def forward_to(actor: CollectorActor, **limits: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    assert actor._listeners is not None
    return await asyncio.open_connection("127.0.0.1", actor._listeners.ports["forward"], **limits)


async def test_a_sender_that_reads_no_answers_holds_up_no_stop(sit, monkeypatch):
    monkeypatch.setattr(forward, "MAX_CHUNK_NAME", 5_000_000)
    monkeypatch.setattr(listen_streams, "CLOSE_S", 0.1)
    async with sit(forward_port=0) as actor:
        _, writer = await forward_to(actor, limit=1)
        writer.transport.pause_reading()
        message = msgpack.packb(["t", 1, {"a": 1}, {"chunk": "c" * 4_000_000}])
        try:
            while True:
                writer.write(message)
                await asyncio.wait_for(writer.drain(), 0.5)
        except asyncio.TimeoutError:  # nobody reads any more: the answers have filled all buffers
            pass
        await asyncio.wait_for(actor.end(), 5.0)
        writer.close()


async def test_names_of_any_bytes_cost_no_other_sender(sit):
    async with sit(forward_port=0) as actor:
        reader, writer = await forward_to(actor)
        writer.write(b"\x94\xa4t\xff\xfeg\x01\x81\xa1\xff\xa1\xff\x81\xa5chunk\xa2\xff\xfe")
        assert await reader.readexactly(8) == b"\x81\xa3ack\xa2\xff\xfe"
        (event,) = await actor.records("event", 0, MAX_T_NS, 10)
        assert (event.event, event.fields) == ("t__g", {"tag": "t??g", "?": "?"})
        writer.close()


def test_a_chunk_of_any_length_is_not_sent_back():
    with pytest.raises(ConfigError, match="name of a chunk"):
        forward.read_message(["t", 1, {}, {"chunk": "c" * 1001}])


@pytest.mark.parametrize("kind", ["snmp.system", "pressure.cpu", "cgroup.cpu", "resctrl.monitor"])
async def test_kinds_of_collectors_are_refused_before_these_have_sent_any(sit, kind):
    async with sit() as actor:
        assert (await actor.take(UID, [sample(kind, {}, up=1.0)], ())).acks == (Ack.FAILED,)


async def test_a_body_of_more_than_may_wait_is_stored_in_parts(sit, monkeypatch):
    monkeypatch.setattr(intake, "MAX_WAITING", 1000)
    monkeypatch.setattr(intake, "SLICE", 500)
    now_ns = time.time_ns()
    stream = Stream("n1", "app.x", (Field("v"),))
    async with sit() as actor:
        taken = await actor.take(UID, [Sample(stream, now_ns - n, (1.0,)) for n in range(1700)], ())
        assert taken.acks == (Ack.ACCEPTED,) * 1700
        assert actor.figures()["inputs_accepted"] == 1700


async def test_what_is_refused_at_the_gateway_is_told_to_the_node(sit):
    async with sit() as actor:
        refused = await actor.take(Principal("token", "app"), [sample("net.link", {}, up=1.0)] * 3, ())
        await actor._intake.tell()
        (event,) = await actor.records("event", 0, MAX_T_NS, 10, "input.refused")
        assert (event.fields["input"], event.fields["times"]) == ("gateway", 3)
        assert event.fields["example"] == refused.reasons[0]


@pytest.mark.says("limit-streams")
def test_streams_that_ended_make_room_for_others():
    now_ns = 10**18
    admission = Admission("n1", Access((), "n1"), lambda kind: False, max_streams=2)

    def refused(label: str, after_s: float) -> bool:
        then_ns = now_ns + round(after_s * NS)
        one = Sample(Stream("n1", "app.x", (Field("v"),), {"id": label}), then_ns, (1.0,))
        return bool(admission.judge(UID, [one], then_ns)[0])

    assert [refused(label, 0) for label in "aba"] == [False, False, False]
    assert [refused(label, 3600) for label in "acb"] == [False, True, False]
    assert [refused(label, 3600 + 86_400 - 1) for label in "ac"] == [False, True]
    assert [refused(label, 3600 + 86_400 + 60) for label in "cda"] == [False, True, False]  # b is forgotten
    assert admission.streams == 2
    assert not refused("d", -86_400 * 2)  # the clock was set back: what was heard of lies far ahead


async def test_a_storm_of_datagrams_gives_others_their_turn(sit, monkeypatch):
    monkeypatch.setattr(listen_datagrams, "BURST_S", 0.0)
    monkeypatch.setattr(listeners, "MAX_LINES", 3)
    line = b"DATE=20020329210355 HOST=a PROG=p NL.EVNT=x\n"
    async with sit(ulm_port=0) as actor:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(5):
                sender.sendto(line * 5, ("127.0.0.1", actor._listeners.ports["ulm"]))
        await until(lambda: actor.figures()["inputs_accepted"] >= 15)
        assert actor._intake.bad.counts[("ulm", "oversize")] == 10


def test_events_of_many_fields_come_in_small_batches():
    entries = msgpack.packb([0, {f"k{i}": i for i in range(150)}]) * 100
    message = forward.read_message(["t", gzip.compress(entries), {"compressed": "gzip"}])
    batches = list(forward.read_events(forward.inflated(message), "n1", 10**18, []))
    assert sum(map(len, batches)) == 100
    assert max(map(len, batches)) == 34  # 5000 fields and the one that goes beyond


async def test_a_socket_is_read_on_when_others_kept_the_store_busy(sit, monkeypatch):
    monkeypatch.setattr(intake, "BUSY", -1)
    async with sit(ulm_port=0) as actor:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            to = ("127.0.0.1", actor._listeners.ports["ulm"])
            sender.sendto(b"nothing of this is stored", to)
            await until(lambda: actor._intake.bad.counts[("ulm", "malformed")])
            sender.sendto(b"DATE=20020329210355 HOST=a PROG=p NL.EVNT=x\n", to)
            monkeypatch.setattr(intake, "BUSY", 1)
            await until(lambda: actor.figures()["inputs_accepted"] == 1)


async def test_long_datagrams_are_read_no_faster_than_they_are_stored(sit, monkeypatch):
    monkeypatch.setattr(listen_datagrams, "MAX_FLIGHT_BYTES", 100)
    line = b"DATE=20020329210355 HOST=a PROG=p NL.EVNT=x T=" + b"t" * 30_000
    async with sit(ulm_port=0) as actor:
        flights = []
        take = actor._intake.take

        async def taking(*about: Any) -> Any:
            flights.append(len(actor._listeners._datagrams[1]._flight))
            return await take(*about)

        monkeypatch.setattr(actor._intake, "take", taking)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(9):
                sender.sendto(line, ("127.0.0.1", actor._listeners.ports["ulm"]))
                await asyncio.sleep(0)
        await until(lambda: actor.figures()["inputs_accepted"] == 9)
        assert max(flights) == 1


async def test_a_store_that_hung_is_said_to_be_well_again(sit, monkeypatch):
    monkeypatch.setattr(sensing, "SELF_REPORT_S", 0.0)
    hanging = ["its disk is slow"]
    async with sit() as actor:
        monkeypatch.setattr(actor._sensing, "hanging", lambda: hanging[0])
        told = actor.links.reports

        async def hear() -> None:
            while not [r for r in told if r.subject == "sensor:store@n1"]:
                await actor._outbox.flush_reports()  # which otherwise come together each second
                await asyncio.sleep(0.01)

        await asyncio.wait_for(hear(), 10)
        hanging[0] = ""
        await actor._outbox.flush_reports()
        told.clear()
        await asyncio.wait_for(hear(), 10)
        (word, *_) = [r.contexts["collect"].status for r in told if r.subject == "sensor:store@n1"]
        assert word is Status.HEALTHY


@pytest.mark.parametrize(("rows", "series", "taken"), [(300, 1, True), (300, 600, False), (1001, 1, False)])
def test_forecasts_of_many_rows_or_wide_ones_are_refused(monkeypatch, rows, series, taken):
    monkeypatch.setattr(derived, "MAX_ROWS", 800)  # a row of 600 series counts three times
    fields = tuple(Field(f"f{n}") for n in range(series))
    batch = Batch(Stream("n1", "app.x", fields), np.arange(rows) * NS, (np.ones(rows),) * series)

    def scan(selector: str, start_ns: int, end_ns: int, limit: int) -> list[Batch]:
        return [batch] if start_ns else []

    if taken:
        assert len(derived.derive("app.x.*.forecast", 1, rows * NS, 0, scan)) == 1
        return
    with pytest.raises(ConfigError, match="too much work"):
        derived.derive("app.x.*.forecast", 1, rows * NS, 0, scan)
