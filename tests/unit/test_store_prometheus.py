"""OpenMetrics text and remote write bodies are what Prometheus' own parsers and protobuf read; OTel's names hold."""

from __future__ import annotations

import math
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from vagus.collectors.run import Runner
from vagus.config import CollectSettings
from vagus.model import Field, Sample, Stream
from vagus.store.batch import Batch
from vagus.store.openmetrics import to_openmetrics
from vagus.store.otel_rules import RULES
from vagus.store.prometheus import series_of
from vagus.store.remote_write import requests

T0 = 1_700_000_000 * 10**9


def batch(kind: str, fields: dict[str, tuple[str, list[float | int]]], **labels: str) -> Batch:
    made = tuple(Field(name, "", dtype, dtype == "u8") for name, (dtype, _) in fields.items())
    columns = tuple(np.array(values, {"f8": "f8", "u8": "u8"}[dtype]) for dtype, values in fields.values())
    t_ns = T0 + np.arange(len(columns[0])) * 10**9
    return Batch(Stream("a", kind, made, labels), t_ns, columns)


def of_this_machine() -> list[Batch]:
    runner = Runner.from_settings("a", CollectSettings(collectors=("host", "network")))
    samples = [s for s in runner.tick(time.time_ns()) if isinstance(s, Sample)]
    runner.close()
    return [
        Batch(
            s.stream,
            np.array([s.t_ns]),
            tuple(np.array([v], f.dtype) for v, f in zip(s.values, s.stream.fields, strict=True)),
        )
        for s in samples
    ]


def test_rules_name_fields_that_our_collectors_have() -> None:
    found = {b.stream.kind: {f.name for f in b.stream.fields} for b in of_this_machine()}
    for kind in ("host.core", "host.memory", "host.disk", "host.filesystem", "net.link", "net.tcp_states", "host.load"):
        if kind in found:  # a machine without disks is none of our business
            for rule in RULES[kind]:
                assert found[kind].issuperset(rule.factors), (kind, rule.name)
    assert {"host.core", "host.memory", "net.link"} <= found.keys()


def test_otel_names_units_attributes_and_sums() -> None:
    memory = batch(
        "host.memory",
        {
            name: ("u8", [value])
            for name, value in (("mem_total", 100), ("mem_free", 40), ("buffers", 10), ("cached", 20))
        },
    )
    disk = batch("host.disk", {"read_bytes": ("u8", [2**60 + 1]), "io_ms": ("u8", [1500])}, dev="vda")
    found = {(s.name, dict(s.labels).get("system_memory_state", "")): s for s in series_of([memory, disk], "otel")}
    used = found["system_memory_usage_bytes", "used"]
    assert (used.unit, used.values.tolist(), used.counter) == ("bytes", [30], False)
    read = found["system_disk_io_bytes_total", ""]
    assert read.labels == (("disk_io_direction", "read"), ("node", "a"), ("system_device", "vda"))
    assert read.values.tolist() == [2**60 + 1]  # exact
    assert found["system_disk_io_time_seconds_total", ""].values.tolist() == [1.5]


def test_what_otel_has_no_name_for_keeps_ours() -> None:
    odd = batch("app.queue", {"depth": ("f8", [1.0]), "done_total": ("u8", [3])}, __name__="x")
    names = [(s.name, s.labels) for s in series_of([odd], "otel")]
    assert names == [
        ("vagus_app_queue_depth", (("node", "a"), ("x__name__", "x"))),
        ("vagus_app_queue_done_total", (("node", "a"), ("x__name__", "x"))),
    ]


def test_openmetrics_is_read_back_by_its_parser() -> None:
    link = batch("net.link", {"rx_bytes": ("u8", [1, 5, 2**60])}, dev='et"h\\0\n')
    load = batch("host.load", {"load1": ("f8", [0.5, math.nan, math.inf])})
    text = to_openmetrics([link, load])
    families = {f.name: f for f in text_string_to_metric_families(text)}
    io = families["system_network_io_bytes"]
    assert (io.type, io.unit) == ("counter", "bytes")
    assert [(s.value, float(s.timestamp)) for s in io.samples][:2] == [(1.0, 1.7e9), (5.0, 1.7e9 + 1)]
    assert io.samples[0].labels["network_interface_name"] == 'et"h\\0\n'
    loads = families["system_cpu_load_average_1m"].samples
    assert [s.value for s in loads] == [0.5, math.inf]  # the missing one is left out
    assert text.endswith("# EOF\n")
    assert list(text_string_to_metric_families(to_openmetrics([]))) == []


def test_streams_of_one_key_in_two_batches_make_one_series_in_order() -> None:
    old, new = batch("host.load", {"load1": ("f8", [1.0, 2.0])}), batch("host.load", {"load1": ("f8", [9.0, 3.0])})
    later = Batch(new.stream, new.t_ns + 10**9, new.columns)
    text = to_openmetrics([later, old])
    (family,) = text_string_to_metric_families(text)
    assert [s.value for s in family.samples] == [1.0, 9.0, 3.0]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing (Debian: prometheus)")
def test_this_machines_samples_become_blocks_of_prometheus(tmp_path: Path) -> None:
    path = tmp_path / "om.txt"
    path.write_text(to_openmetrics(of_this_machine()))
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(path), str(tmp_path / "tsdb")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert any((tmp_path / "tsdb").iterdir())


def write_request() -> type:
    """Prometheus' message, from a description of our own: an independent decoder of what we write by hand."""
    file = descriptor_pb2.FileDescriptorProto(name="w.proto", package="w", syntax="proto3")
    shapes = {
        "Label": [("name", 1, 9, ""), ("value", 2, 9, "")],
        "Sample": [("value", 1, 1, ""), ("timestamp", 2, 3, "")],
        "TimeSeries": [("labels", 1, 11, "Label"), ("samples", 2, 11, "Sample")],
        "WriteRequest": [("timeseries", 1, 11, "TimeSeries")],
    }
    for name, fields in shapes.items():
        message = file.message_type.add(name=name)
        for field, number, kind, of in fields:
            message.field.add(
                name=field, number=number, type=kind, label=3 if of else 1, type_name=f".w.{of}" if of else None
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("w.WriteRequest"))


def decoded(body: bytes) -> list[tuple[dict[str, str], list[tuple[float, int]]]]:
    size = shift = at = 0
    while True:  # snappy's preamble: the length as a varint
        size |= (body[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if body[at - 1] < 0x80:
            break
    message = write_request()()
    message.ParseFromString(pa.decompress(body, size, codec="snappy", asbytes=True))
    return [
        ({label.name: label.value for label in t.labels}, [(s.value, s.timestamp) for s in t.samples])
        for t in message.timeseries
    ]


def test_remote_write_bodies() -> None:
    load = batch("host.load", {"load1": ("f8", [0.5, math.nan, 2.5]), "n": ("u8", [1, 300, 2**53])}, empty="")
    ((body, samples),) = requests([load], {"cluster": "c"})
    assert samples == 5
    assert decoded(body) == [
        (
            {"__name__": "vagus_host_load_load1", "cluster": "c", "node": "a"},
            [(0.5, T0 // 10**6), (2.5, T0 // 10**6 + 2000)],
        ),
        (
            {"__name__": "vagus_host_load_n_total", "cluster": "c", "node": "a"},
            [(1.0, T0 // 10**6), (300.0, T0 // 10**6 + 1000), (2.0**53, T0 // 10**6 + 2000)],
        ),
    ]


def test_labels_of_a_body_are_sorted_and_bodies_are_bounded() -> None:
    many = [batch("k", {"v": ("f8", list(map(float, range(100))))}, zone=str(i)) for i in range(10)]
    bodies = list(requests(many, {"Aa": "1"}, most_samples=250))
    assert [n for _, n in bodies] == [200] * 5
    labels = [list(names) for body, _ in bodies for names, _ in decoded(body)]
    assert all(names == sorted(names) for names in labels)
    long = list(requests(many[:1], most_samples=30))
    values = [v for body, _ in long for _, samples in decoded(body) for v, _ in samples]
    assert values == list(map(float, range(100)))


def test_nothing_but_missing_values_is_no_request() -> None:
    assert list(requests([batch("k", {"v": ("f8", [math.nan])})])) == []
    assert list(requests([])) == []
