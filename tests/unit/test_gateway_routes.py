"""What each route answers, over a real server and a node in memory."""

import json
import socket
import sys
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import NOW_NS, TOKEN, MemoryBackend, serving

import vagus
from vagus.errors import ConfigError
from vagus.gateway.server import Gateway
from vagus.model import ActorStatus, NodeStatus, Sample, SensorInfo, Status
from vagus.store import export

GOOD = {"observer": "api@1", "subject": "db@2", "contexts": {"read": ["UNHEALTHY", 30]}}


@pytest.fixture
def served():
    with serving() as running:
        yield running


def test_healthz_is_open_and_says_little(served):
    status, _, answer = served.ask("GET", "/healthz", token=None)
    assert (status, answer) == (200, {"status": "ok", "node": "a", "version": vagus.__version__})
    assert served.ask("GET", "/healthz")[2]["details"]["nodes"] == ["a", "b"]


@pytest.mark.parametrize("failing", [True, False])
def test_healthz_is_degraded_when_an_actor_is_ill_or_nobody_knows(served, failing):
    async def status():
        if failing:
            raise RuntimeError("boom")
        return NodeStatus("a", NOW_NS, (ActorStatus("vagus:observer@a", "observer", "a", "UNHEALTHY"),))

    served.backend.status = status
    assert served.ask("GET", "/healthz", token=None)[2]["status"] == "degraded"
    assert served.ask("GET", "/healthz")[2]["details"]["ill"] == ["a" if failing else "vagus:observer@a"]


def test_reports_arrive_with_their_contexts(served):
    body = {**GOOD, "contexts": {"read": ["unhealthy", 30], "write": {"status": "p", "score": 1.5}, "ping": "H"}}
    assert served.ask("POST", "/v1/report", body)[2] == {"results": ["ACCEPTED"]}
    (report,) = served.backend.reports
    assert (report.observer, report.subject, report.t_ns) == ("api@1", "db@2", NOW_NS)
    assert {name: (m.status, m.score) for name, m in report.contexts.items()} == {
        "read": (Status.UNHEALTHY, 30.0),
        "write": (Status.PENDING, 1.5),
        "ping": (Status.HEALTHY, 0.0),
    }
    many = {"reports": [{**GOOD, "t_ns": 5}, GOOD]}
    assert served.ask("POST", "/v1/report", many)[2] == {"results": ["IGNORED", "ACCEPTED"]}
    assert [report.t_ns for report in served.backend.reports[1:]] == [5, NOW_NS]


def test_health_of_the_cluster(served):
    served.ask("POST", "/v1/report", GOOD)
    everything = served.ask("GET", "/v1/health")[2]
    assert [(i["subject"], i["status"]) for i in everything["inferences"]] == [
        ("db@2", "UNHEALTHY"),
        ("disk@b", "DEAD"),
    ]
    assert (everything["partial"], everything["missing"]) == (False, [])
    narrowed = served.ask("GET", "/v1/health?status=dead,p")[2]
    assert [i["subject"] for i in narrowed["inferences"]] == ["disk@b"]


@pytest.mark.parametrize(
    ("subject", "path"), [("db@2", "db@2"), ("cgroup:vagus/web", "cgroup:vagus/web"), ("ü/%", "%C3%BC%2F%25")]
)
def test_health_of_one_subject_has_its_evidence(served, subject, path):
    served.ask("POST", "/v1/report", {**GOOD, "subject": subject})
    inference = served.ask("GET", f"/v1/health/{path}")[2]["inference"]
    assert inference["subject"] == subject
    assert inference["contexts"] == {"read": {"status": "UNHEALTHY", "score": 30.0, "accusers": ["api@1"]}}
    assert [report["observer"] for report in inference["reports"]] == ["api@1"]


def test_decide_then_update(served):
    status, _, made = served.ask("POST", "/v1/decide", {"features": {"isp": "x", "n": 3}, "arms": ["a", "b"]})
    assert status == 200
    assert made["decision"] in ("a", "b")
    assert (made["propensity"], made["version"]) == (0.5, 0)
    assert served.backend.decisions[made["decision_id"]].features == {"isp": "x", "n": 3}
    body = {"decision_id": made["decision_id"], "reward": -1.5}
    assert served.ask("POST", "/v1/update", body)[2] == {"results": ["ACCEPTED"]}
    many = {"updates": [body, {"decision_id": "unknown", "reward": 1}]}
    assert served.ask("POST", "/v1/update", many)[2] == {"results": ["IGNORED", "FAILED"]}
    assert served.backend.rewards[made["decision_id"]].reward == -1.5


def test_query_formats_carry_the_same_samples(served):
    path = "/v1/query?selector=host.cpu&since=10s&format="
    counts = {kind: served.ask("GET", path + kind) for kind in ("json", "csv", "msgpack", "arrow")}
    assert [answer[0] for answer in counts.values()] == [200] * 4
    assert counts["csv"][1]["Content-Type"].startswith("text/csv")
    (batch,) = export.from_msgpack(counts["msgpack"][2])
    assert len(batch) == 10
    assert batch.column("jiffies")[-1] == 2**60 + 5900  # exact beyond 2**53
    (shown,) = counts["json"][2]["batches"]
    assert shown["t_ns"] == batch.t_ns.tolist()
    assert len(counts["csv"][2].splitlines()) >= 11


def test_query_covers_the_cluster_in_order_and_narrows(served):
    def kinds(path):
        (_, _, body) = served.ask("GET", path)
        return [batch.stream.kind for batch in export.from_msgpack(body)]

    assert kinds("/v1/query?selector=*&format=msgpack") == ["host.cpu", "net.link"]
    assert kinds("/v1/query?selector=*&format=msgpack&node=b") == ["net.link"]
    assert kinds("/v1/query?selector=net.*&format=msgpack&limit=1") == ["net.link"]


def test_query_as_rates(served):
    _, _, body = served.ask("GET", "/v1/query?selector=host.cpu.jiffies&rate=1&limit=3&format=msgpack")
    (batch,) = export.from_msgpack(body)
    assert np.array_equal(batch.column("jiffies"), [100.0, 100.0])


@pytest.mark.says("limit-answer")
def test_too_large_queries_say_how_to_narrow():
    with serving(max_values=80) as served:
        for path in ("/v1/query?selector=*", "/v1/query?selector=*&since=2h"):
            status, _, answer = served.ask("GET", path)
            assert (status, answer["error"]["code"]) == (413, "too_large")
            assert "narrow" in answer["error"]["hint"]
        assert served.ask("GET", "/v1/query?selector=*&since=2h&limit=2")[0] == 200
        assert served.backend.peer_queries == 2  # the estimate alone refused the second one


def test_sensors_as_json_and_as_records(served):
    shown = served.ask("GET", "/v1/sensors?selector=net.*")[2]["sensors"]
    assert [info["stream"]["labels"] for info in shown] == [{"dev": 'eth"0\n'}]
    _, headers, body = served.ask("GET", "/v1/sensors", headers={"Accept": "application/msgpack"})
    assert headers["Content-Type"] == "application/msgpack"
    infos = msgspec.convert(msgspec.msgpack.decode(body)["sensors"], list[SensorInfo])
    assert [info.stream.node for info in infos] == ["a", "b"]


def test_records(served):
    events = served.ask("GET", "/v1/records?kind=event&limit=1")[2]["records"]
    assert [event["event"] for event in events] == ["disk.full"]
    (receipt,) = served.ask("GET", "/v1/records?kind=receipt")[2]["records"]
    assert (receipt["target"], receipt["before"]) == ("pid:1", None)


def test_status(served):
    nodes = served.ask("GET", "/v1/status")[2]["nodes"]
    assert [node["node"] for node in nodes] == ["a", "b"]
    assert nodes[0]["actors"][0]["name"] == "vagus:collector@a"


def test_many_requests_on_one_connection(served):
    request = f"GET /healthz HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
    host, _, port = served.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as sock:
        sock.sendall((request + b"\r\n") * 20 + request + b"Connection: close\r\n\r\n")
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answer.count(b"HTTP/1.1 200 OK") == 21


async def test_a_taken_port_is_named_or_passed_over():
    first = Gateway(MemoryBackend(), token=TOKEN)
    port = int((await first.start()).rpartition(":")[2])
    try:
        with pytest.raises(ConfigError, match=f"port {port} .*gateway.port"):
            await Gateway(MemoryBackend(), token=TOKEN, port=port).start()
        spare = Gateway(MemoryBackend(), token=TOKEN, port=port, spare_ports=20)
        assert port < int((await spare.start()).rpartition(":")[2]) <= port + 20
        await spare.stop()
    finally:
        await first.stop()
        await first.stop()


async def test_an_address_of_others_is_refused():
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1"):
        await Gateway(MemoryBackend(), token=TOKEN, host="192.0.2.1").start()


@pytest.mark.parametrize("token", ["", "short", "with a space in it", "ümlaut" * 5, "line\nbreak" * 3])
def test_weak_tokens_are_refused(token):
    with pytest.raises(ConfigError, match="token"):
        Gateway(MemoryBackend(), token=token)


def test_no_threads_or_tasks_are_left():
    before = threading.active_count()
    with serving() as served:
        served.ask("GET", "/healthz")
    assert threading.active_count() <= before + 1  # the loop's executor may linger


def _sample(t_ns, value):
    from gateway_backend import CPU

    return Sample(CPU, t_ns, (value, 2**60))


def _tail(served, path, headers=""):
    host, _, port = served.address.rpartition(":")
    sock = socket.create_connection((host, int(port)), timeout=5)
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n{headers}\r\n"
    sock.sendall(head.encode())
    return sock


def test_tail_streams_lines_until_the_gateway_ends():
    with serving(MemoryBackend(())) as served:
        with _tail(served, "/v1/tail?selector=host.cpu.user") as sock:
            served.loop.call_soon_threadsafe(served.backend.samples.put_nowait, [_sample(1, 0.5)])
            served.loop.call_soon_threadsafe(served.backend.samples.put_nowait, [_sample(2, float("nan"))])
            reader = sock.makefile("rb")
            lines = []
            while len(lines) < 2:
                line = reader.readline()
                assert line
                if line.startswith(b'{"t_ns"'):
                    lines.append(json.loads(line))
            common = {"node": "a", "kind": "host.cpu", "labels": {"cpu": "0"}}
            assert lines == [
                {"t_ns": 1, **common, "values": {"user": 0.5}, "id": "a=p1"},
                {"t_ns": 2, **common, "values": {"user": None}, "id": "a=p2"},
            ]
            assert served.gateway.site.tails == 1
            served.call(served.gateway.stop())
            assert reader.read().endswith(b"0\r\n\r\n")
        assert served.gateway.site.tails == 0


def test_tail_as_server_sent_events():
    with serving(MemoryBackend(())) as served, _tail(served, "/v1/tail", "Accept: text/event-stream\r\n") as sock:
        served.loop.call_soon_threadsafe(served.backend.samples.put_nowait, [_sample(1, 0.5)])
        reader = sock.makefile("rb")
        line = next(line for line in iter(reader.readline, b"") if line.startswith(b"data: "))
        assert json.loads(line[6:])["t_ns"] == 1
