"""The traces actor with a real collector and a real observer in one process: spans in, verdicts out, state kept."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from observers import KEY, statuses, until

from vagus.actors import traces as traces_module
from vagus.actors.base import Actor, Seat
from vagus.actors.collector import CollectorActor
from vagus.actors.observer import ObserverActor
from vagus.actors.traces import STATE, TracesActor
from vagus.clock import NS
from vagus.config import CollectSettings, Config, GatewaySettings, LocaliseSettings, TraceSettings
from vagus.controllers.localise import Ranking, Suspect
from vagus.errors import ConfigError, NoData, PeerUnreachable
from vagus.model import Event, Field, Kind, Sample, Span, Status, Stream
from vagus.store import Store

WEB, CART, DB = "web-1", "cart-1", "db-1"
CPU = Stream("n1", "cgroup.cpu", (Field("usage_us", "us", "u8", True),), {"cgroup": "shop/cart"})


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces_module, "STEP_S", 0.02)
    monkeypatch.setattr(traces_module, "HEAR_S", 0.05)


class Here:
    """Links between actors of this process."""

    def __init__(self) -> None:
        self.actors: dict[str, Actor] = {}
        self.away: set[str] = set()

    def nodes(self) -> tuple[str, ...]:
        return ("n1",)

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        if actor in self.away or actor not in self.actors:
            raise PeerUnreachable(f"{actor} is away")
        return await asyncio.wait_for(getattr(self.actors[actor], method)(*args), timeout_s)


def config(tmp_path: Path, localise: dict[str, Any] | None = None, **traces: Any) -> Config:
    settings = {"every": "50ms", "window": "400ms", "normal": "10m", "least": 10, **(localise or {})}
    return Config(
        gateway=GatewaySettings(port=0),
        collect=CollectSettings(collectors=()),
        traces=TraceSettings(**{"wait": "20ms", "localise": LocaliseSettings(**settings), **traces}),
    )


@asynccontextmanager
async def running(tmp_path: Path, settings: Config, *roles: str) -> AsyncIterator[Here]:
    here = Here()
    made = {"observer": ObserverActor, "collector": CollectorActor, "traces": TracesActor}
    async with AsyncExitStack() as stack:
        for role in roles or made:
            options = {"token": "t" * 32, "head": "n1", "key": KEY}
            actor = made[role](Seat(role, "n1", str(tmp_path), settings, options=options), here)
            here.actors[actor.seat.name] = actor
            await actor.begin()
            stack.push_async_callback(actor.end)
        yield here


def the(here: Here, role: str) -> Any:
    return here.actors[f"vagus:{role}@n1"]


def request(number: int, cart_ms: float = 5.0) -> list[Span]:
    """web calls cart, then db; it ended just now."""
    trace, end_ns = f"{number:032x}", time.time_ns()
    begin_ns = end_ns - round((cart_ms + 8.0) * 1e6)
    at = [0.0, 1.0, 2.0, 2.0 + cart_ms, 3.0 + cart_ms, 4.0 + cart_ms, 6.0 + cart_ms, 7.0 + cart_ms, 8.0 + cart_ms]
    when = [begin_ns + round(ms * 1e6) for ms in at]
    made = (
        ("1", "", "web", WEB, "GET /", when[0], when[8], Kind.SERVER),
        ("2", "1", "web", WEB, "cart", when[1], when[4], Kind.CLIENT),
        ("3", "2", "cart", CART, "add", when[2], when[3], Kind.SERVER),
        ("4", "1", "web", WEB, "db", when[5], when[7], Kind.CLIENT),
        ("5", "4", "db", DB, "read", when[5] + 500_000, when[6], Kind.SERVER),
    )
    return [Span(trace, number_ * 16, parent * 16, *rest, node="n1") for number_, parent, *rest in made]


class Load:
    """Requests one after the other into a traces actor, for ever or until it is enough."""

    def __init__(self, actor: TracesActor) -> None:
        self.actor = actor
        self.cart_ms = 5.0
        self.sent = 0

    async def until(self, holds: Callable[[], Any], within_s: float = 20.0) -> None:
        deadline = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < deadline, f"timed out: {holds}; {self.actor.figures()}; {self.actor.last_error}"
            self.sent += 1
            jitter_ms = (self.sent * 7 % 10) / 10
            await self.actor.spans(request(self.sent, self.cart_ms + jitter_ms))
            await asyncio.sleep(0.005)


async def normal(load: Load) -> None:
    """Until it knows what is usual."""
    await load.until(lambda: load.actor._latest is not None and not load.actor._latest.slow)
    await load.until(lambda: load.actor.figures()["rankings"] >= 5)


async def test_a_component_that_becomes_slow_is_accused_and_recovers(tmp_path: Path) -> None:
    async with running(tmp_path, config(tmp_path)) as here:
        load = Load(the(here, "traces"))
        observer = the(here, "observer")
        await normal(load)
        assert load.actor.notes() == ()
        assert CART not in statuses(observer)
        load.cart_ms = 60.0
        await load.until(lambda: statuses(observer).get(CART) is Status.UNHEALTHY)
        assert statuses(observer).get(DB) is None
        assert any(CART in note for note in load.actor.notes())
        (ranking, *_) = await the(here, "collector").rankings(0, 10)
        assert (ranking.slow, ranking.suspects[0].component) == (True, CART)
        load.cart_ms = 5.0
        await load.until(lambda: statuses(observer).get(CART) is Status.HEALTHY)
        assert load.actor.notes() == ()
        figures = load.actor.figures()
        assert (figures["spans_dropped"], figures["spans"]) == (0, 5 * load.sent)
        assert figures["traces"] > 0
        assert load.actor.last_error == ""
        stored = await the(here, "collector").records("event", 0, time.time_ns(), 100, "localise.ranked")
        assert CART in {event.fields.get("component") for event in stored}


async def test_an_objective_is_judged_by_entry(tmp_path: Path) -> None:
    async with running(tmp_path, config(tmp_path, {"slo_ms": 40.0})) as here:
        load = Load(the(here, "traces"))
        observer = the(here, "observer")
        await normal(load)
        load.cart_ms = 60.0
        await load.until(lambda: statuses(observer).get("entry:web GET /") is Status.UNHEALTHY)
        load.cart_ms = 5.0
        await load.until(lambda: statuses(observer).get("entry:web GET /") is Status.HEALTHY)


async def test_signals_of_the_components_place_reach_the_localiser(tmp_path: Path, monkeypatch) -> None:
    given: list[Any] = []
    settings = config(tmp_path, {"places": {"cart": "cgroup:shop/cart"}})
    async with running(tmp_path, settings) as here:
        actor, collector = the(here, "traces"), the(here, "collector")
        rank = actor._localiser.rank

        def watched(now_ns: int, signals: Any) -> Any:
            given.append(signals)
            return rank(now_ns, signals)

        monkeypatch.setattr(actor._localiser, "rank", watched)
        load, used, before_ns = Load(actor), 0, time.time_ns()

        async def use(cores: float, holds: Callable[[], Any]) -> None:
            nonlocal used, before_ns
            while not holds():
                now_ns = time.time_ns()
                used += round(cores * (now_ns - before_ns) / 1000)
                before_ns = now_ns
                await collector.ingest([Sample(CPU, now_ns, (used,))])
                sent = load.sent + 3
                await load.until(lambda sent=sent: load.sent >= sent)

        await use(0.2, lambda: given and 0.5 < given[-1].get(CART, {}).get("cpu", 0.0) < 2)
        await use(2.0, lambda: given[-1].get(CART, {}).get("cpu", 0.0) > 3)


async def test_injections_train_and_the_state_survives(tmp_path: Path) -> None:
    settings = config(tmp_path)
    async with running(tmp_path, settings) as here:
        load = Load(the(here, "traces"))
        await normal(load)
        fields = {"id": "i1", "resource": "cpu", "component": CART, "duration_s": 60.0}
        await the(here, "collector").told([Event(time.time_ns(), "inject.begin", "n1", fields=fields)])
        load.cart_ms = 60.0
        ranked = load.actor.figures()["rankings"] + 15
        await load.until(lambda: load.actor.figures()["rankings"] >= ranked)
        await the(here, "collector").told([Event(time.time_ns(), "inject.end", "n1", fields=fields)])
        await load.until(lambda: load.actor.figures()["labels"] == 1)
        assert load.actor.figures()["label_rows"] > 0
        await load.until(lambda: any(s.probability is not None for s in load.actor._latest.suspects))
        await load.until(lambda: statuses(the(here, "observer")).get(CART) is Status.UNHEALTHY)
    async with running(tmp_path, settings) as here:
        load = Load(the(here, "traces"))
        assert load.actor._reports.subjects == (CART,)
        assert load.actor._latest is not None
        assert load.actor._heard["n1"]
        assert load.actor._localiser._svm.trained
        # what is normal is still known: no minutes of learning, and the recovery is said
        await load.until(lambda: statuses(the(here, "observer")).get(CART) is Status.HEALTHY)


async def test_an_injection_that_ends_while_it_is_away_is_learned_later(tmp_path: Path) -> None:
    settings = config(tmp_path)
    async with running(tmp_path, settings, "collector", "traces") as here:
        await until(lambda: the(here, "traces")._hearing)
        fields = {"id": "i0", "resource": "cpu", "component": CART, "duration_s": 1.0}
        await the(here, "collector").told([Event(time.time_ns(), "inject.end", "n1", fields=fields)])
        await until(lambda: the(here, "traces").figures()["labels"] == 1)
    async with running(tmp_path, settings, "collector") as here:
        late = {**fields, "id": "i1"}
        await the(here, "collector").told([Event(time.time_ns(), "inject.end", "n1", fields=late)])
    async with running(tmp_path, settings, "collector", "traces") as here:
        await until(lambda: the(here, "traces").figures()["labels"] == 1)


async def test_a_damaged_state_is_told_and_it_begins_afresh(tmp_path: Path) -> None:
    settings = config(tmp_path)
    seat = Seat("traces", "n1", str(tmp_path), settings)
    for damaged in (b"\xc1 no JSON", b"[]", b'{"localiser": 5, "signals": 5, "accused": 5, "heard": 5}'):
        seat.store_path.parent.mkdir(parents=True, exist_ok=True)
        with Store.open(seat.store_path, create=True) as store:
            store.save(STATE, damaged)
            store.flush()
        async with running(tmp_path, settings, "traces") as here:
            assert "afresh" in the(here, "traces").last_error
            assert await the(here, "traces").spans(request(1)) == 5


async def test_a_files_healthy_period_is_learned_once(tmp_path: Path) -> None:
    rows = ["TraceID,SpanID,ParentID,PodName,OperationName,StartTimeUnixNano,EndTimeUnixNano"]
    for number in range(30):
        rows += [
            f"{s.trace_id},{s.span_id},{s.parent_id or 'root'},{s.component},{s.operation},{s.start_ns},{s.end_ns}"
            for s in request(number)
        ]
    normal_file = tmp_path / "normal.csv"
    normal_file.write_text("\n".join(rows) + "\n")
    settings = config(tmp_path, {"normal_file": str(normal_file)})
    for _ in range(2):
        async with running(tmp_path, settings, "traces") as here:
            assert the(here, "traces")._localiser.reference.requests == 30
    normal_file.write_text("\n".join(rows[:51]) + "\n")  # another one
    async with running(tmp_path, settings, "traces") as here:
        assert the(here, "traces")._localiser.reference.requests == 10
        assert the(here, "traces").last_error == ""
    normal_file.write_text(rows[0] + "\n")
    with pytest.raises(ConfigError, match="holds no request"):
        async with running(tmp_path, settings, "traces"):
            pass
    with pytest.raises(ConfigError, match=r"nope\.csv: No such file"):
        async with running(tmp_path, config(tmp_path, {"normal_file": "/nope.csv"}), "traces"):
            pass


async def test_what_waits_is_bounded_and_what_is_dropped_is_counted(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(traces_module, "MAX_QUEUED", 12)
    async with running(tmp_path, config(tmp_path), "traces") as here:
        actor = the(here, "traces")
        assert [await actor.spans(request(i)) for i in range(4)] == [5, 5, 2, 0]
        assert actor.figures()["spans_dropped"] == 8
        await until(lambda: actor.figures()["spans_queued"] == 0)
        assert await actor.spans(request(9)) == 5


async def test_late_and_lost_spans(tmp_path: Path) -> None:
    async with running(tmp_path, config(tmp_path), "traces") as here:
        actor = the(here, "traces")
        root, calls_cart, cart, calls_db, db = request(1)
        await actor.spans([db, cart, root])  # what is between is lost at first
        await until(lambda: actor.figures()["traces"] == 1)
        await actor.spans([calls_cart, calls_db])
        await until(lambda: actor.figures()["trace_graphs_again"] == 1)
        figures = actor.figures()
        assert (figures["traces"], figures["trace_late"], figures["spans"]) == (1, 2, 5)
        await actor.spans([cart, cart])
        await until(lambda: actor.figures()["trace_duplicates"] == 2)
        assert actor.last_error == ""


async def test_components_are_bounded(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(traces_module, "MAX_COMPONENTS", 2)
    async with running(tmp_path, config(tmp_path), "traces") as here:
        load = Load(the(here, "traces"))
        await load.until(lambda: load.actor.figures()["traces"] >= 1)
        assert load.actor.figures()["components"] == 2


async def test_an_observer_that_is_away_gets_its_reports_later(tmp_path: Path) -> None:
    async with running(tmp_path, config(tmp_path)) as here:
        load = Load(the(here, "traces"))
        await normal(load)
        here.away = {"vagus:observer@n1"}
        load.cart_ms = 60.0
        await load.until(lambda: load.actor._outbox.waiting)
        here.away = set()
        await load.until(lambda: statuses(the(here, "observer")).get(CART) is Status.UNHEALTHY)


async def test_rankings_are_kept_and_bounded(tmp_path: Path) -> None:
    settings = config(tmp_path, {"every": "1h"})
    async with running(tmp_path, settings, "collector", "traces") as here:
        actor = the(here, "traces")
        assert await actor.rankings(0, 10) == []
        for at in range(3):
            ranking = Ranking((100 + at) * NS, (Suspect("a", 1.0),), 20, True, 1.0, 2.0, math.nan, math.nan)
            actor._store.put("ranking", ranking, t_ns=ranking.t_ns)
        actor._store.flush()
        actor._latest = ranking
        assert [r.t_ns // NS for r in await actor.rankings(0, 1000)] == [102, 101, 100]
        assert [r.t_ns // NS for r in await actor.rankings(101 * NS, 10)] == [102, 101]
        assert [r.t_ns // NS for r in await actor.rankings(0, 1)] == [102]


async def test_without_localisation_the_gateway_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, config(tmp_path, {"on": False})) as here:
        await the(here, "traces").spans(request(1))
        await until(lambda: the(here, "traces").figures()["traces"] == 1)
        with pytest.raises(NoData, match=r"vagus\.yaml"):
            await the(here, "collector").rankings(0, 1)
