"""POST /v1/traces from OpenTelemetry's own exporter, /api/traces, and traces of a cluster as they are shown."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import NOW_NS, TOKEN, MemoryBackend, serving

from vagus.clock import SystemClock
from vagus.config import AccessRule
from vagus.errors import StoreError
from vagus.inputs.jaeger import write_jaeger
from vagus.model import Kind, Span

MS = 1_000_000
TRACE = "0af7651916cd43dd8448eb211c80319c"


def span(name: str, parent: str, service: str, begin_ms: float, end_ms: float, trace: str = TRACE, **more: Any) -> Span:
    begin_ns = NOW_NS - 60 * 10**9
    times = (begin_ns + round(begin_ms * MS), begin_ns + round(end_ms * MS))
    ids = (trace, name.zfill(16), parent.zfill(16) if parent else "")
    return Span(*ids, service, f"{service}-1", f"{service}/op", *times, **more)


def a_trace(node: str = "a") -> list[Span]:
    """web calls cart, then pay; audit follows."""
    return [
        span("1", "", "web", 0, 100, kind=Kind.SERVER, node=node),
        span("2", "1", "cart", 5, 20, node=node),
        span("3", "1", "pay", 25, 90, node="b", error=True),
        span("4", "3", "audit", 85, 300, node="b", follows=True),
    ]


@pytest.fixture
def backend():
    backend = MemoryBackend()
    web, cart, pay, audit = a_trace()
    backend.spans_of = {"a": [web, cart], "b": [audit, pay]}
    for n in range(30):  # older ones, of one span each
        old = span("1", "", "web", -1000 * (n + 1), -1000 * (n + 1) + n, trace=f"{n + 1:032x}", node="a")
        backend.spans_of["a"].append(old)
    return backend


@pytest.fixture
def served(backend):
    with serving(backend) as running:
        yield running


def test_a_trace_of_two_nodes_is_shown_whole(served):
    status, _, answer = served.ask("GET", f"/v1/traces/{TRACE}")
    assert (status, answer["partial"]) == (200, False)
    trace = answer["trace"]
    assert [s["service"] for s in trace["spans"]] == ["web", "cart", "pay", "audit"]
    assert (trace["parents"], trace["root"], trace["latency_ns"], trace["lost"]) == ([-1, 0, 0, 2], 0, 100 * MS, [])
    assert trace["spans"][2]["error"] is True
    stretches = [(trace["spans"][c["span"]]["service"], c["end_ns"] - c["begin_ns"]) for c in trace["critical"]]
    assert stretches == [(w, ms * MS) for w, ms in (("web", 5), ("cart", 15), ("web", 5), ("pay", 65), ("web", 10))]
    assert trace["critical_ns"] == {"web-1": 20 * MS, "cart-1": 15 * MS, "pay-1": 65 * MS}


def test_a_node_that_hangs_is_waited_for_once_not_for_each_part_of_the_list(backend):
    asked = []

    async def ask(node, method, args):
        asked.append((node, method))
        await asyncio.Event().wait()

    backend.ask = ask
    backend.spans_of["a"] = [span(f"{n:016x}", "", "web", 0, 1, trace=f"{n:032x}") for n in range(1, 301)]
    with serving(backend, timeout_s=0.2) as running:
        status, _, answer = running.ask("GET", "/v1/traces?errors=true")
    assert (status, answer["partial"], [m["node"] for m in answer["missing"]]) == (200, True, ["b"])
    assert asked == [("b", "traces")]


def test_an_unknown_trace_and_a_missing_node(served):
    status, _, answer = served.ask("GET", f"/v1/traces/{'9' * 32}")
    assert (status, answer["error"]["code"]) == (404, "no_data")
    served.backend.peers = ("b", "c")
    answer = served.ask("GET", f"/v1/traces/{TRACE}")[2]
    assert (answer["partial"], [m["node"] for m in answer["missing"]]) == (True, ["c"])
    assert "did not answer: c" in served.ask("GET", "/v1/traces/none")[2]["error"]["message"]
    assert served.ask("GET", f"/v1/traces/{TRACE}?node=a")[2]["trace"]["spans"][1]["service"] == "cart"
    listed = served.ask("GET", "/v1/traces?limit=1")[2]
    assert (listed["partial"], listed["missing"][0]["node"]) == (True, "c")


def test_the_list_is_newest_first_and_says_what_held_a_request_up(served):
    answer = served.ask("GET", "/v1/traces?limit=2")[2]
    newest, second = answer["traces"]
    assert answer["more"] is True
    assert newest == {
        "trace_id": TRACE,
        "t_ns": a_trace()[0].start_ns,
        "service": "web",
        "operation": "web/op",
        "latency_ns": 100 * MS,
        "spans": 4,
        "services": 4,
        "errors": 1,
        "lost": 0,
        "slowest": "pay-1",
        "slowest_ns": 65 * MS,
        "nodes": ["a", "b"],
    }
    assert second["trace_id"] == f"{1:032x}"
    whole = served.ask("GET", "/v1/traces?limit=100")[2]
    assert (len(whole["traces"]), whole["more"]) == (31, False)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("service=pay", 1),
        ("service=web&limit=100", 31),
        ("service=web&operation=pay/op", 0),
        ("operation=audit/op", 1),
        ("errors=1", 1),
        ("least=50ms", 1),
        ("least=20ms&limit=100", 11),
        ("since=61s", 1),
        ("since=10s", 0),
        ("node=b", 1),
        (f"end={NOW_NS - 62 * 10**9}&start={NOW_NS - 64 * 10**9}", 2),
    ],
)
def test_what_is_asked_for(served, query, count):
    status, _, answer = served.ask("GET", f"/v1/traces?{query}")
    assert (status, len(answer["traces"])) == (200, count)


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "least=fast", "sevice=web", "errors=perhaps", "start=now"])
def test_malformed_questions(served, query):
    assert served.ask("GET", f"/v1/traces?{query}")[0] == 422


def test_the_rest_of_the_filtered_is_looked_for_in_chunks(backend):
    from vagus.gateway import routes_traces

    backend.spans_of["a"][2:] = [
        span("1", "", "web", -n - 1, -n - 1 + (50 if n % 100 == 99 else 1), trace=f"{n + 1:032x}") for n in range(300)
    ]
    with serving(backend) as served:
        answer = served.ask("GET", "/v1/traces?least=40ms&limit=2")[2]
        assert [t["latency_ns"] for t in answer["traces"]] == [100 * MS, 50 * MS]
        assert answer["more"] is True
        routes_traces.MAX_SPANS, most = 3, routes_traces.MAX_SPANS  # an answer that was cut is asked for in halves
        try:
            assert len(served.ask("GET", "/v1/traces?limit=20")[2]["traces"]) == 20
            assert served.ask("GET", f"/v1/traces/{TRACE}")[2]["cut"] is False
            backend.spans_of["b"].append(span("9", "3", "more", 30, 31))
            assert served.ask("GET", f"/v1/traces/{TRACE}")[2]["cut"] is True
        finally:
            routes_traces.MAX_SPANS = most


def test_msgpack_is_native(served):
    headers = {"Accept": "application/msgpack"}
    _, _, answer = served.ask("GET", f"/v1/traces/{TRACE}", headers=headers)
    found = msgspec.msgpack.decode(answer)["trace"]["spans"]
    assert msgspec.convert(found, list[Span]) == a_trace()


def test_rules_of_access():
    rules = (AccessRule(who=("token:cluster",), send=("span.web",), read=("span.web", "span.pay")),)
    backend = MemoryBackend()
    backend.spans_of = {"a": a_trace()[:2], "b": a_trace()[2:]}
    with serving(backend, access=rules) as served:
        answer = served.ask("GET", f"/v1/traces/{TRACE}")[2]
        assert [s["service"] for s in answer["trace"]["spans"]] == ["web", "pay"]
        assert answer["refused"] == ["span.audit", "span.cart"]
        assert served.ask("GET", "/v1/traces")[2]["traces"][0]["spans"] == 2
        backend.spans_of = {"a": a_trace()[1:2], "b": []}
        assert served.ask("GET", f"/v1/traces/{TRACE}")[0] == 403
        assert served.ask("GET", "/v1/traces")[0] == 403


# --- in --------------------------------------------------------------------------------------------------------------


def test_jaeger_json_comes_in(backend):
    backend.spans_of = {"a": [], "b": []}
    with serving(backend) as served:
        body = write_jaeger(a_trace())
        body["data"][0]["spans"][1]["spanID"] = "nope"
        packed = gzip.compress(json.dumps(body).encode())
        status, _, answer = served.ask("POST", "/api/traces", packed, headers={"Content-Encoding": "gzip"})
        assert (status, answer["accepted"], answer["rejected"]) == (200, 3, 1)
        assert "'nope'" in answer["reasons"][0]
        assert [s.service for s in backend.spans_of["a"]] == ["web", "pay", "audit"]
        assert {s.node for s in backend.spans_of["a"]} == {"a"}
        assert served.ask("POST", "/api/traces", {"data": []})[2]["accepted"] == 0
        assert served.ask("POST", "/api/traces", {"dat": []})[0] == 400
        late = {"data": [{"traceID": "1", "spans": [{"spanID": "1", "startTime": (NOW_NS // 1000) + 3_700_000_000}]}]}
        status, _, answer = served.ask("POST", "/api/traces", late)
        assert (status, answer["error"]["code"]) == (422, "refused")
        assert "one hour ahead" in answer["error"]["message"]
        backend.broken = StoreError("the disk is full")
        assert served.ask("POST", "/api/traces", body)[0] == 503


def test_broken_otlp(served):
    assert served.ask("POST", "/v1/traces", b"{")[0] == 400
    assert served.ask("POST", "/v1/traces", b"\xff", headers={"Content-Type": "application/x-protobuf"})[0] == 400
    assert served.ask("POST", "/v1/traces", b"x", headers={"Content-Type": "text/plain"})[0] == 415
    assert served.ask("POST", "/v1/traces", {})[2] == {}
    assert served.ask("DELETE", "/v1/traces")[1]["Allow"] == "GET, POST"


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_the_exporter_of_opentelemetry(backend, compression):
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    backend.spans_of = {"a": [], "b": []}
    backend.now_ns = time.time_ns()
    with serving(backend, clock=SystemClock()) as served:
        exporter = OTLPSpanExporter(
            endpoint=f"{served.url}/v1/traces",
            headers={"authorization": f"Bearer {TOKEN}"},
            compression=Compression(compression),
        )
        provider = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        tracer = provider.get_tracer("t")
        with tracer.start_as_current_span("outer"), tracer.start_as_current_span("inner"):
            pass
        assert provider.force_flush()
        provider.shutdown()
        (listed,) = served.ask("GET", "/v1/traces")[2]["traces"]
        assert (listed["service"], listed["operation"], listed["spans"]) == ("shop", "outer", 2)
