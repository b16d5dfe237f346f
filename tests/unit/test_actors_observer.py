"""Observer actors in one process, with real stores and real sockets on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from observers import KEY, H, P, U, introduce, said, statuses, until

from vagus.actors import telling
from vagus.actors.base import Seat
from vagus.actors.observer import ObserverActor
from vagus.config import AccessRule, Config, GatewaySettings, HealthSettings, WebhookSettings, socket_path
from vagus.errors import ConfigError, PeerUnreachable, StoreError
from vagus.model import Ack, Event, Metric, Report
from vagus.store import Store


class NoLinks:
    """An observer calls nobody."""

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        raise PeerUnreachable(actor)

    def nodes(self) -> tuple[str, ...]:
        return ()


Make = Callable[..., Any]


@pytest.fixture
async def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    """Begins an observer on a node of its own; ends all of them afterwards."""
    monkeypatch.setattr(telling, "MAX_TRIES", 1)  # there is no collector: events are kept at once
    made: list[ObserverActor] = []

    async def begin(
        node: str = "n1", *, health: dict[str, Any] | None = None, access: tuple[AccessRule, ...] = (), **options: Any
    ) -> ObserverActor:
        config = Config(health=HealthSettings(**(health or {})), access=access)
        actor = ObserverActor(Seat("observer", node, str(tmp_path), config, options={"key": KEY, **options}), NoLinks())
        made.append(actor)
        await actor.begin()
        return actor

    yield begin
    for actor in made:
        await actor.end()


async def test_events_of_verdicts_go_to_the_collector_which_has_the_subscribers(begin: Make) -> None:
    actor, got = await begin(), []

    class Links(NoLinks):
        async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
            assert (actor, method) == ("vagus:collector@n1", "told")
            got.extend(args[0])

    actor._herald._telling._links = Links()
    await actor.report([said(U)])
    await until(lambda: got)
    assert [event.fields["subject"] for event in got] == ["db"]
    await actor._keeper.run(lambda store: None)
    assert not list(actor._keeper.store.records("event", Event)), "not in two stores"


async def test_a_webhook_is_told_with_the_evidence(begin: Make) -> None:
    got: asyncio.Queue[Any] = asyncio.Queue()

    async def take(request: web.Request) -> web.Response:
        got.put_nowait(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hook = WebhookSettings(url=f"http://127.0.0.1:{runner.addresses[0][1]}/", statuses=("UNHEALTHY",))
    actor = await begin(health={"webhooks": (hook,)})
    await actor.report([said(H)])
    await actor.report([said(U)])
    body = await asyncio.wait_for(got.get(), 10)
    assert (body["subject"], body["was"], body["status"], body["node"]) == ("db", "HEALTHY", "UNHEALTHY", "n1")
    assert [report["observer"] for report in body["reports"]] == ["api"]
    await until(lambda: actor.figures()["webhook_told"] == 1)
    await actor.end()
    await runner.cleanup()


async def test_a_report_is_accepted_judged_kept_and_told(begin: Make) -> None:
    actor = await begin()
    told: list[Event] = []
    stop_telling = actor.subscribe(told.append)
    assert await actor.report([said(H)]) == await actor.report([said(U)]) == [Ack.ACCEPTED]
    (short,) = await actor.inferences("")
    assert (short.subject, short.status, short.reports) == ("db", U, ())
    (full,) = await actor.inferences("db")
    assert [report.origin for report in full.reports] == ["n1", "n1"]
    assert await actor.inferences("nothing") == []
    assert list(await actor.panorama("db")) == ["api"]
    assert [event.fields["was"] for event in told] == ["NA", "HEALTHY"]
    await actor._herald.stop()  # no collector took them: kept here
    await actor._keeper.run(lambda store: None)
    kept = list(actor._keeper.store.records("event", Event, where=("subject", "db"), newest_first=False))
    assert kept == told
    said_of = {"subject": "db", "status": "UNHEALTHY", "was": "HEALTHY", "verdict": "UNHEALTHY"}
    assert kept[-1].fields == {**said_of, "contexts": "read", "accusers": "api"}
    assert list(actor._keeper.store.records("report", Report, newest_first=False)) == list(full.reports)
    stop_telling()
    await actor.report([said(H)])
    assert len(told) == 2
    status = await actor.describe()
    assert (status.figures["accepted"], status.figures["subjects"], status.errors) == (3, 1, 0)


@pytest.mark.says("rules-everywhere")
async def test_with_access_rules_a_local_program_reports_only_on_what_its_user_may(begin: Make) -> None:
    actor = await begin(access=(AccessRule(who=(f"uid:{os.geteuid()}",), send=("queue",)),))
    path = socket_path(Path(actor.seat.home), "n1", "report")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        for subject in ("db", "queue"):
            sock.sendto(msgspec.msgpack.encode(said(subject=subject)), str(path))
    await until(lambda: statuses(actor) == {"queue": U})
    assert actor._inbox.counts["refused"] == 1
    await until(lambda: actor._keeper.store.count("event") == 2)
    told = [e for e in actor._keeper.store.records("event", Event) if e.event == "access.refused"]
    assert [(e.fields["who"], e.fields["what"]) for e in told] == [(f"uid:{os.geteuid()}", "db")]


async def test_concurrent_reports_share_commits(begin: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    actor = await begin()
    flushes: list[int] = []
    flush = actor._keeper.store.flush
    monkeypatch.setattr(actor._keeper.store, "flush", lambda: (flushes.append(1), flush()))
    acks = await asyncio.gather(*(actor.report([said(subject=f"s{n}")]) for n in range(200)))
    assert acks == [[Ack.ACCEPTED]] * 200
    assert len(flushes) < 20
    assert actor._keeper.store.count("report") == 200


async def test_defect_a_report_with_nothing_in_it_or_no_timestamp_crashed_now_the_server_lives(begin: Make) -> None:
    actor = await begin()
    with pytest.raises(ConfigError, match="contexts"):
        Report("api", "db", time.time_ns(), {})
    no_time = Report("api", "db", 0, {"read": Metric(U)})
    assert await actor.report([said(), no_time, said()]) == [Ack.ACCEPTED, Ack.FAILED, Ack.ACCEPTED]
    assert "t_ns" in (await actor.describe()).notes[-1]
    path = socket_path(Path(actor.seat.home), "n1", "report")
    sent = [b'{"observer":"a","subject":"b","contexts":{}}', b"", b"\x91" * 60_000, json_report(t_ns=None), b"[[[["]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        for data in sent:
            sock.sendto(data, str(path))
        await until(lambda: actor._inbox.counts["bad"] == len(sent))
        sock.sendto(json_report(), str(path))
    await until(lambda: statuses(actor) == {"db": U, "queue": U})


def json_report(**changes: Any) -> bytes:
    report = {"observer": "sh", "subject": "queue", "t_ns": time.time_ns(), "contexts": {"depth": ["u", 10]}}
    return json.dumps({**report, **changes}).encode()


async def test_any_local_process_reports_through_the_socket(begin: Make) -> None:
    actor = await begin()
    path = socket_path(Path(actor.seat.home), "n1", "report")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(json_report(), str(path))
        sock.sendto(msgspec.msgpack.encode([said(H), said(H, subject="cache")]), str(path))
    await until(lambda: statuses(actor) == {"cache": H, "db": H, "queue": U})
    await until(lambda: actor._keeper.store.count("report") == 3)
    await actor.end()
    assert not path.exists()
    await actor.end()


async def test_three_observers_gossip(begin: Make) -> None:
    actors = [await begin(node) for node in ("n1", "n2", "n3")]
    await introduce(*actors)
    await asyncio.gather(
        *(a.report([said(H, observer=f"api@{a.seat.node}"), said(subject=a.seat.node)]) for a in actors)
    )
    await until(lambda: all(len(a._local.panorama("db")) == 3 and len(statuses(a)) == 4 for a in actors))
    one, two, three = [await a.inferences("db") for a in actors]
    assert one[0].reports == two[0].reports == three[0].reports
    await until(lambda: all(a._keeper.store.count("report") == 6 for a in actors))
    assert actors[0].figures()["merged"] == 4
    assert all(a.errors == 0 for a in actors)


async def test_defect_a_peer_that_missed_a_report_never_got_it_now_it_converges(begin: Make) -> None:
    one = await begin("n1")
    await one.report([said(subject=f"s{n}") for n in range(100)])
    two = await begin("n2", peers={"n1": await one.address()})
    await until(lambda: len(statuses(two)) == 100)
    assert one.wire.addresses == {"n2": await two.address()}, "n1 met n2 by its sealed datagram"
    await one.report([said(H, subject="s0")])
    await until(lambda: statuses(two)["s0"] == H)


async def test_defect_a_restarted_peer_recovered_nothing_now_its_history_and_it_is_found_again(begin: Make) -> None:
    one, two = await begin("n1"), await begin("n2")
    await introduce(one, two)
    await two.report([said(subject="own")])
    await until(lambda: "own" in statuses(one))
    used = two._local.view("api", "own")[0].seq
    await two.end()
    await one.report([said(subject="missed")])
    again = await begin("n2")
    assert statuses(again) == {"own": U}, "its own history is there before any message"
    assert again.figures()["restored"] == 1
    await again.set_peers({"n1": await one.address()})
    await until(lambda: "missed" in statuses(again))
    assert one.wire.addresses["n2"] == await again.address(), "learned from an authenticated datagram"
    await again.report([said(H, subject="own")])
    assert again._local.view("api", "own")[-1].seq > used
    await until(lambda: statuses(one)["own"] == H)


async def test_defect_a_hung_peer_now_costs_bounded_memory_and_no_acknowledgement(begin: Make) -> None:
    actor = await begin()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hung:
        hung.bind(("127.0.0.1", 0))  # never reads
        await actor.set_peers({"n2": hung.getsockname()})
        for _ in range(10):
            assert set(await actor.report([said() for _ in range(500)])) == {Ack.ACCEPTED}
        assert len(actor._gossip) == len(actor._local) == 10, "what views hold is retained, the rest superseded"
        assert actor.wire.counts["sent"] + actor.wire.counts["dropped"] >= 100


@pytest.mark.says("sealed-dropped")
async def test_defect_no_authentication_now_forged_replayed_and_foreign_datagrams_are_counted(begin: Make) -> None:
    one, two = await begin("n1"), await begin("n2", key=bytes(32).hex())
    await introduce(one, two)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for data in (b"", b"x", b"\x01" * 100, os.urandom(60_000)):
            sock.sendto(data, await one.address())
    await two.report([said()])
    await until(lambda: one.figures()["gossip_unsealed"] >= 5)
    assert statuses(one) == {}
    assert one.figures()["gossip_refused"] >= 5
    await one.set_peers({"n2": await two.address()}, bytes(32))
    await until(lambda: statuses(one) == {"db": U})
    assert await one.report([said()]) == [Ack.ACCEPTED]


async def test_without_a_key_there_is_no_gossip_and_it_says_so(begin: Make) -> None:
    one, two = await begin("n1"), await begin("n2", key="")
    await introduce(one, two)
    await one.report([said()])
    assert await two.report([said(H)]) == [Ack.ACCEPTED]
    await until(lambda: two.figures()["gossip_unsealed"] >= 1)
    assert statuses(two) == {"db": H}
    assert "no key" in (await two.describe()).notes[0]


async def test_a_pending_ages_into_an_event(begin: Make) -> None:
    actor = await begin(health={"pending": "50ms"})
    await actor.report([said(P)])
    await until(lambda: statuses(actor)["db"] == U)
    await until(lambda: actor._keeper.store.count("event") == 2)


async def test_expired_subjects_are_told_as_na_and_forgotten(begin: Make) -> None:
    actor = await begin(health={"ttl": "200ms"})
    told: list[Event] = []
    actor.subscribe(told.append)
    await actor.report([said()])
    await until(lambda: len(told) == 2)
    assert (told[-1].fields["status"], told[-1].fields["was"]) == ("NA", "UNHEALTHY")
    assert await actor.inferences("") == []
    assert await actor.report([said(t_ns=time.time_ns() - 10**9)]) == [Ack.IGNORED]


async def test_what_cannot_be_stored_is_not_accepted(begin: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    actor = await begin()

    def full() -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(actor._keeper.store, "flush", full)
        assert await actor.report([said(), said(t_ns=1)]) == [Ack.FAILED, Ack.IGNORED]
    assert "the disk is full" in actor.last_error
    assert await actor.report([said()]) == [Ack.ACCEPTED]


async def test_a_subscriber_that_fails_is_counted(begin: Make) -> None:
    actor = await begin()
    actor.subscribe(lambda event: 1 / 0)
    assert await actor.report([said()]) == [Ack.ACCEPTED]
    assert "ZeroDivisionError" in actor.last_error


async def test_unwatch_forgets(begin: Make) -> None:
    actor = await begin()
    await actor.report([said()])
    await actor.unwatch("db")
    assert await actor.inferences("") == []
    await actor.watch("db")
    assert await actor.report([said()]) == [Ack.ACCEPTED]


async def test_bad_settings_and_calls_are_refused(begin: Make, tmp_path: Path) -> None:
    actor = await begin()
    with pytest.raises(ConfigError, match="at most"):
        await actor.report([said()] * 10_001)
    with pytest.raises(ConfigError, match="32"):
        await actor.set_peers({}, b"short")
    with pytest.raises(ConfigError, match="hexadecimal"):
        await actor.set_peers({}, "zz")
    with pytest.raises(ConfigError, match="does not resolve"):
        await actor.set_peers({"n9": ("no such host", 1)})
    port = (await actor.address())[1]
    with pytest.raises(ConfigError, match=r"health\.port"):
        await begin("n2", health={"port": port})
    second = await begin("n2")  # the failed one left the store free and no socket behind
    assert await second.report([said()]) == [Ack.ACCEPTED]
    with pytest.raises(StoreError):
        await begin("n2")
    with pytest.raises(ConfigError, match="strategies"):
        await begin("n3", health={"strategy": "guess"})
    seat = Seat("observer", "n4", str(tmp_path), Config())
    with pytest.raises(PeerUnreachable, match="not started"):
        await ObserverActor(seat, NoLinks()).address()


@pytest.mark.says("gossip-address")
async def test_bound_to_the_node_it_names_an_address_that_others_reach(tmp_path: Path) -> None:
    config = Config(gateway=GatewaySettings(bind="node"))
    seat = Seat("observer", "n1", str(tmp_path), config, options={"key": KEY.hex(), "address": "127.0.0.2"})
    actor = ObserverActor(seat, NoLinks())
    await actor.begin()
    try:
        assert (await actor.address())[0] == "127.0.0.2"
        assert await actor.report([said()]) == [Ack.ACCEPTED]
    finally:
        await actor.end()


CHILD = """
    import asyncio, sys, time
    from vagus.actors.base import Seat
    from vagus.actors.observer import ObserverActor
    from vagus.config import Config
    from vagus.model import Ack, Metric, Report, Status

    async def main():
        actor = ObserverActor(Seat("observer", "n1", sys.argv[1], Config()), None)
        await actor.begin()

        async def client(name):
            for n in range(300):
                report = Report(name, f"s{n % 7}", time.time_ns(), {"read": Metric(Status.UNHEALTHY, n)})
                assert await actor.report([report]) == [Ack.ACCEPTED]

        await asyncio.gather(*(client(f"c{n}") for n in range(10)))
        print("3000 accepted", flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())
"""


async def test_after_kill_9_every_accepted_report_is_there(begin: Make, tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert await asyncio.to_thread(child.stdout.readline) == "3000 accepted\n"
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    actor = await begin("n1")
    reports = list(actor._keeper.store.records("report", Report))
    assert len({report.seq for report in reports}) == len(reports) == 3000
    assert statuses(actor) == {f"s{n}": U for n in range(7)}
    (inference,) = await actor.inferences("s0")
    assert len(inference.reports) == 100, "ten observers' last ten"
    await actor.report([said(subject="s0")])
    assert actor._local.view("api", "s0")[0].seq > max(report.seq for report in reports)


async def test_a_store_is_opened_by_one_observer_only(begin: Make) -> None:
    actor = await begin()
    with pytest.raises(StoreError):
        Store.open(actor.seat.store_path)
