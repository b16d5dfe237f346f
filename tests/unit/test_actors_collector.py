"""The collector actor: a real store and a real gateway, collectors made for the test, links that only remember."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from vagus.access import Principal
from vagus.actors import sensing as sensing_module
from vagus.actors.base import Seat
from vagus.actors.collector import CollectorActor
from vagus.actors.sensing import next_tick
from vagus.collectors import COLLECTORS
from vagus.config import CollectSettings, Config, GatewaySettings
from vagus.errors import CollectError, ConfigError, PeerUnreachable, VagusError
from vagus.model import (
    MAX_T_NS,
    Ack,
    ActorStatus,
    Decision,
    Event,
    Field,
    Inference,
    Level,
    Metric,
    Report,
    Reward,
    Sample,
    Status,
    Stream,
)
from vagus.store import Store

TOKEN = "t" * 32
FED = Stream("n1", "feed.x", (Field("value"),))


class Neighbours:
    """Links that take what they are given, or are away."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.decisions: list[Decision] = []
        self.rewards: list[Reward] = []
        self.order: list[str] = []
        self.away: set[str] = set()
        self.told = asyncio.Event()

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        if actor in self.away:
            raise PeerUnreachable(f"{actor} is away")
        self.told.set()
        self.order.append(method)
        if method == "report":
            assert len(args[0]) <= 10_000, "an observer refuses more"
            self.reports += args[0]
            return [Ack.ACCEPTED] * len(args[0])
        if method == "decided":
            self.decisions += args[0]
            return None
        if method == "rewarded":
            self.rewards += args[0]
            return [Ack.ACCEPTED] * len(args[0])
        if method == "inferences":
            return [Inference("db", 1, Status.UNHEALTHY, {}, ("me",))] if not args[0] else []
        if method == "describe":
            return ActorStatus(actor, "observer", "n1", "HEALTHY", pid=7)
        if method == "statuses":
            raise PeerUnreachable(f"{actor} is away")
        raise AssertionError(f"{actor}.{method}")

    def nodes(self) -> tuple[str, ...]:
        return ("n1",)


class Senses:
    """Collectors by name; the test says what each does."""

    def __init__(self) -> None:
        self.stream = Stream("n1", "test.count", (Field("count", dtype="u8"),))
        self.count = 0
        self.failing = False
        self.hold = threading.Event()
        self.hold.set()

    def make(self, node: str, root: Path, settings: CollectSettings) -> Senses:
        return self

    def collect(self, t_ns: int) -> Iterable[Sample | Event]:
        self.hold.wait(30)
        self.count += 1
        yield Sample(self.stream, t_ns, (self.count,))
        if self.failing:
            raise CollectError("the source is gone")

    def close(self) -> None:
        pass


@pytest.fixture
def senses(monkeypatch: pytest.MonkeyPatch) -> Senses:
    senses = Senses()
    monkeypatch.setattr(COLLECTORS, "make", lambda name, *args: senses.make(*args))
    return senses


Sit = Callable[..., Any]


@pytest.fixture
def sit(tmp_path: Path, senses: Senses) -> Sit:
    config = Config(gateway=GatewaySettings(port=0), collect=CollectSettings(period_s=0.05, collectors=("test",)))

    @asynccontextmanager
    async def sitting() -> AsyncIterator[tuple[CollectorActor, Neighbours]]:
        neighbours = Neighbours()
        seat = Seat("collector", "n1", str(tmp_path), config, options={"token": TOKEN, "head": "n1"})
        actor = CollectorActor(seat, neighbours)
        await actor.begin()
        try:
            yield actor, neighbours
        finally:
            senses.hold.set()
            await actor.end()

    return sitting


async def until(check: Callable[[], object], timeout_s: float = 10.0) -> None:
    async def poll() -> None:
        while not check():
            await asyncio.sleep(0.005)

    await asyncio.wait_for(poll(), timeout_s)


async def get(actor: CollectorActor, path: str) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session,
        session.get(actor._url + path, timeout=aiohttp.ClientTimeout(5)) as response,
    ):
        return response.status, await response.json()


async def test_ticks_are_stored_live_and_on_the_grid(sit, senses):
    async with sit() as (actor, _):
        await until(lambda: actor.figures()["ticks"] >= 3)
        (batch,) = await actor.query("test.count", 0, MAX_T_NS, 0)
        assert batch.column("count").tolist() == list(range(1, len(batch.t_ns) + 1))
        assert (batch.t_ns % 50_000_000 == 0).all()
        assert {s.stream.kind for s in await actor.latest(["test.*"])} == {"test.count"}
        assert {s.live for s in await actor.sensors("*")} == {True}
        status, answer = await get(actor, "/v1/status")
        assert (status, answer["nodes"][0]["series"]) == (200, int(actor.figures()["series"]))


async def test_live_series_have_forecasts_in_the_directory_for_controllers_and_as_fields(sit, senses):
    async with sit() as (actor, _):
        await until(lambda: actor.figures()["ticks"] >= 5)
        (entry,) = await actor.sensors("test.count")
        (outlook,) = entry.outlook
        assert (outlook.field, outlook.trend) == ("count", "")  # too early for a trend
        assert outlook.mse >= 0
        ((stream, (same,)),) = await actor.outlooks(["test.count.count"])
        assert (stream, same.field) == (entry.stream, "count")
        assert await actor.outlooks(["nothing.*"]) == []
        (batch,) = await actor.query("test.count.count.forecast", 0, MAX_T_NS, 3)
        assert [f.name for f in batch.stream.fields] == ["count.forecast"]
        assert len(batch) == 3


async def test_what_was_stored_is_there_after_a_restart_and_the_gateway_is_announced(sit, tmp_path):
    announced = tmp_path / "nodes" / "n1" / "gateway.json"
    async with sit() as (actor, _):
        await until(lambda: actor.figures()["ticks"] >= 2)
        assert json.loads(announced.read_text())["url"] == actor._url
        assert announced.stat().st_mode & 0o077 == 0
        assert (announced.parent / "token").stat().st_mode & 0o077 == 0
    assert not announced.exists()
    async with sit() as (actor, _):
        await until(lambda: actor.figures()["ticks"] >= 1)
        (batch,) = await actor.query("test.count", 0, MAX_T_NS, 0)
        assert len(batch.t_ns) >= 3


async def test_a_start_that_fails_leaves_the_store_free(sit, tmp_path, monkeypatch):
    async def taken(self: Any) -> str:
        raise ConfigError("the port is taken")

    monkeypatch.setattr("vagus.gateway.server.Gateway.start", taken)
    with pytest.raises(ConfigError):
        async with sit():
            pass
    Store.open(tmp_path / "nodes" / "n1" / "store" / "collector").close()


async def test_a_failing_collector_is_a_report_an_event_and_an_error_in_status(sit, senses):
    async with sit() as (actor, neighbours):
        senses.failing = True
        await until(lambda: actor._sensing.failing())
        await until(lambda: any(r.contexts["collect"].status is Status.UNHEALTHY for r in neighbours.reports))
        report = next(r for r in neighbours.reports if r.contexts["collect"].status is Status.UNHEALTHY)
        assert (report.observer, report.subject) == ("collector@n1", "sensor:test@n1")
        assert (await actor.status()).errors == ("test: the source is gone",)
        assert [e.event for e in await actor.records("event", 0, MAX_T_NS, 9)] == ["collector.failed"]
        senses.failing = False
        await until(lambda: not actor._sensing.failing())
        assert (await actor.status()).errors == ()


async def test_a_hung_collector_holds_up_no_answer_and_is_named(sit, senses, monkeypatch):
    monkeypatch.setattr(sensing_module, "HANG_S", 0.1)
    monkeypatch.setattr(sensing_module, "CLOSE_TIMEOUT_S", 0.1)
    async with sit() as (actor, neighbours):
        await until(lambda: actor.figures()["ticks"] >= 1)
        senses.hold.clear()
        await until(lambda: actor._sensing.failing())
        status, answer = await get(actor, "/v1/status")
        assert status == 200
        assert "collector test has not come back" in answer["nodes"][0]["errors"][0]
        assert (await get(actor, "/v1/query?selector=test.count"))[0] == 200
        with pytest.raises(PeerUnreachable, match="cannot store: collector test"):
            await actor.ingest([Sample(FED, 1, (1.0,))])
        await until(lambda: any(r.contexts["collect"].status is Status.UNHEALTHY for r in neighbours.reports))
        skipped = actor.figures()["ticks_skipped"]
        await until(lambda: actor.figures()["ticks_skipped"] > skipped)
        senses.hold.set()
        ticks = actor.figures()["ticks"]
        await until(lambda: actor.figures()["ticks"] > ticks + 1)
        assert (await actor.status()).errors == ()
        senses.hold.clear()
        await until(lambda: actor._sensing.hanging())
        await actor.end()  # does not wait for it
        assert "the store is not closed: collector test" in actor.last_error
        senses.hold.set()


async def test_samples_from_elsewhere_are_stored_and_live(sit):
    async with sit() as (actor, _):
        assert await actor.ingest([Sample(FED, 5, (0.5,)), Sample(FED, 6, (0.25,))]) == 2
        (batch,) = await actor.query("feed.x", 0, MAX_T_NS, 0)
        assert batch.column("value").tolist() == [0.5, 0.25]
        assert [s.values for s in await actor.latest(["feed.x"])] == [(0.25,)]
        with pytest.raises(VagusError, match="at most"):
            await actor.ingest([Sample(FED, 7, (1.0,))] * 100_001)


async def test_news_of_actors_is_stored_once_reported_and_shown(sit):
    died = Event(10, "actor.died", "n1", Level.ERROR, "vagus:supervisor", {"actor": "vagus:observer@n1"})
    roster = [
        ActorStatus("vagus:observer@n1", "observer", "n1", "HEALTHY", pid=7, restarts=1, last_error="kill -9"),
        ActorStatus("vagus:feed@n1", "feed", "n1", "UNHEALTHY", last_error="it does not start"),
    ]
    async with sit() as (actor, neighbours):
        await actor.set_roster(roster, [died])
        await actor.set_roster(roster, [died])  # a supervisor that timed out tells again
        assert await actor.records("event", 0, MAX_T_NS, 9) == [died]
        status = await actor.status()
        assert [a.name for a in status.actors] == ["vagus:collector@n1", "vagus:feed@n1", "vagus:observer@n1"]
        assert status.actors[2].notes == ("restarted 1 x, last: kill -9",)
        assert status.errors == ("vagus:feed@n1: UNHEALTHY it does not start",)
        assert (status.inferences, status.unhealthy) == (1, ("db",))
        await until(lambda: any(r.subject == "vagus:feed@n1" for r in neighbours.reports))
        alive = {r.subject: r.contexts["alive"].status for r in neighbours.reports if "alive" in r.contexts}
        assert alive == {"vagus:observer@n1": Status.HEALTHY, "vagus:feed@n1": Status.DEAD}


async def test_status_says_who_does_not_answer_and_that_nobody_supervises(sit, monkeypatch):
    monkeypatch.setattr("vagus.actors.roster.UNSUPERVISED_S", 0.0)
    async with sit() as (actor, neighbours):
        await actor.set_roster([ActorStatus("vagus:observer@n1", "observer", "n1", "HEALTHY", pid=7)], ())
        neighbours.away = {"vagus:observer@n1"}
        status = await actor.status()
        assert status.actors[1].state == "UNHEALTHY"
        assert any("vagus:observer@n1 is away" in e for e in status.errors)
        assert any("nothing heard from the supervisor" in e for e in status.errors)


async def test_decisions_reach_the_learner_before_their_rewards_and_wait_while_it_is_away(sit):
    async with sit() as (actor, neighbours):
        neighbours.away = {"vagus:decide@n1"}
        decisions = [decision(i) for i in range(3)]
        for made in decisions:
            actor.decided(made)
        with pytest.raises(PeerUnreachable):
            await actor.reward([Reward("d0", 1, 1.0)])
        assert actor.figures()["waiting"] >= 3
        neighbours.away = set()
        assert await actor.reward([Reward("d0", 1, 1.0)]) == [Ack.ACCEPTED]
        assert neighbours.decisions == decisions
        assert neighbours.order.index("decided") < neighbours.order.index("rewarded")


async def test_many_reports_go_in_calls_that_an_observer_takes(sit):
    async with sit() as (actor, neighbours):
        made = [Report("me", "db", i + 1, {"read": Metric(Status.HEALTHY)}) for i in range(12_000)]
        answers = await asyncio.gather(*(actor.report(made[i : i + 4000]) for i in range(0, 12_000, 4000)))
        assert sum(map(len, answers)) == 12_000
        assert [r for r in neighbours.reports if r.observer == "me"] == made


async def test_while_the_observer_is_away_the_newest_reports_are_kept(sit, monkeypatch):
    monkeypatch.setattr("vagus.actors.outbox.MAX_REPORTS", 3)
    async with sit() as (actor, neighbours):
        neighbours.away = {"vagus:observer@n1"}
        box = actor._outbox
        for i in range(5):
            box.note([Report("me", f"s{i}", 1, {"read": Metric(Status.HEALTHY)})])
            await box.flush_reports()
        neighbours.away = set()
        await box.flush_reports()
        mine = [r.subject for r in neighbours.reports if r.observer == "me"]
        assert mine == ["s2", "s3", "s4"]


async def test_a_step_of_the_clock_is_an_event(sit, monkeypatch):
    async with sit() as (actor, _):
        await until(lambda: actor.figures()["ticks"] >= 1)
        await until(lambda: not actor._sensing._began_s)
        before = actor._sensing._check_clock(0)
        assert before != 0
        await actor._sensing.sync()
        stepped = [e for e in await actor.records("event", 0, MAX_T_NS, 9) if e.event == "clock.stepped"]
        assert len(stepped) == 1
        assert stepped[0].fields["by_s"] == pytest.approx(before / 1e9)


@pytest.mark.parametrize(
    ("now", "last", "then"),
    [(10, 0, 20), (19, 10, 20), (19, 20, 30), (20, 20, 30), (3, 50, 10)],
    ids=["first", "next", "woken early", "on time", "clock went back"],
)
def test_no_tick_twice(now, last, then):
    assert next_tick(now, last, 10) == then


def decision(number: int) -> Decision:
    return Decision(f"d{number}", 1, "", "a", 0.5, 0)


async def test_a_line_of_a_log_becomes_an_event_and_through_a_filter_a_report(tmp_path: Path) -> None:
    log = tmp_path / "kern.log"
    log.write_text("")
    collect = CollectSettings(period_s=0.05, collectors=("logs",), logs=(str(log),), log_filters=("kernel",))
    config = Config(gateway=GatewaySettings(port=0), collect=collect)
    links = Neighbours()
    actor = CollectorActor(Seat("collector", "n1", str(tmp_path), config, options={"token": TOKEN}), links)
    await actor.begin()
    try:
        await until(lambda: actor.figures()["ticks"] > 0)  # the file is known now; what comes later is read
        with open(log, "a") as file:
            now = time.strftime("%b %e %H:%M:%S")  # the report is of the line's time, and an old one says nothing
            file.write(f"{now} n1 kernel: Out of memory: Killed process 4711 (db) total-vm:1kB, anon-rss:1kB\n")
        await until(lambda: any(r.observer == "kernel@n1" for r in links.reports))
        (report,) = [r for r in links.reports if r.observer == "kernel@n1"]
        assert report.subject == "host@n1"
        assert all(m.status > Status.PENDING for m in report.contexts.values())
        # the event is of when the line was read, which may be a second after what the line says
        lines = [e for e in await actor.records("event", 0, time.time_ns() + 10**9, 100) if e.event == "log.line"]
        assert ["Killed process 4711" in str(e.fields["text"]) for e in lines] == [True]
    finally:
        await actor.end()


async def test_the_directory_has_leases_sources_and_what_actors_offer(sit):
    async with sit() as (actor, _):
        await until(lambda: actor.figures()["ticks"] >= 2)
        now_ns = time.time_ns()
        sent = [Sample(Stream("n1", "app.x", (Field("x"),)), now_ns, (1.0,))]
        await actor.take(Principal("token", "web"), sent, ())
        hour_ago = Sample(Stream("n1", "app.old", (Field("x"),)), now_ns - 3600 * 10**9, (1.0,))
        await actor.ingest([hour_ago])
        found = {s.stream.kind: s for s in await actor.sensors("*")}
        assert {k: s.source for k, s in found.items()} == {
            "test.count": "test",
            "collector.run": "",
            "app.x": "token:web",
            "app.old": "",
        }
        assert found["test.count"].expires_ns >= now_ns + 50 * 10**9
        assert found["test.count"].online == actor._url
        assert (found["app.old"].live, found["app.old"].expires_ns, found["app.old"].online) == (False, 0, "")

        names = ["vagus:collector@n1", "vagus:observer@n1", "vagus:feed@n1"]
        roster = [ActorStatus(n, n.split(":")[1].split("@")[0], "n1", "HEALTHY", since_ns=now_ns) for n in names]
        started = Event(now_ns - 9, "actor.started", "n1", fields={"actor": "vagus:feed@n1"})
        died = Event(now_ns, "actor.died", "n1", fields={"actor": "vagus:feed@n1", "reason": "killed"})
        await actor.set_roster(roster, [started, died])
        status, answer = await get(actor, "/v1/directory?history=1")
        assert status == 200
        entries = {(e["type"], e["name"], e["live"]) for e in answer["entries"]}
        assert entries >= {
            ("gateway", "vagus:collector@n1", True),
            ("observer", "vagus:observer@n1", True),
            ("feed", "uptime", True),
            ("feed", "uptime", False),
            ("stream", "test.count", True),
            ("stream", "app.old", False),
        }
        await actor.set_roster(roster[:2], [])
        _, answer = await get(actor, "/v1/directory?type=feed")
        assert (answer["entries"], answer["ended"]) == ([], 2)
        status, answer = await get(actor, "/v1/path?from=n1&to=127.0.0.1")
        assert (status, answer["reached"]) == (200, True)
        assert answer["hops"][0]["name"] == "n1"
