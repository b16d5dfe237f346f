"""Spans from the bytes of OpenTelemetry's own encoders, from Jaeger's JSON, and from what is neither."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, format_span_id, format_trace_id

from vagus.errors import ConfigError
from vagus.inputs import otlp
from vagus.inputs.jaeger import read_jaeger, write_jaeger
from vagus.inputs.otlp import Rejects
from vagus.inputs.otlp_traces import MAX_ATTRIBUTES, read_traces
from vagus.model import Kind, Span

TRACE, A, B = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"
T0 = 1_700_000_000 * 10**9


def request_of(attributes: dict[str, Any]) -> tuple[Any, list[Any]]:
    """A request of the SDK, and its spans."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource(attributes), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("t")
    with tracer.start_as_current_span("GET /", kind=SpanKind.SERVER, attributes={"http.status": 200, "a": [1, 2]}):
        with tracer.start_as_current_span("call", kind=SpanKind.CLIENT) as call:
            call.set_status(Status(StatusCode.ERROR, "no\nanswer"))
            call.record_exception(TimeoutError("3 s"))
        link = Link(call.get_span_context())
    with tracer.start_as_current_span("later", links=[link]):
        pass
    spans = kept.get_finished_spans()
    return encode_spans(spans), list(spans)


def as_json(request: Any) -> bytes:
    """OTLP's JSON, which is protobuf's but for the ids and the enums."""
    from base64 import b64decode

    from google.protobuf.json_format import MessageToDict

    found = MessageToDict(request, use_integers_for_enums=True)

    def mend(value: Any) -> Any:
        if isinstance(value, dict):
            ids = ("traceId", "spanId", "parentSpanId")
            return {k: b64decode(v).hex().upper() if k in ids else mend(v) for k, v in value.items()}
        return [mend(item) for item in value] if isinstance(value, list) else value

    return json.dumps(mend(found)).encode()


@pytest.mark.parametrize("packed", [True, False])
def test_both_encodings_of_the_sdk_give_the_same_spans(packed):
    attributes = {"service.name": "shop", "host.name": "h1", "k8s.pod.name": "shop-0"}
    request, sdk = request_of(attributes)
    body = request.SerializeToString() if packed else as_json(request)
    rejects = Rejects()
    call, server, later = read_traces(otlp.decode(body, packed, "traces"), "n1", rejects)
    assert rejects.count == 0
    ids = [format_span_id(span.context.span_id) for span in sdk]
    assert [call.span_id, server.span_id, later.span_id] == ids
    assert call.trace_id == server.trace_id == format_trace_id(sdk[0].context.trace_id)
    assert (server.service, server.component, server.node, server.kind) == ("shop", "shop-0", "n1", Kind.SERVER)
    assert (server.parent_id, call.parent_id, call.kind, call.error) == ("", server.span_id, Kind.CLIENT, True)
    assert (server.start_ns, server.end_ns) == (sdk[1].start_time, sdk[1].end_time)
    assert server.attributes == {"http.status": 200, "a": "[1,2]"}
    assert call.attributes == {
        "otel.status_description": "no\nanswer",
        "exception.type": "TimeoutError",
        "exception.message": "3 s",
    }
    assert (later.parent_id, later.follows) == ("", False), "a link to another trace is no parent in this one"


def span_json(**more: Any) -> dict[str, Any]:
    return {
        "traceId": TRACE,
        "spanId": A,
        "name": "op",
        "kind": 2,
        "startTimeUnixNano": str(T0),
        "endTimeUnixNano": str(T0 + 5),
        **more,
    }


def read(*spans: dict[str, Any], resource: dict[str, str] | None = None) -> tuple[list[Span], Rejects]:
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in (resource or {}).items()]
    body = {"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": [{"spans": list(spans)}]}]}
    rejects = Rejects()
    return read_traces(otlp.decode(json.dumps(body).encode(), False, "traces"), "n1", rejects), rejects


@pytest.mark.parametrize(
    ("resource", "who"),
    [
        ({}, ("unknown_service", "unknown_service")),
        ({"service.name": "s"}, ("s", "s")),
        ({"service.name": "s", "host.name": "h"}, ("s", "h")),
        ({"service.name": "s", "host.name": "h", "container.id": "c"}, ("s", "c")),
        ({"service.name": "s", "container.id": "c", "service.instance.id": "i"}, ("s", "i")),
        ({"service.name": "a\nb", "k8s.pod.name": "p" * 300}, ("a?b", "p" * 200)),
    ],
)
def test_who_it_was(resource, who):
    (span,), _ = read(span_json(), resource=resource)
    assert (span.service, span.component) == who


def test_links_into_the_same_trace_and_messages_are_not_waited_for():
    link = {"links": [{"traceId": "f" * 32, "spanId": B}, {"traceId": "none"}, {"traceId": TRACE, "spanId": B}]}
    (linked,), _ = read(span_json(**link))
    assert (linked.parent_id, linked.follows) == (B, True)
    (own,), _ = read(span_json(links=[{"traceId": TRACE, "spanId": A}]))
    assert (own.parent_id, own.follows) == ("", False)
    (called,), _ = read(span_json(parentSpanId="a" * 16, **link))
    assert (called.parent_id, called.follows) == ("a" * 16, False)
    (consumed,), _ = read(span_json(parentSpanId="a" * 16, kind=5))
    assert (consumed.kind, consumed.follows) == (Kind.CONSUMER, True)
    (zeros,), _ = read(span_json(parentSpanId="0" * 16, kind=99))
    assert (zeros.parent_id, zeros.kind) == ("", Kind.INTERNAL)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"traceId": "0" * 32}, "trace id '0000"),
        ({"traceId": TRACE[:-1]}, "trace id '0af7"),
        ({"traceId": "z" * 32}, "trace id 'zzz"),
        ({"traceId": "٣" * 32}, "trace id"),
        ({"traceId": ""}, "trace id ''"),
        ({"spanId": "0" * 16}, "span id '000"),
        ({"parentSpanId": "xyz"}, "span id 'xyz'"),
        ({"endTimeUnixNano": "0"}, "no endTimeUnixNano"),
        ({"startTimeUnixNano": 0}, "no startTimeUnixNano"),
        ({"endTimeUnixNano": str(T0 - 1)}, "ends before it starts"),
        ({"endTimeUnixNano": str(2**63)}, "is not a time between"),
        ({"startTimeUnixNano": -5}, "is not a time between"),
    ],
)
def test_a_span_that_is_none_is_rejected_by_itself(wrong, why):
    spans, rejects = read(span_json(**wrong), span_json(spanId=B))
    assert [span.span_id for span in spans] == [B]
    assert rejects.count == 1
    assert why in rejects.message


def test_what_is_kept_is_bounded_and_empty_names_are_mended():
    many = [{"key": f"k{n}", "value": {"stringValue": "x" * 2000}} for n in range(100)]
    (span,), _ = read(span_json(name="", attributes=many))
    assert len(span.attributes) == MAX_ATTRIBUTES
    assert {len(str(value)) for value in span.attributes.values()} == {500}
    assert span.operation == "?"


def test_partial_success_counts_spans():
    rejects = Rejects()
    rejects.add("because", 3)
    packed = ExportTraceServiceResponse.FromString(otlp.answer(True, "traces", rejects))
    assert (packed.partial_success.rejected_spans, packed.partial_success.error_message) == (3, "because")
    told = json.loads(otlp.answer(False, "traces", rejects))
    assert told == {"partialSuccess": {"rejectedSpans": "3", "errorMessage": "because"}}
    assert otlp.answer(False, "traces", Rejects()) == b"{}"
    assert otlp.answer(True, "traces", Rejects()) == b""


# --- Jaeger ----------------------------------------------------------------------------------------------------------

# as `GET /api/traces/{id}` of Jaeger 1.60 answers for its HotROD example, shortened
HOTROD = {
    "data": [
        {
            "traceID": "5b2b4e6f8c1d2e3f",
            "spans": [
                {
                    "traceID": "5b2b4e6f8c1d2e3f",
                    "spanID": "5b2b4e6f8c1d2e3f",
                    "operationName": "HTTP GET /dispatch",
                    "references": [],
                    "startTime": 1700000000000000,
                    "duration": 734211,
                    "tags": [
                        {"key": "span.kind", "type": "string", "value": "server"},
                        {"key": "http.status_code", "type": "int64", "value": 200},
                        {"key": "internal.span.format", "type": "string", "value": "otlp"},
                    ],
                    "logs": [{"timestamp": 1700000000000100, "fields": [{"key": "event", "value": "x"}]}],
                    "processID": "p1",
                    "warnings": None,
                },
                {
                    "traceID": "5b2b4e6f8c1d2e3f",
                    "spanID": "2f",
                    "operationName": "SQL SELECT",
                    "references": [
                        {"refType": "CHILD_OF", "traceID": "5b2b4e6f8c1d2e3f", "spanID": "5b2b4e6f8c1d2e3f"}
                    ],
                    "startTime": 1700000000001000,
                    "duration": 300000,
                    "tags": [
                        {"key": "span.kind", "type": "string", "value": "client"},
                        {"key": "error", "type": "bool", "value": True},
                    ],
                    "processID": "p2",
                },
                {
                    "traceID": "5b2b4e6f8c1d2e3f",
                    "spanID": "30",
                    "operationName": "audit",
                    "references": [{"refType": "FOLLOWS_FROM", "traceID": "5b2b4e6f8c1d2e3f", "spanID": "2f"}],
                    "startTime": 1700000000400000,
                    "duration": 0,
                    "processID": "p9",
                },
            ],
            "processes": {
                "p1": {"serviceName": "frontend", "tags": [{"key": "hostname", "type": "string", "value": "h1"}]},
                "p2": {"serviceName": "mysql", "tags": []},
            },
            "warnings": None,
        }
    ],
    "total": 0,
    "errors": None,
}


def jaeger(body: Any) -> tuple[list[Span], Rejects]:
    rejects = Rejects()
    return read_jaeger(body if isinstance(body, bytes) else json.dumps(body).encode(), "n1", rejects), rejects


def test_what_jaeger_answers():
    (server, client, audit), rejects = jaeger(HOTROD)
    assert rejects.count == 0
    assert server == Span(
        *("0" * 16 + "5b2b4e6f8c1d2e3f", "5b2b4e6f8c1d2e3f", "", "frontend", "h1", "HTTP GET /dispatch"),
        *(T0, T0 + 734_211_000, Kind.SERVER, False, False, "n1"),
        {"http.status_code": 200, "internal.span.format": "otlp"},
    )
    assert (client.span_id, client.parent_id) == ("0" * 14 + "2f", server.span_id)
    assert (client.service, client.component, client.kind, client.error) == ("mysql", "mysql", Kind.CLIENT, True)
    assert (audit.parent_id, audit.follows, audit.service) == (client.span_id, True, "unknown_service")


def test_bare_traces_lists_and_older_forms():
    trace = HOTROD["data"][0]
    assert jaeger(trace)[0] == jaeger([trace])[0] == jaeger({"data": trace})[0] == jaeger(HOTROD)[0]
    old = {"spanID": "2", "parentSpanID": "1", "startTime": 5, "process": {"serviceName": "s"}}
    (span,), _ = jaeger({"traceID": "abc", "spans": [old]})
    assert (span.trace_id, span.parent_id, span.service) == ("abc".zfill(32), "1".zfill(16), "s")
    assert jaeger({"data": []})[0] == []


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"spanID": ""}, "span id ''"),
        ({"spanID": "not hex"}, "span id 'not hex'"),
        ({"startTime": "soon"}, "Expected `int`"),
        ({"startTime": 10**17}, "is not a time between"),
        ({"duration": -1}, "the duration -1 µs"),
        ({"traceID": "0"}, "trace id '0'"),
        ({"references": [{"refType": "CHILD_OF", "traceID": "1", "spanID": "x"}]}, "span id 'x'"),
    ],
)
def test_a_jaeger_span_that_is_none_is_rejected_by_itself(wrong, why):
    good = {"traceID": "1", "spanID": "2", "startTime": 5, "duration": 1, "operationName": "op"}
    spans, rejects = jaeger({"data": [{"traceID": "1", "spans": [{**good, **wrong}, good]}]})
    assert len(spans) == rejects.count == 1
    assert why in rejects.message


@pytest.mark.parametrize("body", [b"", b"{", b"[]x", b"{}", b'{"data": 3}', b'"x"', b"[1]", b'{"data":[{"spans":{}}]}'])
def test_no_jaeger_json(body):
    with pytest.raises(ConfigError, match="not Jaeger's JSON"):
        jaeger(body)


def test_what_is_written_is_read_again():
    spans, _ = jaeger(HOTROD)
    random.Random(1).shuffle(spans)
    again, rejects = jaeger(write_jaeger(spans))
    assert (again, rejects.count) == (spans, 0)
