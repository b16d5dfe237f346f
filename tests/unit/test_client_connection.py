"""The client against a real gateway, and against servers that misbehave."""

import os
import socket
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import CPU, LINK, NOW_NS, TOKEN, MemoryBackend, a_report, serving

from vagus.client.connection import Connection
from vagus.client.endpoint import Endpoint
from vagus.clock import SystemClock
from vagus.errors import ConfigError, NoData, PeerUnreachable, StoreError, VagusError
from vagus.model import Event, Metric, Receipt, Sample, Status


@pytest.fixture(scope="module")
def served():
    with serving(MemoryBackend(("b", "c"))) as running:
        running.gateway.site.clock = SystemClock()  # the client sends its own time
        yield running


@pytest.fixture
def client(served):
    with Connection(served.url, TOKEN, timeout_s=5.0) as connection:
        yield connection


def test_samples_are_exact_numpy_arrays(client):
    found = client.query("*", start=NOW_NS - 9 * 10**9, end=NOW_NS + 1)
    assert [series.stream for series in found] == [CPU, LINK]
    assert (found.partial, found.missing) == (True, [("c", "node c does not answer")])
    cpu = found[0]
    assert len(cpu) == 10
    assert cpu.t_ns.dtype == np.int64
    assert cpu.t_ns[-1] == NOW_NS
    assert cpu.column("jiffies").dtype == np.uint64
    assert cpu.column("jiffies")[-1] == 2**60 + 5900
    assert cpu.values.shape == (10, 2)
    assert np.array_equal(cpu.values[:, 0], cpu.column("user"))
    with pytest.raises(ConfigError, match="there are: user, jiffies"):
        cpu.column("nothing")


def test_queries_narrow(client):
    span = {"start": "2023-11-14T22:13:11+00:00", "end": NOW_NS + 1}
    assert [s.stream.node for s in client.query("*", node="b", **span)] == ["b"]
    (rates,) = client.query("net.link", limit=3, rate=True, **span)
    assert rates.column("rx_bytes").tolist() == [100.0, 100.0]
    assert client.query('net.link{dev="none"}', **span) == []


def test_directory_status_and_records(client):
    sensors = client.sensors("host.*")
    assert [info.stream for info in sensors] == [CPU]
    assert sensors.partial
    assert [e.name for e in client.directory("observer")] == ["vagus:observer@a", "vagus:observer@b"]
    assert [(e.name, e.note) for e in client.directory("feed", history=True)] == [("uptime", "killed")]
    assert client.path("a", "127.0.0.1")["hops"][0]["name"] == "a"
    assert [node.node for node in client.status()] == ["a", "b"]
    assert isinstance(client.records("event", limit=1)[0], Event)
    (receipt,) = client.records("receipt")
    assert isinstance(receipt, Receipt)
    assert client.records("item") == []


def test_reports_and_verdicts(client, served):
    contexts = {"read": ("UNHEALTHY", 30), "write": Metric(Status.PENDING, 2.0), "ping": Status.HEALTHY, "x": "d"}
    assert client.report("db@2/ü", contexts, observer="api@1") == "ACCEPTED"
    inference = client.inference("db@2/ü")
    assert inference.status is Status.UNHEALTHY
    assert inference.contexts["read"].accusers == ("api@1",)
    assert {name: metric.status for name, metric in inference.reports[0].contexts.items()} == {
        "read": Status.UNHEALTHY,
        "write": Status.PENDING,
        "ping": Status.HEALTHY,
        "x": Status.DYING,
    }
    assert "db@2/ü" in [verdict.subject for verdict in client.health()]
    assert [verdict.subject for verdict in client.health("DEAD")] == ["disk@b"]
    client.report("self", {"call": "h"})
    assert str(os.getpid()) in served.backend.reports[-1].observer
    with pytest.raises(NoData, match="nobody"):
        client.inference("stranger")


def test_decisions(client, served):
    made = client.decide({"isp": "x"}, ["a", "b"])
    assert made.arm in ("a", "b")
    assert made.propensity == 0.5
    assert served.backend.decisions[made.decision_id].features == {"isp": "x"}
    assert client.update(made.decision_id, 1.5) == "ACCEPTED"
    assert client.update(made.decision_id, 1.5) == "IGNORED"
    with pytest.raises(NoData, match="unknown"):
        client.update("unknown", 1.0)


def test_any_path(client):
    assert client.get("/healthz")["status"] == "ok"
    assert client.get("/metrics").startswith("# HELP vagus_")


@pytest.mark.parametrize(
    ("ask", "error", "words"),
    [
        (lambda c: c.query("{"), ConfigError, "selector"),
        (lambda c: c.query("*", since="soon"), ConfigError, r"query\.since"),
        (lambda c: c.query("*", node="c"), PeerUnreachable, "c does not answer"),
        (lambda c: c.query("*", node="z"), NoData, "known nodes"),
        (lambda c: c.records("nothing"), ConfigError, "kind"),
        (lambda c: c.report("s", {"c": ("SICK", 1)}), ConfigError, "SICK"),
        (lambda c: c.report("s", {"c": ("HEALTHY", float("nan"))}), ConfigError, "finite"),
        (lambda c: c.decide({}, []), ConfigError, r"body\.arms"),
        (lambda c: c.get("/nope"), ConfigError, "no /nope"),
        (lambda c: c.get("/has a space"), ConfigError, "cannot be made"),
    ],
)
def test_refusals_become_the_errors_of_vagus(client, ask, error, words):
    with pytest.raises(error, match=words):
        ask(client)


def test_the_wrong_token(served):
    with Connection(served.url, "wrong") as stranger, pytest.raises(ConfigError, match="token"):
        stranger.status()


def test_a_failing_store(served, client):
    served.backend.broken = StoreError("disk full")
    try:
        with pytest.raises(StoreError, match="disk full"):
            client.query("*", node="a")
    finally:
        served.backend.broken = None


@pytest.mark.parametrize("url", ["", "localhost:1", "https://", "ftp://x", "http://", "http://x:99999", "http://[x"])
def test_addresses_that_are_none(url):
    with pytest.raises(ConfigError, match="http://HOST:PORT"):
        Connection(url, "t")


def test_nobody_listens():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(PeerUnreachable, match="vagus up"):
            Connection(url, "t").status()


def test_many_threads_share_one_client(client):
    errors = []

    def work():
        try:
            for _ in range(10):
                assert client.get("/healthz")["node"] == "a"
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert errors == []
    assert len(client._idle) <= 8


class Scripted:
    """A server that answers each connection with given bytes, and counts requests."""

    def __init__(self, *answers: bytes) -> None:
        self.requests = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self._serve, args=(answers,), daemon=True)
        self.thread.start()

    def _serve(self, answers):
        for answer in answers:
            connection, _ = self.listener.accept()
            with connection:
                for part in answer.split(b"<next>"):
                    head = b""
                    while b"\r\n\r\n" not in head and (got := connection.recv(65536)):
                        head += got
                    if not head:
                        break
                    self.requests += 1
                    connection.sendall(part)
        self.listener.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
DONE = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 24\r\n\r\n{"results":["ACCEPTED"]}'


def test_a_dropped_connection_is_tried_once_more_when_that_is_safe():
    server = Scripted(OK + b"<next>", OK)  # answers, then drops the second request on the same connection
    with Connection(server.url, "t", 5.0) as client:
        assert client.get("/a") == {}
        assert client.get("/b") == {}
    assert server.requests == 3


def test_a_report_is_not_sent_twice():
    server = Scripted(OK + b"<next>", DONE)
    with Connection(server.url, "t", 5.0) as client:
        client.get("/a")
        with pytest.raises(PeerUnreachable):
            client.report("db@2", {"read": "h"})
        assert client.report("db@2", {"read": "h"}) == "ACCEPTED"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops",
        b'HTTP/1.1 404 X\r\nContent-Length: 13\r\n\r\n{"error": []}',
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\xc1",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\x80",
    ],
)
def test_servers_that_are_no_gateway(answer):
    server = Scripted(answer)
    with Connection(server.url, "t", 5.0) as client, pytest.raises(VagusError):
        client.status()


def test_a_server_that_hangs():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Connection(f"http://127.0.0.1:{listener.getsockname()[1]}", "t", timeout_s=0.05)
        with pytest.raises(PeerUnreachable, match=r"within 0\.05 s"):
            client.status()


def test_a_client_survives_a_fork(served, client):
    assert client.get("/healthz")["node"] == "a"
    idle = list(client._idle)
    assert idle
    client._pid = -1  # as it looks to a forked child
    assert client.get("/healthz")["node"] == "a"
    assert client._idle[0] is not idle[0]
    for connection in idle:
        connection.close()


def test_tail():
    with serving(MemoryBackend(())) as served, Connection(served.url, TOKEN, 5.0) as client:
        with client.tail("host.cpu.user") as tail:
            for t_ns, value in ((1, 0.5), (2, float("nan"))):
                sample = Sample(CPU, t_ns, (value, 2**60))
                served.loop.call_soon_threadsafe(served.backend.samples.put_nowait, [sample])
            first, second = next(tail), next(tail.ticks())
            assert (first.stream.kind, first.stream.labels) == ("host.cpu", {"cpu": "0"})
            assert (first.t_ns.tolist(), first.values.tolist(), first.column("user").tolist()) == ([1], [[0.5]], [0.5])
            assert (second.t_ns, second.values) == (2, {"user": None})
            served.call(served.gateway.stop())
            assert list(tail) == []
        with pytest.raises(PeerUnreachable):
            client.tail("host.cpu")


def test_a_subscription_goes_on_at_another_address_behind_its_last_item(monkeypatch):
    monkeypatch.setattr("vagus.client.tail.FIRST_RETRY_S", 0.01)
    backend = MemoryBackend(())
    with serving(backend) as first, serving(backend) as second, Connection(first.url, TOKEN, 5.0) as client:
        client.find_again = lambda: Endpoint(second.url, TOKEN)
        with client.subscribe("host.cpu", events="log.*", since="1m") as tail:
            put = backend.samples.put_nowait
            first.loop.call_soon_threadsafe(put, [Sample(CPU, 1, (0.5, 1)), Event(2, "log.x", "a", fields={"n": 1})])
            assert (next(tail).t_ns.tolist(), next(tail)) == ([1], Event(2, "log.x", "a", fields={"n": 1}))
            assert tail.positions() == "a=p2"
            first.call(first.gateway.stop())
            second.loop.call_soon_threadsafe(put, [Sample(CPU, 3, (0.5, 1))])
            assert next(tail.ticks()).t_ns == 3
            assert (tail.reconnects, tail.dropped, tail.missing) == (1, 0, {})


def test_patience_has_an_end(monkeypatch):
    monkeypatch.setattr("vagus.client.tail.FIRST_RETRY_S", 0.01)
    backend = MemoryBackend(())
    with (
        serving(backend) as served,
        Connection(served.url, TOKEN, 5.0) as client,
        client.subscribe("host.cpu", patience="0.1s") as tail,
    ):
        served.loop.call_soon_threadsafe(backend.samples.put_nowait, [Sample(CPU, 1, (0.5, 1))])
        assert len(next(tail)) == 1
        served.call(served.gateway.stop())
        with pytest.raises(PeerUnreachable):
            next(tail)
        assert list(tail) == []


def test_notices_are_kept_apart_from_items():
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    line = (
        b'{"at":{"a":"p0"}}\n{"gap":{"node":"a","error":"too old"}}\n{"refused":{"node":"a","name":"host.cpu"}}\n'
        b'{"missing":{"node":"b","error":"gone"}}\n{"back":"b"}\n{"dropped":3}\n{"dropped":4}\n{"end":true}\n'
    )
    server = Scripted(chunked + f"{len(line):x}\r\n".encode() + line + b"\r\n")
    with Connection(server.url, "t", 5.0) as client, client.tail("*") as tail:
        assert list(tail) == []
        assert (tail.gaps, tail.refused, tail.missing, tail.dropped) == ({"a": "too old"}, {"host.cpu"}, {}, 7)
        assert tail.positions() == "a=p0"


def test_tail_refuses_bad_selectors(client):
    with pytest.raises(ConfigError, match="selector"):
        client.tail("{")


def test_a_tail_that_breaks_off():
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    line = b'{"missing":{"node":"b","error":"gone"}}\n{"dropped":3}\n{"t_ns":1,"node":"a","kind":"k","labels":{},"values":{"big":18446744073709551615}}\n'
    server = Scripted(chunked + f"{len(line):x}\r\n".encode() + line + b"\r\n")
    with Connection(server.url, "t", 5.0) as client, client.tail("*") as tail:
        assert next(tail).column("big").tolist() == [2**64 - 1]
        assert (tail.missing, tail.dropped) == ({"b": "gone"}, 3)
        with pytest.raises(PeerUnreachable):
            next(tail)


def test_the_report_fixture_is_one_the_client_may_send():
    assert a_report().subject == "db@2"
