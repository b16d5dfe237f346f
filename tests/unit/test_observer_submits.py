"""The acknowledged stream socket of an observer, by its client and by raw frames, broken ones included."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from observers import H, U, observer, said, statuses, until

from vagus.actors import submit_client, submits
from vagus.actors.observer import ObserverActor
from vagus.client.submit import MAX_AHEAD, Submitter
from vagus.config import AccessRule, socket_path
from vagus.errors import ConfigError, PeerUnreachable, StoreError
from vagus.health.inbox import MAX_INBOX_BYTES
from vagus.model import Ack, Report

A, IGNORED, F = Ack.ACCEPTED, Ack.IGNORED, Ack.FAILED


@pytest.fixture
async def actor(tmp_path: Path) -> AsyncIterator[ObserverActor]:
    actor = observer(tmp_path)
    await actor.begin()
    yield actor
    await actor.end()


class Raw:
    """A connection without the client's care."""

    def __init__(self, actor: ObserverActor) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(socket_path(Path(actor.seat.home), "n1", "observer")))
        self.sock.setblocking(False)
        self.begun = b""

    async def send(self, *bodies: bytes) -> None:
        frames = b"".join(struct.pack(">I", len(body)) + body for body in bodies)
        await asyncio.get_running_loop().sock_sendall(self.sock, frames)

    async def answers(self, count: int) -> list[Any]:
        found: list[Any] = []
        while len(found) < count:
            while len(self.begun) < 4 or len(self.begun) < 4 + struct.unpack(">I", self.begun[:4])[0]:
                data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.sock, 65536), 10)
                assert data, f"closed after {found}"
                self.begun += data
            end = 4 + struct.unpack(">I", self.begun[:4])[0]
            found.append(msgspec.msgpack.decode(self.begun[4:end]))
            self.begun = self.begun[end:]
        return found

    async def closed(self) -> bool:
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.sock, 10), 10) == b""


def packed(*reports: Report) -> bytes:
    return msgspec.msgpack.encode(reports)


async def submit(actor: ObserverActor, reports: list[Report], handle: int = 0) -> list[Ack]:
    def work() -> list[Ack]:
        with Submitter.connect(actor.seat.home, "n1", handle=handle) as to:
            return to.submit(reports)

    return await asyncio.to_thread(work)


async def test_an_answer_comes_after_the_commit(actor: ObserverActor) -> None:
    assert await submit(actor, [said(H), said(t_ns=1), said(U)]) == [A, IGNORED, A]
    assert actor._keeper is not None
    assert actor._keeper.store.count("report") == 2
    assert statuses(actor) == {"db": U}


async def test_pipelined_frames_are_answered_in_order_and_share_commits(actor: ObserverActor) -> None:
    assert actor._keeper is not None
    raw = Raw(actor)
    frames = [packed(*[said(subject=f"s{n}", t_ns=1 if k == n % 3 else 0) for k in range(3)]) for n in range(300)]
    commits = actor._keeper.commits
    await asyncio.gather(raw.send(*frames), asyncio.sleep(0))
    answers = await raw.answers(300)
    assert answers == [["IGNORED" if k == n % 3 else "ACCEPTED" for k in range(3)] for n in range(300)]
    assert actor._keeper.commits - commits < 100
    raw.sock.close()


async def test_json_and_single_reports_are_taken_too(actor: ObserverActor) -> None:
    raw = Raw(actor)
    text = b'{"observer":"sh","subject":"queue","t_ns":%d,"contexts":{"depth":["u",10]}}' % time.time_ns()
    await raw.send(text, msgspec.msgpack.encode(said()))
    assert await raw.answers(2) == [["ACCEPTED"], ["ACCEPTED"]]
    assert statuses(actor) == {"queue": U, "db": U}
    raw.sock.close()


async def test_a_broken_frame_is_told_and_the_next_one_taken(actor: ObserverActor) -> None:
    raw = Raw(actor)
    bad = [b"", b"\xc1", b"[[[[", b'{"observer":"a","subject":"b","contexts":{}}', b"\x91" * 60_000, b"\x81\xa1x\x01"]
    await raw.send(*bad, packed(said()))
    answers = await raw.answers(len(bad) + 1)
    assert all(set(answer) == {"error"} and answer["error"] for answer in answers[:-1])
    assert answers[-1] == ["ACCEPTED"]
    assert actor._submits.counts["bad"] == len(bad)
    raw.sock.close()


@pytest.mark.says("limit-reports")
async def test_an_oversized_frame_is_told_and_ends_the_connection(actor: ObserverActor) -> None:
    raw = Raw(actor)
    await raw.send(packed(said()))
    await asyncio.get_running_loop().sock_sendall(raw.sock, struct.pack(">I", MAX_INBOX_BYTES + 1) + b"x" * 100)
    answers = await raw.answers(2)
    assert answers[0] == ["ACCEPTED"]
    assert str(MAX_INBOX_BYTES) in answers[1]["error"]
    assert await raw.closed()
    await until(lambda: len(actor._submits) == 0)
    raw.sock.close()


async def test_half_open_connections_lose_nothing_that_was_sent(actor: ObserverActor) -> None:
    assert actor._keeper is not None
    raw = Raw(actor)
    await raw.send(packed(said()), packed(said(subject="cache")))
    await asyncio.get_running_loop().sock_sendall(raw.sock, b"\0\0")  # a frame that never comes
    raw.sock.close()  # without reading an answer
    await until(lambda: set(statuses(actor)) == {"db", "cache"} and len(actor._submits) == 0)
    store = actor._keeper.store
    await until(lambda: store.count("report") == 2)
    assert actor.errors == 0


async def test_a_client_that_does_not_read_is_read_no_further(
    actor: ObserverActor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit_client, "MAX_UNREAD_BYTES", 1000)
    monkeypatch.setattr(submits, "STALL_S", 0.0)
    raw = Raw(actor)
    raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    body = packed(*[said(t_ns=1) for _ in range(500)])
    frames = (struct.pack(">I", len(body)) + body) * 2000
    sender = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(raw.sock, frames))
    await until(lambda: len(actor._submits) == 1)
    (client,) = actor._submits._clients.values()
    await until(lambda: client.paused and len(client.unread) > 1000 and client.given == client.answered)
    held = client.given
    await submit(actor, [said()])  # others are served meanwhile
    assert client.given == held < 2000 * 501
    assert len(client.unread) < 200_000
    assert len(client.begun) <= MAX_INBOX_BYTES + 4
    actor._submits.sweep()
    assert len(actor._submits) == 0
    assert actor._submits.counts["stalled"] == 1
    with pytest.raises(OSError):
        await sender
    raw.sock.close()


async def test_a_slow_reader_gets_every_answer(actor: ObserverActor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit_client, "MAX_UNREAD_BYTES", 1000)
    raw = Raw(actor)

    async def read() -> None:
        await until(lambda: any(client.is_ahead() for client in actor._submits._clients.values()))
        assert await raw.answers(200) == [["IGNORED"] * 500] * 200

    await asyncio.gather(raw.send(*[packed(*[said(t_ns=1) for _ in range(500)])] * 200), read())
    await raw.send(packed(said()))
    assert await raw.answers(1) == [["ACCEPTED"]]
    raw.sock.close()


async def test_a_slow_writer_is_given_time_and_then_closed(
    actor: ObserverActor, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = Raw(actor)
    body = packed(said())
    for byte in struct.pack(">I", len(body)) + body:
        await asyncio.get_running_loop().sock_sendall(raw.sock, bytes([byte]))
    assert await raw.answers(1) == [["ACCEPTED"]]
    actor._submits.sweep()
    assert len(actor._submits) == 1, "nothing is begun: it may be idle for as long as it likes"
    await asyncio.get_running_loop().sock_sendall(raw.sock, b"\0")
    await until(lambda: any(client.begun for client in actor._submits._clients.values()))
    actor._submits.sweep()
    assert len(actor._submits) == 1
    monkeypatch.setattr(submits, "STALL_S", 0.0)
    actor._submits.sweep()
    assert await raw.closed()
    raw.sock.close()


@pytest.mark.says("limit-connections")
async def test_a_thousand_connections_and_no_more(actor: ObserverActor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submits, "MAX_CONNECTIONS", 400)  # descriptors of this process: both ends are in it
    raws = [Raw(actor) for _ in range(400)]
    await until(lambda: len(actor._submits) == 400)
    one_more = Raw(actor)
    assert "400 connections" in (await one_more.answers(1))[0]["error"]
    assert await one_more.closed()
    for n, raw in enumerate(raws):
        await raw.send(packed(said(subject=f"s{n % 7}")))
    for raw in raws:
        assert await raw.answers(1) == [["ACCEPTED"]]
        raw.sock.close()
    one_more.sock.close()
    await until(lambda: len(actor._submits) == 0)
    assert actor._submits.counts["crowded"] == 1


@pytest.mark.says("unix-sockets")
async def test_defect_no_authentication_now_only_this_user_may_connect(tmp_path: Path) -> None:
    actor = observer(tmp_path)
    await actor.begin()
    path = socket_path(tmp_path, "n1", "observer")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    raw = Raw(actor)
    await until(lambda: len(actor._submits) == 1)
    await actor.end()
    assert not path.exists()
    assert await raw.closed()
    raw.sock.close()
    with pytest.raises(PeerUnreachable, match="no observer answers"):
        Submitter.connect(tmp_path, "n1")


@pytest.mark.says("rules-everywhere")
async def test_access_rules_hold_for_each_frame(tmp_path: Path) -> None:
    actor = observer(tmp_path, access=(AccessRule(who=(f"uid:{os.geteuid()}",), send=("queue",)),))
    await actor.begin()
    raw = Raw(actor)
    await raw.send(packed(said()), packed(said(subject="queue")))
    refused, taken = await raw.answers(2)
    assert "may not send 'db'" in refused["error"]
    assert taken == ["ACCEPTED"]
    assert statuses(actor) == {"queue": U}
    raw.sock.close()
    await actor.end()


async def test_long_refusals_of_many_frames_hold_neither_side_up(tmp_path: Path) -> None:
    actor = observer(tmp_path, access=(AccessRule(who=("uid:4242",), send=("*",)),))
    await actor.begin()

    def work() -> int:
        with Submitter.connect(tmp_path, "n1", timeout_s=5) as to:
            for _ in range(MAX_AHEAD):
                to.send([said(subject="𝕏" * 200)])
            refused = 0
            for _ in range(MAX_AHEAD):
                with pytest.raises(ConfigError, match="may not send"):
                    to.receive()
                refused += 1
            return refused

    assert await asyncio.to_thread(work) == MAX_AHEAD
    await actor.end()


async def test_defect_any_name_under_another_observers_handle_is_refused(actor: ObserverActor) -> None:
    handle = await actor.register("http", "api")
    assert await submit(actor, [said(), said(observer="mallory")], handle) == [A, F]
    assert await actor.report([said(observer="mallory")], handle) == [F]
    assert await submit(actor, [said()], handle + 1) == [F]
    assert list(actor._local.panorama("db")) == ["api"]


async def test_a_handle_counts_for_the_frames_behind_it(actor: ObserverActor) -> None:
    handle = await actor.register("http", "api")
    raw = Raw(actor)
    greeting = msgspec.msgpack.encode({"handle": handle})
    other = packed(said(observer="web"))
    await raw.send(other, greeting, other, msgspec.msgpack.encode({"handle": 0}), other)
    assert await raw.answers(5) == [["ACCEPTED"], [], ["FAILED"], [], ["ACCEPTED"]]
    raw.sock.close()


async def test_what_cannot_be_stored_is_not_accepted(actor: ObserverActor, monkeypatch: pytest.MonkeyPatch) -> None:
    assert actor._keeper is not None

    def full() -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(actor._keeper.store, "flush", full)
        assert await submit(actor, [said(), said(t_ns=1)]) == [F, IGNORED]
    await until(lambda: "the disk is full" in actor.last_error)
    assert await submit(actor, [said()]) == [A]


async def test_too_much_for_the_disk_is_refused_in_order(actor: ObserverActor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.actors.keeping.MAX_QUEUED", 0)
    raw = Raw(actor)
    await raw.send(packed(said(t_ns=1)), packed(said()))
    assert await raw.answers(2) == [["IGNORED"], ["FAILED"]]
    assert "wait for the disk" in actor.last_error
    raw.sock.close()


async def test_a_client_is_told_when_it_runs_too_far_ahead(actor: ObserverActor) -> None:
    def work() -> None:
        with Submitter.connect(actor.seat.home, "n1") as to:
            to._sent.extend([1] * MAX_AHEAD)
            with pytest.raises(ConfigError, match=r"receive\(\) first"):
                to.send([said()])
            with pytest.raises(ConfigError, match="not answered yet"):
                to.submit([said()])

    await asyncio.to_thread(work)


async def test_many_reports_are_split_into_frames(actor: ObserverActor) -> None:
    reports = [said(subject=f"s{n % 50}", t_ns=0 if n % 1000 else 1) for n in range(12_345)]
    assert await submit(actor, reports) == [A if n % 1000 else IGNORED for n in range(12_345)]
    assert await submit(actor, []) == []


async def test_a_client_whose_observer_ends_learns_it(tmp_path: Path) -> None:
    actor = observer(tmp_path)
    await actor.begin()
    to = await asyncio.to_thread(Submitter.connect, tmp_path, "n1")
    await actor.end()
    with pytest.raises(PeerUnreachable, match="may or may not"):
        await asyncio.to_thread(to.submit, [said()])
