"""Heartbeats of real services on loopback: those that answer, refuse, hang, lie, or are gone."""

import http.server
import os
import socket
import threading
from pathlib import Path

import pytest

from vagus.collectors import heartbeats
from vagus.collectors.heartbeats import HeartbeatsCollector
from vagus.config import CollectSettings, HeartbeatSettings
from vagus.errors import ConfigError
from vagus.model import Event, Sample

T = 1_700_000_000 * 10**9
NS = 10**9


def settle():
    """Waits until no look is under way."""
    for thread in threading.enumerate():
        if thread.name == "heartbeat":
            thread.join(10)


class Watch:
    """One service under watch, with a clock of its own."""

    def __init__(self, check, root="/", **settings):
        beat = HeartbeatSettings(service="web", check=check, **settings)
        self.collector = HeartbeatsCollector("n", Path(root), CollectSettings(heartbeats=(beat,)))
        self.t_ns = T

    def tick(self, seconds=0.0):
        """Samples' values by field, and events."""
        self.t_ns += round(seconds * NS)
        found = list(self.collector.collect(self.t_ns))
        samples = [
            dict(zip([field.name for field in r.stream.fields], r.values, strict=True))
            for r in found
            if isinstance(r, Sample)
        ]
        return samples, [r for r in found if isinstance(r, Event)]

    def __call__(self, seconds=10.0):
        """One whole look: it begins, ends, and is heard."""
        assert self.tick(seconds) == ([], [])
        settle()
        (sample,), events = self.tick()
        return sample, events


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_tcp_up_down_up(listener):
    port = listener.getsockname()[1]
    watch = Watch(f"tcp:127.0.0.1:{port}")
    sample, events = watch()
    assert (sample["up"], sample["age_s"], sample["failures"], events) == (1, 0.0, 0, [])
    assert 0 < sample["rtt_s"] < 10
    listener.close()
    sample, events = watch()
    assert (sample["up"], sample["age_s"], sample["failures"]) == (0, 10.0, 1)
    assert sample["rtt_s"] != sample["rtt_s"]
    assert [(e.event, e.fields["service"], e.fields["reason"]) for e in events] == [
        ("service.down", "web", "Connection refused")
    ]
    sample, events = watch()
    assert (sample["failures"], sample["age_s"], events) == (2, 20.0, [])
    with socket.create_server(("127.0.0.1", port)):
        sample, events = watch()
    assert (sample["up"], sample["failures"], [e.event for e in events]) == (1, 2, ["service.up"])


def test_a_service_that_is_down_from_the_start_is_an_event():
    sample, events = Watch("unix:/nowhere/at.sock")()
    assert sample["up"] == 0
    assert sample["age_s"] != sample["age_s"]
    assert [e.fields["reason"] for e in events] == ["No such file or directory"]


@pytest.mark.parametrize(("status", "up"), [(200, 1), (302, 1), (404, 0), (503, 0)])
def test_http(status, up):
    asked = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        sample, events = Watch(f"http://127.0.0.1:{server.server_port}/health?deep=1")()
        thread.join()
    assert asked == ["/health?deep=1"]
    assert sample["up"] == up
    assert [e.fields["reason"] for e in events] == ([] if up else [f"HTTP status {status}"])


def test_http_that_is_none(listener):
    def answer():
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")

    thread = threading.Thread(target=answer)
    thread.start()
    sample, events = Watch(f"http://127.0.0.1:{listener.getsockname()[1]}")()
    thread.join()
    assert sample["up"] == 0
    assert "no HTTP answer" in events[0].fields["reason"]


def test_http_that_does_not_answer_in_time(listener):
    sample, events = Watch(f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=0.05)()
    assert sample["up"] == 0
    assert "timed out" in events[0].fields["reason"]


def test_unix_socket(tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert Watch(f"unix:{path}")()[0]["up"] == 1


def test_pidfile(tmp_path):
    path = tmp_path / "web.pid"
    watch = Watch(f"pidfile:{path}")
    path.write_text(f"{os.getpid()}\n")
    assert watch()[0]["up"] == 1
    path.write_text("4194999\n")
    assert watch()[1][0].fields["reason"] == "process 4194999 is gone"
    path.write_text("x" * 100)
    assert watch()[0]["up"] == 0
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    path.write_text(str(pid))
    assert watch()[0]["up"] == 0  # a zombie
    os.waitpid(pid, 0)


def test_file_that_is_touched(tmp_path):
    path = tmp_path / "beat"
    path.touch()
    watch = Watch("file:/beat", root=tmp_path)
    assert watch()[0]["up"] == 1
    os.utime(path, (1, 1))
    sample, events = watch()
    assert sample["up"] == 0
    assert "was not touched for" in events[0].fields["reason"]


def test_a_look_that_hangs_holds_nobody_up_and_comes_too_late():
    watch = Watch("tcp:127.0.0.1:1", timeout=2)
    let_go, (service,) = threading.Event(), watch.collector._services
    service.check = lambda: "" if let_go.wait(30) else "never"
    assert watch.tick(10) == ([], [])
    assert watch.tick(2) == ([], [])  # within its patience
    (sample,), (event,) = watch.tick(1)
    assert (sample["up"], sample["failures"]) == (0, 1)
    assert event.fields["reason"] == "no answer for 3.0 s, and it still hangs"
    assert watch.tick(10) == ([], [])  # said once; no second look while the first is under way
    assert len([t for t in threading.enumerate() if t.name == "heartbeat"]) == 1
    let_go.set()
    settle()
    assert watch.tick() == ([], [])  # its answer is of another time; a new look begins
    settle()
    (sample,), events = watch.tick()
    assert (sample["up"], [e.event for e in events]) == (1, ["service.up"])


def test_at_most_so_many_looks_at_once(monkeypatch):
    monkeypatch.setattr(heartbeats, "MAX_THREADS", 3)
    beats = tuple(HeartbeatSettings(service=f"s{i}", check="tcp:127.0.0.1:1") for i in range(8))
    collector = HeartbeatsCollector("n", Path("/"), CollectSettings(heartbeats=beats))
    let_go = threading.Event()
    for service in collector._services:
        service.check = lambda: "" if let_go.wait(30) else "never"
    list(collector.collect(T))
    list(collector.collect(T))
    assert len([t for t in threading.enumerate() if t.name == "heartbeat"]) == 3
    let_go.set()
    up = set()
    for i in range(5):
        settle()
        up |= {r.stream.labels["service"] for r in collector.collect(T + i) if isinstance(r, Sample)}
    assert len(up) == 8  # those that waited had their turn


@pytest.mark.parametrize(
    "check",
    [
        *("", "web", "tcp:", "tcp:host", "tcp:host:0", "tcp:host:99999", "tcp:host:x", "http://", "http://h:x/"),
        *("http://a b/", "https:///path", "unix:relative", "file:", "pidfile", "ftp://x", "file:x"),
    ],
)
def test_malformed_checks(check):
    with pytest.raises(ConfigError, match="heartbeats: web: check"):
        Watch(check)


def test_ipv6_in_brackets():
    with socket.socket(socket.AF_INET6) as server:
        try:
            server.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        server.listen()
        assert Watch(f"tcp:[::1]:{server.getsockname()[1]}")()[0]["up"] == 1


def test_none_configured():
    assert list(HeartbeatsCollector("n", Path("/"), CollectSettings()).collect(T)) == []
