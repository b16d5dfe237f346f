"""Spans in the collector actor: two of them linked in one process, real stores and gateways, the real exporter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace

from vagus.access import CLUSTER, Principal
from vagus.actors import span_outbox, span_records
from vagus.actors.base import Seat
from vagus.actors.collector import CollectorActor
from vagus.actors.span_outbox import SpanOutbox
from vagus.actors.span_records import SpanIndex
from vagus.client.endpoint import Endpoint
from vagus.client.span import span
from vagus.client.tracer import Tracer
from vagus.client.transport import SpanPost
from vagus.clock import SystemClock
from vagus.config import AccessRule, CollectSettings, Config, GatewaySettings
from vagus.config.act import TraceSettings
from vagus.errors import PeerUnreachable, VagusError
from vagus.gateway.traces import TraceQuestion
from vagus.model import MAX_T_NS, Ack, Span

TOKEN = "t" * 32
NODES = ("n1", "n2")
MS = 1_000_000


class Cluster:
    """Collectors by node; what the actor that joins is given; what is away."""

    def __init__(self) -> None:
        self.actors: dict[str, CollectorActor] = {}
        self.handed: list[Span] = []
        self.calls: list[str] = []
        self.away: set[str] = {"vagus:observer@n1", "vagus:observer@n2"}
        self.fails: Exception | None = None

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        if actor in self.away:
            raise PeerUnreachable(f"{actor} is away")
        if self.fails is not None:
            raise self.fails
        self.calls.append(actor)
        if actor.startswith("vagus:traces@"):
            assert method == "spans"
            self.handed += args[0]
            return None
        if actor.startswith("vagus:collector@"):
            return await getattr(self.actors[actor.partition("@")[2]], method)(*args)
        raise PeerUnreachable(f"{actor} is not there")

    def nodes(self) -> tuple[str, ...]:
        return tuple(self.actors)


@asynccontextmanager
async def cluster(home: Path, nodes: tuple[str, ...] = NODES, **settings: Any) -> AsyncIterator[Cluster]:
    links = Cluster()
    quiet = CollectSettings(period_s=3600.0, collectors=())
    config = Config(gateway=GatewaySettings(port=0), collect=quiet, **settings)
    try:
        for node in nodes:
            seat = Seat("collector", node, str(home), config, options={"token": TOKEN, "head": "n1"})
            links.actors[node] = CollectorActor(seat, links)
            await links.actors[node].begin()
        yield links
    finally:
        for actor in links.actors.values():
            await actor.end()


def a_span(trace: str, name: str, parent: str = "", service: str = "web", node: str = "n1", **more: Any) -> Span:
    begun_ns = SystemClock().time_ns() - 1000 * MS
    given = {"start_ns": begun_ns, "end_ns": begun_ns + 10 * MS, **more}
    times = (given.pop("start_ns"), given.pop("end_ns"))
    return Span(trace.zfill(32), name.zfill(16), parent, service, f"{service}-1", "op", *times, node=node, **given)


async def get(actor: CollectorActor, path: str) -> Any:
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session,
        session.get(actor._url + path) as response,
    ):
        assert response.status == 200, await response.text()
        return await response.json()


async def test_a_trace_of_two_nodes_is_shown_whole_at_either_and_handed_on(tmp_path):
    async with cluster(tmp_path) as links:
        tracers = {n: Tracer(SpanPost(lambda a=a: Endpoint(a._url, TOKEN)).send) for n, a in links.actors.items()}
        web = span("GET /", service="web", kind="server", tracer=tracers["n1"])
        call = span("call", kind="client", tracer=tracers["n1"])
        with web, call:
            cart = span("GET /cart", service="cart", kind="server", parent=call.context, tracer=tracers["n2"])
            with cart:
                pass
        for tracer in tracers.values():
            assert await asyncio.to_thread(tracer.flush, 10), tracer.last_error
        for actor in links.actors.values():
            trace = (await get(actor, f"/v1/traces/{call.context.trace_id}"))["trace"]
            assert [(s["service"], s["node"]) for s in trace["spans"]] == [("web", "n1")] * 2 + [("cart", "n2")]
            assert (trace["parents"], trace["lost"]) == ([-1, 0, 1], [])
            (listed,) = (await get(actor, "/v1/traces"))["traces"]
            assert (listed["operation"], listed["spans"], listed["nodes"]) == ("GET /", 3, ["n1", "n2"])
            assert listed["slowest"] in trace["critical_ns"]
            await actor._spans.flush()
        assert {s.operation for s in links.handed} == {"GET /", "call", "GET /cart"}
        assert {c for c in links.calls if "traces" in c} == {"vagus:traces@n1"}, "the head joins"
        links.away.add("vagus:collector@n2")
        answer = await get(links.actors["n1"], f"/v1/traces/{call.context.trace_id}")
        assert (answer["partial"], answer["missing"][0]["node"]) == (True, "n2")
        assert [s["service"] for s in answer["trace"]["spans"]] == ["web", "web"]


async def test_the_exporter_of_opentelemetry_to_a_real_collector(tmp_path):
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    async with cluster(tmp_path, ("n1",)) as links:
        actor = links.actors["n1"]

        def export() -> bool:
            headers = {"authorization": f"Bearer {TOKEN}"}
            provider = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
            exporter = OTLPSpanExporter(endpoint=f"{actor._url}/v1/traces", headers=headers)
            provider.add_span_processor(BatchSpanProcessor(exporter))
            tracer = provider.get_tracer("t")
            for _ in range(300):
                with tracer.start_as_current_span("outer"), tracer.start_as_current_span("inner"):
                    pass
            done = provider.force_flush()
            provider.shutdown()
            return done

        assert await asyncio.to_thread(export)
        answer = await get(actor, "/v1/traces?limit=1000")
        assert {(t["service"], t["operation"], t["spans"], t["lost"]) for t in answer["traces"]} == {
            ("shop", "outer", 2, 0)
        }
        assert (len(answer["traces"]), answer["more"]) == (300, False)
        assert actor.figures()["spans_taken"] == 600


async def test_acknowledged_is_committed_and_survives_a_restart(tmp_path):
    spans = [a_span("1", "1"), a_span("1", "2", "1".zfill(16), "cart"), a_span("2", "3", service="cart")]
    async with cluster(tmp_path, ("n1",)) as links:
        taken = await links.actors["n1"].take_spans(CLUSTER, spans)
        assert set(taken.acks) == {Ack.ACCEPTED}
    async with cluster(tmp_path, ("n1",)) as links:
        actor = links.actors["n1"]
        assert sorted(await actor.spans(["1".zfill(32), "2".zfill(32)], 10), key=lambda s: s.span_id) == spans
        assert len(await actor.spans(["1".zfill(32), "2".zfill(32)], 2)) == 2
        assert await actor.records("span", 0, MAX_T_NS, 9) == spans[::-1]


async def test_the_list_goes_by_first_spans_and_by_what_is_asked_for(tmp_path, monkeypatch):
    now_ns = SystemClock().time_ns()
    spans = []
    for n in range(1, 9):
        begun_ns = now_ns - n * 1000 * MS
        spans.append(a_span(str(n), f"{n}1", f"{n}0".zfill(16), "cart", start_ns=begun_ns + 1, end_ns=begun_ns + 2))
        if n != 8:  # of which the first span is lost
            spans.append(a_span(str(n), f"{n}0", "", "web", start_ns=begun_ns, end_ns=begun_ns + n * MS))
    async with cluster(tmp_path, ("n1",)) as links:
        actor = links.actors["n1"]
        await actor.take_spans(CLUSTER, spans)

        async def ask(limit: int = 100, **more: Any) -> tuple[list[str], bool]:
            found = await actor.traces(TraceQuestion(0, MAX_T_NS, limit, **more))
            return [trace_id.lstrip("0") for _, trace_id in found.traces], found.whole

        assert await ask() == (list("12345678"), True)
        assert await ask(3) == (list("123"), False)
        assert await ask(service="cart") == (list("12345678"), True)
        assert await ask(service="cart", operation="none") == ([], True)
        assert await ask(operation="op", limit=2) == (list("12"), False)
        assert (await ask(least_ns=6 * MS))[0] == list("678"), "the lost first span may have been long"
        assert await ask(service="nobody") == ([], True)
        monkeypatch.setattr(span_records, "MAX_LOOKED_AT", 4)
        found, whole = await ask()
        assert whole is False
        assert set(found) <= set("1234")


async def test_refusals_of_others_spans(tmp_path):
    rule = AccessRule(who=("uid:1000",), send=("span.web",))
    async with cluster(tmp_path, ("n1",), access=(rule,)) as links:
        shop = Principal("uid", "1000")
        late_ns = SystemClock().time_ns() + 7200 * 10**9
        spans = [
            a_span("1", "1"),
            a_span("1", "2", service="pay"),
            a_span("1", "3", node="n2"),
            a_span("1", "4", start_ns=late_ns, end_ns=late_ns),
        ]
        taken = await links.actors["n1"].take_spans(shop, spans)
        assert [ack is Ack.ACCEPTED for ack in taken.acks] == [True, False, False, False]
        assert any("uid:1000 may not send 'span.pay'" in reason for reason in taken.reasons)
        assert [s.span_id for s in await links.actors["n1"].spans(["1".zfill(32)], 9)] == ["1".zfill(16)]


async def test_where_traces_are_off_spans_are_stored_and_not_handed_on(tmp_path):
    async with cluster(tmp_path, ("n1",), traces=TraceSettings(on="off")) as links:
        await links.actors["n1"].take_spans(CLUSTER, [a_span("1", "1")])
        assert len(await links.actors["n1"].spans(["1".zfill(32)], 9)) == 1
        assert "spans_told" not in links.actors["n1"].figures()
    assert links.handed == []


async def test_old_spans_go_with_the_other_records(tmp_path):
    async with cluster(tmp_path, ("n1",)) as links:
        actor = links.actors["n1"]
        old_ns = SystemClock().time_ns() - 400 * 86400 * 10**9
        await actor.take_spans(CLUSTER, [a_span("1", "1", start_ns=old_ns, end_ns=old_ns + 1), a_span("2", "2")])
        await actor._opened.retain()
        assert await actor.spans(["1".zfill(32)], 9) == []
        found = await actor.traces(TraceQuestion(0, MAX_T_NS, 9))
        assert [trace_id for _, trace_id in found.traces] == ["2".zfill(32)]


async def test_while_the_joining_actor_is_away_the_newest_spans_wait(monkeypatch):
    monkeypatch.setattr(span_outbox, "MAX_WAITING", 5)
    monkeypatch.setattr(span_outbox, "MAX_BATCH", 2)
    links = Cluster()
    links.away.add("vagus:traces@n1")
    box = SpanOutbox("vagus:traces@n1", links)
    spans = [a_span("1", str(n + 1)) for n in range(8)]
    box.take(spans[:4])
    await box.flush()
    box.take(spans[4:])
    assert (box.waiting, box.dropped) == (5, 3)
    links.away.clear()
    await asyncio.gather(box.flush(), box.flush())
    assert links.handed == spans[3:]
    assert box.figures() == {"spans_told": 5.0, "spans_waiting": 0.0, "spans_dropped": 3.0}
    links.fails = VagusError("it chokes on this one")
    box.take(spans[:2])
    with pytest.raises(VagusError, match="chokes"):
        await box.flush()
    assert (box.waiting, box.dropped) == (0, 5)


def test_the_index_names_entries_and_forgets_in_bounds(monkeypatch):
    monkeypatch.setattr(span_records, "MAX_RECENT", 4)
    index = SpanIndex()
    child = a_span("1", "2", "1".zfill(16))
    assert index.of(child)["entry"] == "1", "the first that came of its trace"
    assert "entry" not in index.of(child)
    assert index.of(replace(child, parent_id=""))["entry"] == "1"
    for n in range(2, 20):
        index.of(a_span(str(n), "1", "2"))
    assert len(index._recent) <= 4
    assert index.of(child)["entry"] == "1"
