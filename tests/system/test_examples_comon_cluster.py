"""examples/feeds/comon on real gateways: beside a running vagus of three nodes, and at work in a vagus of one."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import NODES, eventually

pytestmark = pytest.mark.system
EXAMPLE = Path(__file__).parents[2] / "examples" / "feeds" / "comon"
FIRST_S = 40.0  # until a cluster that has just started has sensed and fetched everything once


def run(home: Path | str, *arguments: object, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "VAGUS_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_feature_14_the_configuration_beside_a_running_vagus(running: str, tmp_path: Path) -> None:
    done = run(running, "-m", "vagus", "feed", "run", EXAMPLE / "comon.yaml", "--once", "--folder", tmp_path)
    assert done.returncode == 0, done.stderr
    nodes = table(tmp_path / "comon" / "nodes.csv")
    assert sorted(row["node"] for row in nodes) == list(NODES)
    assert all(float(row["load"]) >= 0 and float(row["free_gb"]) > 0 for row in nodes)
    assert [float(row["load"]) for row in nodes] == sorted(float(row["load"]) for row in nodes)
    slices = table(tmp_path / "slices" / "slices.csv")
    assert any(row["nodes"] == "3" for row in slices), "all three are on this machine, and see the same programs"


def test_feature_12_the_program_on_real_nodes(running: str) -> None:
    def found() -> bool:
        done = run(running, EXAMPLE / "comon.py", "--every", "2s", "--fetch", "1s", "--tables", "1")
        assert (done.returncode, done.stderr) == (0, "")
        lines = [line.split() for line in done.stdout.splitlines()[1:]]
        assert [float(load) for load, _ in lines] == sorted(float(load) for load, _ in lines)
        return sorted(where for _, where in lines) == [f"gateway:/v1/comon?node={node}" for node in NODES]

    eventually(found, 60.0, "a table of all three nodes")


@pytest.fixture(scope="module")
def alone() -> Iterator[Path]:
    """A vagus of one node whose feeds are the example's; for it, every disk is too small."""
    home = Path(tempfile.mkdtemp(prefix="vagus-test-"))
    text = (EXAMPLE / "comon.yaml").read_text()
    assert "minimum: 1\n" in text
    (home / "vagus.yaml").write_text("gateway: {port: 0}\n" + text.replace("minimum: 1\n", "minimum: 1000000\n"))
    done = run(home, "-m", "vagus", "up", "--config", home / "vagus.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    yield home
    run(home, "-m", "vagus", "down")
    shutil.rmtree(home, ignore_errors=True)


def asked(home: Path, *arguments: str) -> Any:
    done = run(home, "-m", "vagus", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_feature_15_at_work_in_vagus_tables_queries_and_evidence(alone: Path) -> None:
    [folder] = (alone / "nodes").glob("*/")
    node = folder.name
    rows = eventually(lambda: table(folder / "feeds" / "comon" / "nodes.csv"), FIRST_S, "the table is written")
    assert [row["node"] for row in rows] == [node]  # type: ignore[attr-defined]
    query = ("feed", "select", "--feed", "comon", "--latest", "GbFree > 0 && 1minload >= 0", "--columns", "Name,GbFree")
    [row] = eventually(lambda: asked(alone, *query), FIRST_S, "the report of the node")  # type: ignore[misc]
    assert row["Name"] == node

    def accused() -> bool:
        said = run(alone, "-m", "vagus", "health", "show", f"node:{node}").stdout
        return "GB left" in said or "low disk" in said

    eventually(accused, FIRST_S, "the alert is evidence about the node")
    assert "feed.alert" in run(alone, "-m", "vagus", "events", "--event", "feed.alert").stdout
    assert "/feeds?feed=comon#" in run(alone, "-m", "vagus", "feed", "page", "comon").stdout
    assert "has" in (folder / "feeds" / "comon" / "alerts.log").read_text()
    [sample] = asked(alone, "query", "feed.comon", "--limit", "1")[:1]
    assert sample
