"""Formats on what the programs of this machine print now."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE

from vagus.feeds import FORMATS, Data, Fetched, Net
from vagus.feeds.sources.proc import ProcSource

pytestmark = pytest.mark.system


def program(name: str, where: str = "/usr/sbin:/sbin") -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:{where}")
    if found is None:
        pytest.skip(f"no {name} here")
    return found


async def fetched(command: str) -> Fetched:
    return await ProcSource().fetch(f"proc:{command}", 20.0, 1 << 20)


def good(name: str, body: bytes, **options: Any) -> Any:
    fmt = FORMATS.make(name, **options)
    value, found = fmt.parse(body)
    assert (found.code, found.errors) == (Data.GOOD, 0), found
    return value


async def test_feature_16_ping_and_uptime_as_they_are_here() -> None:
    ping, uptime = await asyncio.gather(fetched(f"{program('ping')} -c 2 -i 0.2 127.0.0.1"), fetched(program("uptime")))
    if ping.net is not Net.OK:
        pytest.skip(f"ping may not be used here: {ping.note}")
    value = good("ping", ping.body)
    assert (value.host, value.sent, value.received, value.loss_ratio) == ("127.0.0.1", 2, 2, 0.0)
    assert [reply.seq for reply in value.replies] == [1, 2]
    assert value.rtt_min_ms == min(reply.time_ms for reply in value.replies)
    up = good("uptime", uptime.body)
    assert up.load1 >= 0
    assert up.up_s >= 0


async def test_feature_16_ping_and_uptime_of_busybox() -> None:
    busybox = program("busybox")
    ping, uptime = await asyncio.gather(fetched(f"{busybox} ping -c 2 127.0.0.1"), fetched(f"{busybox} uptime"))
    if ping.net is not Net.OK:
        pytest.skip(f"busybox's ping may not be used here: {ping.note}")
    value = good("ping", ping.body)
    assert (value.sent, value.received, value.rtt_mdev_ms) == (2, 2, None)
    assert good("uptime", uptime.body).load15 >= 0


async def test_feature_16_ping_of_a_host_that_does_not_answer() -> None:
    """In a network of its own, where nobody has the address."""
    link = "ip link set lo up && ip route add 10.9.9.0/24 dev lo"
    ping = f"{program('ping')} -c 2 -i 0.2 -W 0.3 10.9.9.2"
    said = await ProcSource(good_exits=(0, 1)).fetch(f"proc:unshare -rn sh -c '{link} && {ping}'", 20.0, 1 << 20)
    if b"statistics" not in said.body:
        pytest.skip(f"no networks of one's own here: {said.note}")
    assert said.net is Net.OK
    value = good("ping", said.body)
    assert (value.host, value.sent, value.received, value.loss_ratio) == ("10.9.9.2", 2, 0, 1.0)
    assert (value.replies, value.rtt_avg_ms) == ([], None)


@pytest.mark.parametrize("command", ["ping -c 1 no.such.host.invalid", "busybox ping -c 1 no.such.host.invalid"])
def test_feature_16_ping_of_an_unknown_host(command: str) -> None:
    words = command.split()
    said = subprocess.run([program(words[0]), *words[1:]], capture_output=True, env={"LC_ALL": "C"}, check=False)
    value = good("ping", said.stderr)
    assert (value.sent, value.replies) == (None, [])
    assert value.trouble


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(command: list[str], url: str) -> Iterator[None]:
    """A server of its own until it answers at the URL, and no longer than the test."""
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: fetch(url) is not None or server.poll() is not None)
        if server.poll() is not None:
            pytest.skip(f"{command[0]} does not start here")
        yield
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20 * PATIENCE
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def fetch(url: str, **headers: str) -> bytes | None:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
            body: bytes = answer.read()
            return body
    except OSError:
        return None


def test_feature_9_metrics_of_the_real_node_exporter() -> None:
    exporter, address = program("prometheus-node-exporter"), f"127.0.0.1:{free_port()}"
    url = f"http://{address}/metrics"
    with running([exporter, f"--web.listen-address={address}"], url):
        body = fetch(url)
    assert body is not None
    value = good("openmetrics", body)
    by_name = {metric.name: metric for metric in value}
    assert by_name["node_load1"].type == "gauge"
    assert {sample.labels["mode"] for sample in by_name["node_cpu_seconds_total"].samples} >= {"idle", "user"}
    samples = sum(len(metric.samples) for metric in value)
    assert samples == sum(bool(line) and not line.startswith(b"#") for line in body.split(b"\n"))
    assert FORMATS.make("openmetrics").parse(FORMATS.make("openmetrics").print(value))[0] == value


def test_feature_9_metrics_of_the_real_prometheus(tmp_path: Path) -> None:
    prometheus, address = program("prometheus"), f"127.0.0.1:{free_port()}"
    (tmp_path / "p.yml").write_text("global: {}\n")
    url = f"http://{address}/metrics"
    command = [prometheus, f"--config.file={tmp_path}/p.yml", f"--storage.tsdb.path={tmp_path}/data"]
    with running([*command, f"--web.listen-address={address}"], url):
        body = fetch(url)
    assert body is not None
    types = {metric.type for metric in good("openmetrics", body)}
    assert types >= {"counter", "gauge", "histogram", "summary"}


def test_feature_9_log_of_the_real_nginx(tmp_path: Path) -> None:
    nginx, port = program("nginx"), free_port()
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error; events {{}}\n"
        f"http {{ access_log {tmp_path}/access combined; client_body_temp_path {tmp_path}/b;\n"
        f"proxy_temp_path {tmp_path}/p; fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u;\n"
        f"scgi_temp_path {tmp_path}/s; server {{ listen 127.0.0.1:{port}; return 200 'ok'; }} }}\n"
    )
    tmp_path.chmod(0o755)
    with running([nginx, "-c", f"{tmp_path}/nginx.conf", "-p", str(tmp_path)], f"http://127.0.0.1:{port}/"):
        strange = {"User-Agent": 'a "b" \\ c', "Referer": "http://a/?q=é"}
        fetch(f"http://127.0.0.1:{port}/x?y=%22z%22", **{k: v.encode().decode("latin-1") for k, v in strange.items()})
        for raw in (b"\x16\x03\x01\x00\x05\n\n", b"GET /old\r\n\r\n", b'GET /"q" HTTP/1.1\r\nHost: a\r\n\r\n'):
            with socket.create_connection(("127.0.0.1", port), 5) as client:
                client.sendall(raw)
                client.recv(1000)
        until(lambda: (tmp_path / "access").read_bytes().count(b"\n") >= 5)
        body = (tmp_path / "access").read_bytes()
    value = good("combined_log", body)
    assert [line.status for line in value] == [200, 200, 400, 200, 200]
    assert value[1].request.target == "/x?y=%22z%22"
    assert value[1].agent == "a \\x22b\\x22 \\x5C c"
    assert value[2].request == "\\x16\\x03\\x01\\x00\\x05"
    assert value[3].request == "GET /old"
    assert {line.host for line in value} == {"127.0.0.1"}
    assert abs(value[0].time_s - time.time()) < 300


def test_feature_9_lines_of_the_real_logger() -> None:
    logger = program("logger")
    for options, version in ((["--rfc5424"], 1), (["--rfc3164"], 0)):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as log:
            log.bind(("127.0.0.1", 0))
            log.settimeout(10)
            to = ["-n", "127.0.0.1", "-P", str(log.getsockname()[1]), "-d", "-t", "vagus", "-p", "user.err"]
            subprocess.run([logger, *to, *options, "hello [there]: you"], check=True, timeout=20)
            body = log.recv(65536)
        [line] = good("syslog", body)
        assert (line.version, line.facility, line.severity, line.app) == (version, 1, 3, "vagus")
        assert line.message == "hello [there]: you"
