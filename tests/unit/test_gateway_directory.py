"""Discovery over HTTP: what is and what was, by type, node and labels; paths; what access rules leave of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import CPU, LINK, NOW_NS, MemoryBackend, Served, serving

from vagus.config import AccessRule
from vagus.gateway.path import Trace, TracedHop
from vagus.gateway.routes_directory import newest
from vagus.model import Field, SensorInfo, Stream
from vagus.store.batch import Batch

ADDRESS = Stream(
    "a", "net.address", (Field("if_index"),), {"address": "10.0.0.1", "dev": "eth0", "network": "10.0.0.0/24"}
)
DEV = Stream("a", "net.link", (Field("rx_bytes", "bytes", "u8", True),), {"dev": "eth0"})
B_ADDRESS = Stream(
    "b", "net.address", (Field("if_index"),), {"address": "10.0.0.2", "dev": "eth0", "network": "10.0.0.0/24"}
)


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def served(backend: MemoryBackend) -> Iterator[Served]:
    sensors = backend._sensors

    def with_ended(node: str, selector: str) -> list[SensorInfo]:
        return [msgspec.structs.replace(s, live=s.stream != LINK, online="http://n") for s in sensors(node, selector)]

    backend._sensors = with_ended
    with serving(backend) as running:
        yield running


def test_streams_that_ended_are_counted_and_shown_when_asked_for(served):
    answer = served.ask("GET", "/v1/sensors")[2]
    assert ([s["stream"]["kind"] for s in answer["sensors"]], answer["ended"]) == (["host.cpu"], 1)
    answer = served.ask("GET", "/v1/sensors?history=1")[2]
    assert ([s["stream"]["kind"] for s in answer["sensors"]], answer["ended"]) == (["host.cpu", "net.link"], 0)
    assert served.ask("GET", "/v1/sensors?history=perhaps")[0] == 422


def names(served: Served, query: str = "") -> list[tuple[str, str, str]]:
    status, _, answer = served.ask("GET", f"/v1/directory{query}")
    assert status == 200, answer
    return [(e["type"], e["name"], e["node"]) for e in answer["entries"]]


def test_everything_is_found_by_type_node_and_labels(served):
    observers = [("observer", f"vagus:observer@{node}", node) for node in "ab"]
    assert names(served) == [*observers, ("stream", "host.cpu", "a")]
    assert names(served, "?history=true&type=stream") == [("stream", "host.cpu", "a"), ("stream", "net.link", "b")]
    assert names(served, "?type=observer&node=b") == observers[1:]
    assert names(served, "?label=node=a,cpu=0") == [("stream", "host.cpu", "a")]
    assert names(served, "?type=feed") == []
    answer = served.ask("GET", "/v1/directory?type=feed")[2]
    assert answer["ended"] == 1
    answer = served.ask("GET", "/v1/directory?type=feed&history=1&label=every=10s")[2]
    assert [(e["live"], e["note"]) for e in answer["entries"]] == [(False, "killed")]


@pytest.mark.parametrize("query", ["?type=thing", "?label=x", "?label==x", "?node=" + "n" * 300, "?path=a"])
def test_wrong_questions(served, query):
    assert served.ask("GET", f"/v1/directory{query}")[0] == 422


def test_a_node_that_does_not_answer_is_named(backend):
    backend.peers = ("b", "c")
    with serving(backend) as served:
        answer = served.ask("GET", "/v1/directory")[2]
        assert [m["node"] for m in answer["missing"]] == ["c"]
        assert answer["partial"]


def test_a_path_with_its_newest_values(served, backend):
    backend.streams = {"a": [CPU, ADDRESS, DEV], "b": [B_ADDRESS]}
    backend.trace = Trace("a", "10.0.0.1", "", (TracedHop(("10.0.0.9",), 0.1), TracedHop(("10.0.0.2",), 0.2)), True)
    status, _, answer = served.ask("GET", "/v1/path?from=a&to=b")
    assert status == 200, answer
    assert (answer["node"], answer["to"], answer["target"], answer["reached"]) == ("a", "b", "10.0.0.2", True)
    assert [(h["kind"], h["name"], h["address"]) for h in answer["hops"]] == [
        ("node", "a", "10.0.0.1"),
        ("unknown", "", "10.0.0.9"),
        ("node", "b", "10.0.0.2"),
    ]
    (link,) = answer["hops"][0]["streams"]
    assert (link["part"], link["sensor"]["online"], link["values"]) == ("egress", "http://n", {"rx_bytes": 100.0})


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?from=a", 422),
        ("?from=&to=b", 422),
        ("?from=a&to=b&history=x", 422),
        ("?from=z&to=b", 404),
        ("?from=a&to=z", 404),
    ],
)
def test_paths_that_cannot_be(served, query, status):
    found, _, answer = served.ask("GET", f"/v1/path{query}")
    assert found == status
    assert answer["error"]["message"]


def test_what_no_rule_allows_is_left_out(backend):
    rules = (AccessRule(who=("token:cluster",), read=("observer", "net.*")),)
    with serving(backend, access=rules) as served:
        status, _, answer = served.ask("GET", "/v1/directory?history=1")
        assert status == 200
        assert {(e["type"], e["name"]) for e in answer["entries"]} == {
            ("observer", "vagus:observer@a"),
            ("observer", "vagus:observer@b"),
            ("stream", "net.link"),
        }
        assert answer["refused"] == ["feed", "host.cpu"]
        assert served.ask("GET", "/v1/path?from=a&to=b")[0] == 403, "to trace sends datagrams: it has a rule of its own"


def test_newest_values():
    stream = Stream("a", "x", (Field("level"), Field("count", "", "u8", True), Field("gone")))
    t_ns = np.array([NOW_NS, NOW_NS + 2 * 10**9])
    columns = (np.array([1.0, 2.0]), np.array([10, 30], "u8"), np.array([1.0, np.nan]))
    assert newest(Batch(stream, t_ns, columns)) == {"level": 2.0, "count": 10.0}
    assert newest(Batch(stream, t_ns[:1], tuple(c[:1] for c in columns))) == {"level": 1.0, "gone": 1.0}
    assert newest(Batch(stream, t_ns[:0], tuple(c[:0] for c in columns))) == {}
