"""Network injections: what they read, what they refuse; the processes that delay, without any device."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from vagus.errors import ConfigError, Unsupported
from vagus.injector import INJECTIONS
from vagus.injector.net_bandwidth import NetBandwidth
from vagus.injector.net_delay import NetDelay, read_delay
from vagus.injector.strain import Line
from vagus.injector.strain_delay import MAX_WAITING_BYTES, Delay
from vagus.shaping import probe
from vagus.undo import netlink as nl


def test_both_are_registered() -> None:
    assert INJECTIONS.get("net-delay") is NetDelay
    assert INJECTIONS.get("net-bandwidth") is NetBandwidth


@pytest.mark.parametrize(
    ("text", "delay_s", "jitter_s"),
    [("50ms", 0.05, 0.0), ("50ms±10ms", 0.05, 0.01), ("1s+-500ms", 1.0, 0.5), ("200 us", 0.0002, 0.0)],
)
def test_delays(text: str, delay_s: float, jitter_s: float) -> None:
    assert read_delay(text) == pytest.approx((delay_s, jitter_s))


@pytest.mark.parametrize("text", ["50", "ms", "0ms", "-1ms", "11s", "10ms±20ms", "50ms±x", "1h"])
def test_what_is_no_delay(text: str) -> None:
    with pytest.raises(ConfigError, match="net-delay"):
        read_delay(text)


@pytest.mark.parametrize(
    ("intensity", "target", "words"),
    [
        ("10", "lo", "a rate such as 10Mbit"),
        ("10 parsecs", "lo", "a rate such as 10Mbit"),
        ("1kbit", "lo", "is not between 1000 and"),
        ("200Gbit", "lo", "is not between 1000 and"),
        ("10Mbit", "", "name a device"),
        ("10Mbit", "lo,to=nowhere", "no address or network"),
        ("10Mbit", "a/b/c", "names no device"),
    ],
)
def test_what_bandwidth_cannot_read(intensity: str, target: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        NetBandwidth().prepare(intensity, target, 10)


def test_what_the_machine_lacks_is_said(tmp_path: Path) -> None:
    for made in (NetBandwidth(), NetDelay()):
        with pytest.raises(Unsupported, match="there is no device nope0"):
            made.prepare("", "nope0", 10)
        with pytest.raises(Unsupported, match="is the loopback: name flows"):
            made.prepare("", "lo", 10)
    with pytest.raises(Unsupported, match="no tap device with redirection"):
        NetDelay(tmp_path, user_space=True).prepare("50ms", "lo,dport=9", 10)
    with pytest.raises(ConfigError, match="flows of lo or all of it, not a class"):
        NetDelay().prepare("50ms", "lo/1:10", 10)
    with pytest.raises(ConfigError, match="loss_percent"):
        NetDelay(loss_percent=101)


def test_the_kernel_is_asked_in_a_namespace_made_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> socket.socket:
        raise PermissionError(1, "Operation not permitted")

    probe.has.cache_clear()
    monkeypatch.setattr(nl, "opened_new", refused)
    with pytest.raises(Unsupported, match="needs root"):
        probe.has("netem")


# --- relay -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("tcp:8081->nowhere", "is no HOST:PORT"),
        ("tcp:->db:80", "names no device"),
        ("tcp:99999->127.0.0.1:80", "is no HOST:PORT"),
        ("udp:8081->:80", "is no HOST:PORT"),
    ],
)
def test_what_is_no_relay(target: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        NetDelay().prepare("50ms", target, 10)
    with pytest.raises(ConfigError, match="a relay loses nothing"):
        NetDelay(loss_percent=1).prepare("50ms", "tcp:8081->127.0.0.1:80", 10)


@contextmanager
def relayed(proto: str, server: int, delay: str) -> Iterator[int]:
    """The port at which the relay listens, once it does."""
    kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    prepared = NetDelay().prepare(delay, f"{proto}:{port}→127.0.0.1:{server}", 20)
    assert (prepared.steps, prepared.undo) == ((), ())
    with subprocess.Popen(prepared.commands[0], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as strain:
        assert strain.stdin is not None
        assert strain.stdout is not None
        strain.stdin.write(b"\n")
        strain.stdin.flush()
        assert any(b"begun" in line for line in strain.stdout), "it ended before it had begun"
        try:
            yield port
        finally:
            strain.kill()


def test_a_tcp_relay_hands_on_all_later() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        relayed("tcp", server.getsockname()[1], "40ms") as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as client,
    ):
        end, _ = server.accept()
        with end:
            end.settimeout(0.01)
            client.sendall(b"question")
            with pytest.raises(TimeoutError):
                end.recv(100)
            end.settimeout(10)
            assert end.recv(100) == b"question"
            much = bytes(range(256)) * 40_000  # more than a connection may hold back
            end.sendall(b"answer")
            assert client.recv(100) == b"answer"
            thread = threading.Thread(target=lambda: (client.sendall(much), client.shutdown(socket.SHUT_WR)))
            thread.start()
            got = b""
            while data := end.recv(1 << 20):
                got += data
            thread.join()
            assert got == much
    # what is not there is told by an end, not by silence
    with relayed("tcp", 1, "1ms") as port, socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        try:
            assert client.recv(1) == b""
        except ConnectionResetError:
            pass


def test_a_udp_relay_answers_each_client() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        with relayed("udp", server.getsockname()[1], "20ms") as port, ExitStack() as opened:
            clients = [opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)]
            for number, client in enumerate(clients):
                client.settimeout(10)
                client.sendto(b"%d" % number, ("127.0.0.1", port))
            for _ in clients:
                data, back = server.recvfrom(100)
                server.sendto(b"to " + data, back)
            assert [client.recv(100) for client in clients] == [b"to 0", b"to 1"]


# --- the tap's process -----------------------------------------------------------------------------------------------


class Frames:
    """A tap's end and a device's: datagram sockets keep frames apart."""

    def __init__(self, jitter_s: float = 0.0, loss_ratio: float = 0.0) -> None:
        self.now = 100.0
        self.tap, source = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        sink, self.wire = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in (source, sink, self.wire):
            end.setblocking(False)
        self.kept = (source, sink)
        line = Line.__new__(Line)
        self.delay = Delay(line, source.fileno(), sink, 0.05, jitter_s, loss_ratio, 7, lambda: self.now)

    def out(self) -> list[bytes]:
        self.delay.send()
        found = []
        while True:
            try:
                found.append(self.wire.recv(1 << 16))
            except BlockingIOError:
                return found

    def close(self) -> None:
        for end in (self.tap, self.wire, *self.kept):
            end.close()


@pytest.fixture
def frames() -> Iterator[Frames]:
    made = Frames()
    yield made
    made.close()


def test_frames_wait(frames: Frames) -> None:
    for number in range(3):
        frames.tap.send(b"frame %d" % number)
        frames.delay.take()
        frames.now += 0.01
    assert frames.out() == []
    frames.now = 100.055
    assert frames.out() == [b"frame 0"]
    frames.now = 101
    assert frames.out() == [b"frame 1", b"frame 2"]
    assert (frames.delay.passed, frames.delay.waiting_bytes) == (3, 0)


def test_jitter_keeps_the_order_and_the_bounds() -> None:
    frames = Frames(jitter_s=0.02)
    for number in range(200):
        frames.tap.send(b"%d" % number)
        frames.delay.take()
        frames.now += 0.001
    due = [at for at, _ in frames.delay.waiting]
    assert due == sorted(due)
    assert all(at - (100 + 0.001 * n) >= 0.03 - 1e-9 for n, at in enumerate(due))
    assert max(at - (100 + 0.001 * n) for n, at in enumerate(due)) < 0.07 + 1e-9
    frames.now = 200
    assert [int(f) for f in frames.out()] == list(range(200))
    frames.close()


def test_frames_are_lost_by_chance_and_where_there_is_no_room(frames: Frames) -> None:
    lossy = Frames(loss_ratio=0.5)
    for _ in range(200):
        lossy.tap.send(b"x")
        lossy.delay.take()
    assert 60 < lossy.delay.lost < 140
    assert lossy.delay.lost + len(lossy.delay.waiting) == 200
    lossy.close()
    frames.delay.waiting_bytes = MAX_WAITING_BYTES
    frames.tap.send(b"x")
    frames.delay.take()
    assert (frames.delay.dropped, len(frames.delay.waiting)) == (1, 0)
    frames.delay.waiting_bytes = 0
    frames.tap.send(b"y")
    frames.delay.take()
    frames.wire.close()  # the device is gone
    frames.now = 200
    frames.delay.send()
    assert frames.delay.dropped == 2
