"""POST /v1/samples, /v1/events and OTLP's /v1/metrics and /v1/logs, the latter from OpenTelemetry's own exporters."""

from __future__ import annotations

import gzip
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import msgpack
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import NOW_NS, TOKEN, MemoryBackend, serving

from vagus.access import CLUSTER
from vagus.config import AccessRule
from vagus.errors import StoreError
from vagus.model import Level

PROTOBUF = "application/x-protobuf"


@pytest.fixture
def served():
    with serving(MemoryBackend(())) as running:
        yield running


def taken(served):
    records, served.backend.taken = [record for _, record in served.backend.taken], []
    return records


def test_a_sample_is_typed_and_stamped(served):
    body = {"kind": "app.queue", "values": {"depth": 3, "done": 7}, "labels": {"queue": "a"}, "counters": ["done"]}
    body["units"] = {"depth": "bytes"}
    status, _, answer = served.ask("POST", "/v1/samples", body)
    assert (status, answer) == (200, {"results": ["ACCEPTED"], "reasons": []})
    assert served.backend.taken[0][0] == CLUSTER
    (sample,) = taken(served)
    assert (sample.t_ns, sample.values) == (NOW_NS, (3.0, 7))
    assert [(f.name, f.unit, f.dtype, f.counter) for f in sample.stream.fields] == [
        ("depth", "bytes", "f8", False),
        ("done", "", "u8", True),
    ]
    assert sample.stream.key == 'app.queue{node="a",queue="a"}'


def test_several_as_msgpack_keep_64_bits_and_missing_values(served):
    big = 2**63 + 1
    many = [{"kind": "app.q", "values": {"n": big}, "counters": ["n"]}, {"kind": "app.q", "values": {"x": None}}]
    headers = {"Content-Type": "application/msgpack"}
    status, _, answer = served.ask("POST", "/v1/samples", msgpack.packb({"samples": many}), headers=headers)
    assert (status, answer["results"]) == (200, ["ACCEPTED", "ACCEPTED"])
    first, second = taken(served)
    assert first.values == (big,)
    assert math.isnan(second.values[0])


@pytest.mark.parametrize(
    ("body", "where", "message"),
    [
        ({"kind": "app.q", "values": {"n": 2**53 + 1}}, "body", "not exact as a float64"),
        ({"kind": "app.q", "values": {"n": -1}, "counters": ["n"]}, "body", "not between 0"),
        ({"kind": "app.q", "values": {"n": 1}, "counters": ["m"]}, "body", "'m' is named in counters"),
        ({"kind": "app q", "values": {"n": 1}}, "body", "not dotted words"),
        ({"kind": "app.q", "values": {"n": True}}, "body.values[...]", "bool"),
        ({"kind": "app.q", "values": {}}, "body.values", "length >= 1"),
        ({"kind": "app.q", "values": {"n": 1}, "lables": {}}, "body", "lables"),
        ({"samples": [{"kind": "a", "values": {"n": 1}}, {"kind": "a", "values": {"1": 1}}]}, "body.samples[1]", "'1'"),
    ],
)
def test_malformed_samples_say_where(served, body, where, message):
    status, _, answer = served.ask("POST", "/v1/samples", body)
    assert (status, answer["error"]["where"]) == (422, where)
    assert message in answer["error"]["message"]
    assert taken(served) == []


def test_kinds_of_vagus_own_sensors_are_refused(served):
    good = {"kind": "app.q", "values": {"n": 1}}
    for kind in ("host.cpu", "collector.run", "owned.kind"):
        status, _, answer = served.ask("POST", "/v1/samples", {**good, "kind": kind})
        assert (status, answer["error"]["code"]) == (422, "refused")
        _, _, answer = served.ask("POST", "/v1/samples", {"samples": [good, {**good, "kind": kind}]})
        assert answer["results"] == ["ACCEPTED", "FAILED"]
        assert f"such as app.{kind}" in answer["reasons"][0]
    assert {s.stream.kind for s in taken(served)} == {"app.q"}


def test_events(served):
    body = {"event": "order.paid", "level": "warning", "source": "shop", "fields": {"id": 7, "sum": 1.5, "new": True}}
    assert served.ask("POST", "/v1/events", body)[2] == {"results": ["ACCEPTED"], "reasons": []}
    (event,) = taken(served)
    assert (event.t_ns, event.node, event.level, event.fields) == (NOW_NS, "a", Level.WARNING, body["fields"])
    for forged in ({**body, "source": "vagus:collector@a"}, {**body, "event": "actor.died"}):
        status, _, answer = served.ask("POST", "/v1/events", forged)
        assert (status, answer["error"]["code"]) == (422, "refused")
    late = {**body, "t_ns": NOW_NS + 3601 * 10**9}
    assert "one hour ahead" in served.ask("POST", "/v1/events", late)[2]["error"]["message"]


def test_a_store_that_fails_is_no_acceptance(served):
    served.backend.broken = StoreError("the disk is full")
    assert served.ask("POST", "/v1/events", {"event": "x"})[0] == 503
    assert served.ask("POST", "/v1/metrics", {})[0] == 503  # which OTLP's exporters try again


def test_rules_of_access_hold_for_kinds_and_names():
    rule = AccessRule(who=("token:cluster",), send=("app.*",))
    with serving(MemoryBackend(()), access=(rule,)) as served:
        for path, name, rest in (("/v1/samples", "kind", {"values": {"n": 1}}), ("/v1/events", "event", {})):
            assert served.ask("POST", path, {name: "app.x", **rest})[0] == 200
            status, _, answer = served.ask("POST", path, {name: "shop.x", **rest})
            assert status == 403
            assert "may not send 'shop.x'" in answer["error"]["message"]
        assert len(served.backend.taken) == 2


# --- OTLP: the real exporters ----------------------------------------------------------------------------------------


@pytest.fixture
def resource(served):
    served.backend.now_ns = time.time_ns()  # the exporters' clock is the machine's
    from opentelemetry.sdk.resources import Resource

    return Resource({"service.name": "shop", "host.name": "h1", "process.pid": 7})


def headers():
    return {"authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_metrics_of_the_opentelemetry_sdk(served, resource, compression):
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    exporter = OTLPMetricExporter(
        endpoint=f"{served.url}/v1/metrics", headers=headers(), compression=Compression(compression)
    )
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider([reader], resource)
    meter = provider.get_meter("shop")
    meter.create_counter("orders", "1").add(3, {"http.method": "GET", "node": "x"})
    meter.create_up_down_counter("queue.depth", "{item}").add(-2)
    meter.create_gauge("temp-erature", "Cel").set(21.5)
    histogram = meter.create_histogram("latency", "ms", explicit_bucket_boundaries_advisory=[0.5, 10.0])
    for value in (0.1, 5.0, 50.0):
        histogram.record(value)
    provider.force_flush()
    provider.shutdown()
    found = {sample.stream.kind: sample for sample in taken(served)}
    assert set(found) >= {"orders", "queue.depth", "temp_erature", "latency"}
    orders = found["orders"]
    assert orders.stream.labels == {"service_name": "shop", "host_name": "h1", "http_method": "GET", "node_": "x"}
    assert (orders.stream.fields[0].counter, orders.stream.fields[0].dtype, orders.values) == (True, "i8", (3,))
    assert (found["queue.depth"].stream.fields[0].counter, found["queue.depth"].values) == (False, (-2,))
    assert (found["temp_erature"].stream.fields[0].unit, found["temp_erature"].values) == ("Cel", (21.5,))
    latency = found["latency"]
    shown = dict(zip((f.name for f in latency.stream.fields), latency.values, strict=True))
    assert shown == {"count": 3, "sum": 55.1, "min": 0.1, "max": 50.0, "le_0_5": 1, "le_10": 2, "le_inf": 3}


def test_delta_temporality_is_added_up_once_each(served, resource):
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
    from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader

    delta = dict.fromkeys((Counter, Histogram), AggregationTemporality.DELTA)
    exporter = OTLPMetricExporter(f"{served.url}/v1/metrics", headers=headers(), preferred_temporality=delta)
    provider = MeterProvider([PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)], resource)
    meter = provider.get_meter("shop")
    counter, histogram = meter.create_counter("orders"), meter.create_histogram("latency")
    totals, counts = [], []
    for step in (3, 4):
        counter.add(step)
        histogram.record(step)
        provider.force_flush()
        found = {sample.stream.kind: sample for sample in taken(served)}
        totals.append(found["orders"].values)
        counts.append(found["latency"].values[:2])
    provider.shutdown()
    assert totals == [(3,), (7,)]
    assert counts == [(1, 3.0), (2, 7.0)]


def test_a_delta_that_was_not_stored_counts_once_when_sent_again(served):
    body = _sum("d", 5, aggregationTemporality=1, isMonotonic=True)
    served.backend.broken = StoreError("the disk is full")
    assert served.ask("POST", "/v1/metrics", body)[0] == 503
    served.backend.broken = None
    for _ in range(2):
        assert served.ask("POST", "/v1/metrics", body)[0] == 200
    assert [sample.values for sample in taken(served)] == [(5,), (10,)]


def test_logs_of_the_opentelemetry_sdk(served, resource):
    from opentelemetry._logs import LogRecord, SeverityNumber
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider = LoggerProvider(resource)
    exporter = OTLPLogExporter(f"{served.url}/v1/logs", headers=headers())
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    logger = provider.get_logger("shop")
    logger.emit(
        LogRecord(
            timestamp=NOW_NS - 5,
            severity_number=SeverityNumber.ERROR2,
            severity_text="ERROR",
            body="it broke",
            attributes={"code": 7, "ok": False, "parts": ["a", "b"]},
        )
    )
    logger.emit(LogRecord(timestamp=NOW_NS - 4, event_name="order.paid", body={"sum": {"eur": 1.5}}))
    provider.force_flush()
    provider.shutdown()
    first, second = taken(served)
    assert (first.t_ns, first.event, first.level, first.source) == (NOW_NS - 5, "otlp.log", Level.ERROR, "shop")
    assert first.fields == {
        "service.name": "shop",
        "host.name": "h1",
        "text": "it broke",
        "code": 7,
        "ok": False,
        "parts": '["a","b"]',
    }
    assert (second.event, second.fields["sum.eur"]) == ("order.paid", 1.5)


# --- OTLP: JSON, and what is rejected --------------------------------------------------------------------------------


def _point(**more):
    return {"timeUnixNano": str(NOW_NS), **more}


def _metric(**metric):
    return {"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}


def _sum(name, value, **more):
    return _metric(name=name, sum={**more, "dataPoints": [_point(asInt=str(value))]})


def test_the_specifications_own_json(served):
    attribute = {"key": "my.attr", "value": {"stringValue": "some value"}}
    scope = {"name": "my.library", "version": "1.0.0"}
    gauge = {"dataPoints": [_point(asDouble=10, attributes=[attribute])]}
    summary = {"dataPoints": [_point(count="2", sum=3, quantileValues=[{"quantile": 0.5, "value": 1.25}])]}
    exponential = {"dataPoints": [_point(count=3, sum=5, scale=1, zeroCount=1, positive={"bucketCounts": ["1", "2"]})]}
    metrics = [
        {"name": "my.gauge", "unit": "1", "description": "x", "gauge": gauge},
        {"name": "my.summary", "summary": summary},
        {"name": "my.exp", "exponentialHistogram": {"aggregationTemporality": 2, **exponential}},
    ]
    body = {"resourceMetrics": [{"scopeMetrics": [{"scope": scope, "metrics": metrics}], "schemaUrl": "x"}]}
    status, sent, answer = served.ask("POST", "/v1/metrics", body)
    assert (status, sent["Content-Type"], answer) == (200, "application/json", {})
    found = {sample.stream.kind: sample for sample in taken(served)}
    assert (found["my.gauge"].values, found["my.gauge"].stream.labels) == ((10.0,), {"my_attr": "some value"})
    assert [f.name for f in found["my.summary"].stream.fields] == ["count", "sum", "q_0_5"]
    assert found["my.summary"].values == (2, 3.0, 1.25)
    assert found["my.exp"].values[:2] == (3, 5.0)
    trace = {"traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "EEE19B7EC3C1B174"}
    record = {"observedTimeUnixNano": str(NOW_NS), "severityNumber": 10, "body": {"stringValue": "x"}, **trace}
    assert served.ask("POST", "/v1/logs", {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]})[0] == 200
    (event,) = taken(served)
    assert event.fields == {"trace_id": trace["traceId"].lower(), "span_id": trace["spanId"].lower(), "text": "x"}


def test_what_cannot_be_stored_is_partial_success(served):
    many = [{"key": f"a{i}", "value": {"intValue": str(i)}} for i in range(31)]
    points = [_point(asInt="1"), _point(asInt="1", attributes=many), _point(), _point(flags=1)]
    body = _metric(name="m", gauge={"dataPoints": points})
    status, _, answer = served.ask("POST", "/v1/metrics", body)
    assert (status, answer["partialSuccess"]["rejectedDataPoints"]) == (200, "2")
    assert "31 attributes" in answer["partialSuccess"]["errorMessage"]
    assert len(taken(served)) == 1
    _, _, answer = served.ask("POST", "/v1/metrics", _sum("host.cpu", 1))
    assert "vagus' own sensors" in answer["partialSuccess"]["errorMessage"]
    histogram = {"dataPoints": [_point(count="1", bucketCounts=["1"], explicitBounds=[1, 2])]}
    _, _, answer = served.ask("POST", "/v1/metrics", _metric(name="h", histogram=histogram))
    assert "2 bounds has 1 buckets" in answer["partialSuccess"]["errorMessage"]


def test_partial_success_in_protobuf(served):
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
        ExportMetricsServiceResponse,
    )

    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="host.x")
    metric.gauge.data_points.add(as_double=1.0, time_unix_nano=NOW_NS)
    status, sent, body = served.ask(
        "POST", "/v1/metrics", request.SerializeToString(), headers={"Content-Type": PROTOBUF}
    )
    assert (status, sent["Content-Type"]) == (200, PROTOBUF)
    assert ExportMetricsServiceResponse.FromString(body).partial_success.rejected_data_points == 1


@pytest.mark.parametrize("path", ["/v1/metrics", "/v1/logs"])
@pytest.mark.says("limit-body")
def test_broken_bodies(served, path):
    packed = {"Content-Type": PROTOBUF}
    zipped = {"Content-Encoding": "gzip"}
    bomb = gzip.compress(b" " * (8 << 20))
    for body, more, status in (
        (b"\xff\xff", packed, 400),
        (b"[", {}, 400),
        (b"not gzip", zipped, 400),
        (gzip.compress(b"{}")[:-4], zipped, 400),
        (bomb, zipped, 413),
        (b"{}", {"Content-Encoding": "zstd"}, 415),
        (b"\x80", {"Content-Type": "application/msgpack"}, 415),
    ):
        assert served.ask("POST", path, body, headers=more)[0] == status, (body[:20], more)
    assert served.ask("POST", path, {"resourceMetrics": 5, "resourceLogs": 5})[0] == 400
    assert served.ask("POST", path, gzip.compress(b"{}"), headers=zipped)[0] == 200
    assert served.ask("POST", path, {}, token="wrong-token-of-tests")[0] == 403
    assert served.gateway.site.failures == 0
    assert json.loads(json.dumps(taken(served))) == []


def test_protobuf_is_not_imported_before_a_body_in_it_arrives():
    code = (
        "import sys, vagus.actors.collector; print([m for m in sys.modules if 'protobuf' in m or 'opentelemetry' in m])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
