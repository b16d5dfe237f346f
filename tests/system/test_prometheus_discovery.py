"""Debian's own Prometheus finds the gateway by its service discovery and scrapes it."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import NOW_NS, TOKEN, MemoryBackend, serving
from msgspec.structs import replace

PROMETHEUS = shutil.which("prometheus")
CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: vagus
    authorization: {{credentials: {token}}}
    http_sd_configs:
      - url: {url}/v1/sd
        refresh_interval: 1s
        authorization: {{type: Bearer, credentials: {token}}}  # 2.42 sends no type for discovery unless it is said
    relabel_configs:
      - {{source_labels: [__meta_vagus_node], target_label: instance}}
      - {{source_labels: [__meta_vagus_cluster], target_label: cluster}}
"""


@pytest.mark.system
@pytest.mark.skipif(PROMETHEUS is None, reason="needs Debian's prometheus")
def test_prometheus_finds_and_scrapes_the_gateway(tmp_path):
    backend = MemoryBackend(())
    status = asyncio.run(backend.status())
    with serving(backend) as served:

        async def here() -> Any:
            return replace(status, gateway=served.url)

        backend.status = here
        (tmp_path / "p.yml").write_text(CONFIG.format(token=TOKEN, url=served.url))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [str(PROMETHEUS), f"--config.file={tmp_path}/p.yml", f"--storage.tsdb.path={tmp_path}/tsdb"]
        with open(tmp_path / "log", "wb") as log:
            process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
        try:
            targets = until(lambda: ask(port, "targets")["activeTargets"], lambda t: t and t[0]["health"] != "unknown")
            assert [(t["health"], t["lastError"]) for t in targets] == [("up", "")], (tmp_path / "log").read_text()
            assert targets[0]["discoveredLabels"]["__meta_vagus_answers"] == "true"
            found = until(lambda: ask(port, "query?query=vagus_host_cpu_user")["result"], bool)
            labels = {"cluster": "test", "cpu": "0", "instance": "a", "job": "vagus", "node": "a"}
            assert found[0]["metric"] == {"__name__": "vagus_host_cpu_user", **labels}
            assert float(found[0]["value"][1]) == 5.9
        finally:
            process.kill()
            process.wait(10)
        assert served.gateway.site.requests["GET", "/metrics", 200] >= 1
        assert served.gateway.site.clock.time_ns() == NOW_NS


def ask(port: int, path: str) -> Any:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=5) as answer:
            return json.load(answer)["data"]
    except OSError:
        return {"activeTargets": [], "result": []}  # it is starting


def until(read: Any, good: Any, timeout_s: float = 10.0) -> Any:
    deadline = time.monotonic() + timeout_s * PATIENCE
    while not good(found := read()):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found
