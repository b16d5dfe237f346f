"""`vagus load --nodes`: workers as tasks at every node, each asks its own gateway; one coordinator adds up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import NODES, PATIENCE

from vagus.errors import NoData
from vagus.runtime.scatter import scatter

pytestmark = pytest.mark.system


def load(running: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "VAGUS_"))}
    command = [sys.executable, "-W", "ignore", "-m", "vagus", "--home", running, "load", *arguments]
    return subprocess.run(command, env=clean, capture_output=True, text=True, timeout=100 * PATIENCE, check=False)


def test_every_node_asks_its_own_gateway_and_the_sums_are_exact(running, at, tmp_path):
    picture = tmp_path / "load.png"
    done = load(
        running, "--nodes", "all", "--rate", "120", "--for", "3s", "--delay", "100ms", "-o", str(picture), "--json"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert told["lost"] == []
    assert told["generator"]["workers"] == told["generator"]["finished"] == len(NODES)
    assert told["kinds"]["decide"]["due"] == 360
    assert told["answered"] + told["failed"] == told["requests"]
    assert told["kinds"]["decide"]["answered"] > 300
    assert picture.read_bytes().startswith(b"\x89PNG")
    for node in NODES:
        answer, _ = at(node).request("GET", "/metrics")
        lines = [line for line in answer.decode().splitlines() if "requests" in line and "/v1/decide" in line]
        assert lines, node


def test_an_unknown_node_is_named(running):
    done = load(running, "--nodes", "nowhere")
    assert done.returncode == 1
    assert "nowhere" in done.stderr
    assert "n1" in done.stderr
    assert "Traceback" not in done.stderr
    with pytest.raises(NoData, match="nowhere"):
        list(scatter(Path(running), "vagus.cli.load.worker:run", {"nowhere": [b""]}))


def test_work_that_raises_is_told_and_the_others_go_on(running):
    results = list(scatter(Path(running), "vagus.cli.load.worker:run", {"n1": [b"\xc1"], "n2": [b"\xc1"]}))
    assert sorted(node for node, _ in results) == ["n1", "n2"]
    assert all(isinstance(result, Exception) for _, result in results)
