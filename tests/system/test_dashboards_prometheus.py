"""Debian's Prometheus with the configuration, rules and queries that `vagus dashboard` makes, on what is really exported."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import PATIENCE

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from exported import NODE, backend_of
from gateway_backend import TOKEN, serving
from msgspec.structs import replace

from vagus.cli.dashboard import files
from vagus.cli.dashboard.alerts import ALERTS
from vagus.cli.dashboard.panel import chosen
from vagus.cli.dashboard.rows import ROWS
from vagus.clock import SystemClock

PROMETHEUS = shutil.which("prometheus")
CHOICES = {"$__rate_interval": "20s", "$cluster": ".*", "$node": ".*"}
DEADLINE_S = 45.0 * PATIENCE


@pytest.mark.system
@pytest.mark.skipif(PROMETHEUS is None, reason="needs Debian's prometheus")
def test_every_panel_finds_something_and_the_rules_are_loaded(tmp_path: Path) -> None:
    backend = backend_of(tmp_path / "home")
    told = backend.status
    with serving(backend, clock=SystemClock(), timeout_s=10.0) as served:

        async def here() -> Any:
            return replace(await told(), gateway=served.url)

        backend.status = here  # type: ignore[method-assign]
        served.ask("GET", "/v1/status")
        (tmp_path / "token").write_text(TOKEN)
        (tmp_path / files.ALERTS_FILE).write_text(files.alerts())
        document = yaml.safe_load(files.scrape((served.url,), tmp_path / "token", tmp_path))
        document["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        document["scrape_configs"][0]["http_sd_configs"][0]["refresh_interval"] = "1s"
        (tmp_path / "p.yml").write_text(yaml.safe_dump(document))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [str(PROMETHEUS), f"--config.file={tmp_path}/p.yml", f"--storage.tsdb.path={tmp_path}/tsdb"]
        with open(tmp_path / "log", "wb") as log:
            process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
        try:
            empty = panels_without_data(port)
            assert empty == {}, (tmp_path / "log").read_text()[-2000:]
            (group,) = ask(port, "rules")["groups"]
            assert {rule["name"]: rule["health"] for rule in group["rules"]} == {alert.name: "ok" for alert in ALERTS}
            found = ask(port, "query?query=" + urllib.parse.quote("up{job='vagus'}"))["result"]
            labels = {"__name__": "up", "cluster": "test", "instance": NODE, "job": "vagus"}
            assert [one["metric"] for one in found] == [labels]
            meant = ask(port, "metadata?metric=vagus_actor_rss_bytes")["vagus_actor_rss_bytes"]
            assert meant[0]["help"] == "Resident memory of the actor's process, now [bytes]."
        finally:
            process.kill()
            process.wait(10)


def panels_without_data(port: int) -> dict[str, str]:
    """Asks each panel's queries until they have an answer; those that have none by the deadline, or are refused."""
    waiting = {}
    for row in ROWS:
        for panel in row.panels:
            for query in panel.queries:
                asked = chosen(query)
                for name, value in CHOICES.items():
                    asked = asked.replace(name, value)
                waiting[asked.removesuffix(" > 0")] = f"{row.title}: {panel.title}"
    deadline = time.monotonic() + DEADLINE_S
    while waiting and time.monotonic() < deadline:
        for asked in list(waiting):
            if ask(port, "query?query=" + urllib.parse.quote(asked)).get("result"):
                del waiting[asked]
        time.sleep(0.5)
    return waiting


def ask(port: int, path: str) -> Any:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=5) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as refused:
        raise AssertionError(f"{path}: {refused.read().decode()}") from refused
    except OSError:
        return {"groups": [], "result": []}  # it is starting
