"""Bodies of traces: whatever they hold, ConfigError is all that is raised; what is written is read again."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from vagus.client.span_otlp import request_of
from vagus.client.trace_context import TraceContext, inject, of_headers, parse, text
from vagus.errors import ConfigError
from vagus.inputs import otlp
from vagus.inputs.jaeger import read_jaeger, write_jaeger
from vagus.inputs.otlp import Rejects
from vagus.inputs.otlp_traces import read_traces
from vagus.inputs.span_csv import read_csv, service_of_pod
from vagus.model import Kind, Span

QUICK = settings(deadline=None, max_examples=100)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


def hexes(digits: int) -> st.SearchStrategy[str]:
    return st.integers(1, 16**digits - 1).map(lambda n: f"{n:0{digits}x}")


loose = st.sampled_from(["", "0", "1", "a" * 16, "b" * 32, "root", "é"]) | anything
spans_json = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("traceId", "spanId", "parentSpanId", "name"), loose),
        **dict.fromkeys(("traceID", "spanID", "parentSpanID", "operationName", "processID"), loose),
        **dict.fromkeys(("startTimeUnixNano", "endTimeUnixNano", "kind", "startTime", "duration"), scalars),
        "attributes": st.lists(st.fixed_dictionaries({"key": loose, "value": anything}), max_size=2) | anything,
        "tags": st.lists(st.fixed_dictionaries({"key": loose, "value": anything}), max_size=2) | anything,
        "references": st.lists(st.fixed_dictionaries({"refType": loose, "spanID": loose}), max_size=2) | anything,
        "links": st.lists(st.fixed_dictionaries({"traceId": loose, "spanId": loose}), max_size=2) | anything,
        "status": anything,
        "process": anything,
    },
)
bodies = (
    st.fixed_dictionaries(
        {
            "resourceSpans": st.lists(
                st.fixed_dictionaries(
                    {
                        "scopeSpans": st.lists(
                            st.fixed_dictionaries({"spans": st.lists(spans_json, max_size=3)}), max_size=2
                        )
                    }
                ),
                max_size=2,
            )
        }
    )
    | st.fixed_dictionaries(
        {"data": st.lists(st.fixed_dictionaries({"spans": st.lists(spans_json, max_size=3)}), max_size=2)}
    )
    | anything
)


@QUICK
@given(bodies)
def test_json_of_any_shape(body):
    try:
        raw = msgspec.json.encode(body)
    except (TypeError, UnicodeEncodeError, OverflowError):
        return
    for read in (
        lambda: read_traces(otlp.decode(raw, False, "traces"), "n", Rejects()),
        lambda: read_jaeger(raw, "n", Rejects()),
    ):
        try:
            assert all(isinstance(span, Span) for span in read())
        except ConfigError:
            pass


@QUICK
@given(st.binary(max_size=200), st.data())
def test_bytes_of_any_kind(noise, data):
    good = ExportTraceServiceRequest()
    scope = good.resource_spans.add().scope_spans.add()
    scope.spans.add(trace_id=b"\1" * 16, span_id=b"\2" * 8, start_time_unix_nano=5, end_time_unix_nano=9)
    packed = bytearray(good.SerializeToString())
    for _ in range(data.draw(st.integers(0, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    for body in (noise, bytes(packed)):
        for decode in (
            lambda: read_traces(otlp.decode(body, True, "traces"), "n", Rejects()),  # noqa: B023
            lambda: read_jaeger(body, "n", Rejects()),  # noqa: B023
        ):
            try:
                decode()
            except ConfigError:
                pass


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.text(max_size=40) | st.sampled_from(["t", "s", "root", "p", "op", "1", "2"]), max_size=30),
    st.binary(max_size=60),
)
def test_csv_of_any_kind(tmp_path_factory, cells, noise):
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    header = b"TraceID,SpanID,ParentID,PodName,OperationName,StartTimeUnixNano,EndTimeUnixNano\n"
    rows = "\n".join(",".join(cells[at : at + 7]) for at in range(0, len(cells), 7))
    path.write_bytes(header + rows.encode("utf-8", "replace") + noise)
    try:
        read_csv(path)
    except ConfigError:
        pass


names = st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=30)
attributes = st.dictionaries(
    names.filter(lambda name: name not in ("span.kind", "error", "otel.status_code", "otel.status_description")),
    st.text(max_size=30)
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False),
    max_size=4,
)


@st.composite
def span_of(draw, step_ns: int = 1) -> Span:
    begin_ns = draw(st.integers(0, 10**9)) * step_ns
    parent = draw(st.just("") | hexes(16))
    kind = draw(st.sampled_from(Kind))
    follows = bool(parent) and (kind is Kind.CONSUMER or draw(st.booleans()))
    took_ns = draw(st.integers(0, 10**6)) * step_ns
    ids = (draw(hexes(32)), draw(hexes(16)), parent)
    return Span(
        *ids,
        draw(names),
        draw(names),
        draw(names),
        begin_ns + step_ns,
        begin_ns + step_ns + took_ns,
        kind,
        draw(st.booleans()),
        follows,
        "n",
        draw(attributes),
    )


@QUICK
@given(st.lists(span_of(1000), max_size=5))
def test_jaegers_round_trip(spans):
    rejects = Rejects()
    again = read_jaeger(msgspec.json.encode(write_jaeger(spans)), "n", rejects)
    grouped: dict[str, list[Span]] = {}
    for span in spans:
        grouped.setdefault(span.trace_id, []).append(span)
    assert (again, rejects.count) == ([span for group in grouped.values() for span in group], 0)


@QUICK
@given(st.lists(span_of(), max_size=5, unique_by=lambda span: (span.trace_id, span.span_id)))
def test_otlps_round_trip(spans):
    rejects = Rejects()
    again = read_traces(otlp.decode(msgspec.json.encode(request_of(spans)), False, "traces"), "n", rejects)
    key = lambda span: (span.trace_id, span.span_id)  # noqa: E731
    own = [s for s in spans if not (s.follows and s.parent_id == s.span_id)]
    assert rejects.count == 0
    assert sorted((s for s in again if key(s) in {key(o) for o in own}), key=key) == sorted(own, key=key)


contexts = st.builds(
    TraceContext, hexes(32), hexes(16), st.booleans(), st.sampled_from(["", "a=1", "a=1,b@c=x y", "0z@v=~"])
)


@QUICK
@given(contexts, st.sampled_from(["traceparent", "Traceparent", "x"]))
def test_trace_contexts_round_trip(context, other):
    headers = {other: "old"}
    inject(headers, context)
    assert of_headers(headers) == context
    assert parse(text(context), context.state) == context


@QUICK
@given(
    st.text(max_size=80) | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{30,33}-[0-9a-f]{15,17}-[0-9a-f]{1,3}", fullmatch=True)
)
def test_any_header_is_a_context_or_none(value):
    found = of_headers({"traceparent": value, "tracestate": value})
    if found is None:
        return
    assert parse(text(found)) == found._replace(state="")
    assert value.strip(" \t")[3:52] == text(found)[3:52]


@QUICK
@given(st.text(max_size=60))
def test_a_pods_service_is_never_empty(pod):
    assert bool(service_of_pod(pod)) == bool(pod)
    assert pod.startswith(service_of_pod(pod))
