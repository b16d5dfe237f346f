"""Prometheus text and OpenMetrics: as prometheus_client and real exporters write them, and with broken lines."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from vagus.errors import NoData
from vagus.feeds import Data
from vagus.feeds.formats.openmetrics import MAX_LINE_BYTES, Exemplar, Metric, MetricSample, OpenMetrics

FMT = OpenMetrics()


def exported() -> CollectorRegistry:
    registry = CollectorRegistry()
    Gauge("load", "of the node\nnow \\ here", ["node", "path"], registry=registry).labels("a", 'C:\\x "y"\n').set(1.5)
    Gauge("nothing", "NaN", registry=registry).set(float("nan"))
    Counter("requests", "", ["code"], registry=registry).labels("200").inc(7, exemplar={"trace": "x=1,y"})
    Histogram("latency_seconds", "h", unit="seconds", buckets=(0.1, 1.0), registry=registry).observe(
        0.5, exemplar={"trace": "t"}
    )
    Summary("size_bytes", "s", registry=registry).observe(12)
    Info("build", "i", registry=registry).info({"version": "1.2"})
    Enum("state", "e", states=["up", "down"], registry=registry).state("down")
    return registry


def found(value: list[Metric]) -> set[Any]:
    return {
        (sample.name, tuple(sorted(sample.labels.items())), sample.value) for one in value for sample in one.samples
    }


def theirs(metrics: Any) -> set[Any]:
    return {
        (s.name, tuple(sorted(s.labels.items())), None if s.value != s.value else s.value)
        for metric in metrics
        for s in metric.samples
    }


def test_feature_9_reads_what_prometheus_client_writes_as_its_own_parsers_do() -> None:
    openmetrics = generate_openmetrics(exported())
    value, descriptor = FMT.parse(openmetrics)
    assert descriptor.errors == 0
    assert found(value) == theirs(read_openmetrics(openmetrics.decode()))
    assert {one.name: one.type for one in value} == {
        one.name: one.type for one in read_openmetrics(openmetrics.decode())
    }
    by_name = {one.name: one for one in value}
    assert by_name["load"].help == "of the node\nnow \\ here"
    assert by_name["latency_seconds"].unit == "seconds"
    [sample] = [one for one in by_name["requests"].samples if one.name == "requests_total"]
    assert sample.exemplar is not None
    assert (sample.exemplar.labels, sample.exemplar.value) == ({"trace": "x=1,y"}, 7.0)
    assert FMT.parse(FMT.print(value)) == (value, FMT.parse(FMT.print(value))[1])

    text = generate_latest(exported())
    value, descriptor = FMT.parse(text)
    assert descriptor.errors == 0
    assert found(value) == theirs(read_text(text.decode()))


def test_feature_9_times_are_seconds_in_both() -> None:
    [metric], _ = FMT.parse(b"a 1 1500\n")
    assert metric.samples[0].time_s == 1.5
    [metric], _ = FMT.parse(b"a 1 1.5\n# EOF\n")
    assert metric.samples[0].time_s == 1.5


@pytest.mark.parametrize(
    ("line", "sample"),
    [
        (b'{"a.b",c="d"} 2', MetricSample("a.b", {"c": "d"}, 2.0)),  # names of UTF-8: the library's
        (b'a { b = "c" } 3', MetricSample("a", {"b": "c"}, 3.0)),
        (b"a\t4", MetricSample("a", {}, 4.0)),
        (b"a{} +Inf", MetricSample("a", {}, None)),
        (b"a 1e3", MetricSample("a", {}, 1000.0)),
        (b'a{b="c",} 1', MetricSample("a", {"b": "c"}, 1.0)),
        (
            b'a_bucket{le="1"} 1 # {t="u"} 0.5 1.25',
            MetricSample("a_bucket", {"le": "1"}, 1.0, None, Exemplar({"t": "u"}, 0.5, 1.25)),
        ),
        (b'a{b="\\"\\\\\\n\\x"} 1', MetricSample("a", {"b": '"\\\n\\x'}, 1.0)),
    ],
)
def test_feature_9_lines_as_they_may_be_written(line: bytes, sample: MetricSample) -> None:
    value, descriptor = FMT.parse(line)
    assert descriptor.errors == 0
    assert [one.samples for one in value] == [[sample]]


@pytest.mark.parametrize(
    "line",
    [
        b"a",
        b"a b",
        b'a{b="c} 1',
        b'a{b="c"',
        b"a 1_0",
        b'a{b="1",b="2"} 1',
        b'a{b="\xff"} 1',
        b"9a 1",
        b"# TYPE a nonsense",
        b'a{b="' + b"x" * MAX_LINE_BYTES + b'"} 1',
        b"a{" + b",".join(b'l%d=""' % n for n in range(300)) + b"} 1",
        b"a 1 2 3 4 5 {",
        b"a 1 nan",
        b"}{",
    ],
)
def test_feature_10_a_broken_line_loses_only_itself(line: bytes) -> None:
    before, behind = b"# TYPE up gauge\nup 1\n", b'\nup{x="y"} 2\ndown 3\n'
    value, descriptor = FMT.parse(before + line + behind)
    assert found(value) >= {("up", (), 1.0), ("up", (("x", "y"),), 2.0), ("down", (), 3.0)}
    assert (descriptor.code, descriptor.errors) == (Data.NESTED, 1)
    [(index, wrong)] = descriptor.inside
    [(_, told)] = wrong.part("samples").inside
    assert value[int(index)].name in ("up", "a")
    assert (before + line + behind)[told.start : told.end] == line
    assert told.note


def test_feature_10_broken_before_the_first_metric() -> None:
    value, descriptor = FMT.parse(b"<html>\nup 1\n")
    assert [one.name for one in value] == ["up"]
    assert (descriptor.code, descriptor.errors) == (Data.SYNTAX, 1)
    assert FMT.parse(b"<html>\n")[1].errors == 1
    assert FMT.parse(b"") == ([], FMT.parse(b"")[1])


@pytest.mark.parametrize(
    "value",
    [
        [Metric("a b", "gauge", "", "", [])],
        [Metric("a", "gauge", "", "", [MetricSample("b", {}, 1.0)])],
        [Metric("a", "nonsense", "", "", [])],
        [Metric("a", "gauge", "", "", [MetricSample("a", {"9": "x"}, 1.0)])],
        [1],
        {"a": 1},
        [Metric("a", "gauge", "", "", [MetricSample("a", {}, float("inf"))])],
    ],
)
def test_feature_9_prints_only_what_is_read_back(value: Any) -> None:
    with pytest.raises(NoData):
        FMT.print(value)
