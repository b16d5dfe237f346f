"""Remote write into Debian's real Prometheus: what it answers is what was sent."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.client import HTTPException
from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.deployments import get, until
from vagus.actors.forwarding import LAG_NS, RemoteWrite
from vagus.clock import NS
from vagus.config import RemoteWriteSettings
from vagus.model import Event, Field, Stream
from vagus.store.batch import Batch

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is missing (Debian: prometheus)"),
]
STREAM = Stream("n1", "net.link", (Field("rx_bytes", "bytes", "u8", True), Field("load")), {"dev": "eth0"})


def ready(process: subprocess.Popen[bytes], address: str, log: Path) -> bool:
    assert process.poll() is None, log.read_text()[-2000:]
    try:
        return get(f"http://{address}", "/-/ready") == 200
    except (OSError, HTTPException):
        return False


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    (tmp_path / "prometheus.yml").write_text("global: {}\n")
    command = [
        "prometheus",
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address={address}",
        "--web.enable-remote-write-receiver",
    ]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until(partial(ready, process, address, tmp_path / "log"), "Prometheus is not ready")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(20)


def ask(url: str, query: str, at_s: float = 0.0) -> list[dict[str, object]]:
    asked = urllib.parse.urlencode({"query": query, **({"time": at_s} if at_s else {})})
    answer = json.loads(urllib.request.urlopen(f"{url}/api/v1/query?{asked}", timeout=5).read())
    found: list[dict[str, object]] = answer["data"]["result"]
    return found


async def test_prometheus_has_what_was_sent_and_takes_it_twice(prometheus: str) -> None:
    events: list[Event] = []
    saved: list[int] = []

    def read(selector: str, start_ns: int, end_ns: int) -> list[Batch]:
        t_ns = np.arange(-(-start_ns // NS) * NS, end_ns, NS)
        return [Batch(STREAM, t_ns, ((t_ns // NS).astype("u8"), np.full(len(t_ns), 0.5)))]

    settings = RemoteWriteSettings(url=f"{prometheus}/api/v1/write", labels={"site": "lab"})
    begin = time.time_ns() - 120 * NS
    for told in ([], ["remote_write.refused"]):  # a second life sends everything again: out of order, and no harm
        writing = RemoteWrite(settings, "n1", read, saved.append, events.append, begin)
        await writing.step()
        await writing.close()
        assert writing.trouble == ""
        assert sorted({e.event for e in events}) == told
    (series,) = ask(prometheus, "vagus_net_link_rx_bytes_total[5m]")
    assert series["metric"] == {
        "__name__": "vagus_net_link_rx_bytes_total",
        "dev": "eth0",
        "node": "n1",
        "site": "lab",
    }
    values = series["values"]
    assert isinstance(values, list)
    least = (120 * NS - LAG_NS) / NS
    assert least - 1 <= len(values) <= least + 1 + (time.time_ns() - begin) / NS - 120
    assert all(float(value) == t for t, value in values)
    (rate,) = ask(prometheus, "rate(vagus_net_link_rx_bytes_total[1m])", float(values[-1][0]))
    assert float(rate["value"][1]) == pytest.approx(1.0)  # type: ignore[index]
