"""Feature 17, Coral: logs of 260 nodes in a few files, a report of errors, sick nodes; by the example's own files."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from contextlib import closing
from pathlib import Path

import pytest
from conftest import PATIENCE

pytestmark = pytest.mark.system

EXAMPLE = Path(__file__).parents[2] / "examples/feeds/coral"
NODES, LINES, TIMES = 260, 20, 2
SICK, BUSY, BROKEN, DOWN = 13, 13, 13, 13  # one of each twenty


def test_the_logs_of_260_nodes(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(EXAMPLE, tmp_path / "coral"))
    command = f"{sys.executable} -m vagus feed run coral.yaml --once"
    done = subprocess.run(
        [sys.executable, "nodes.py", "--lines", str(LINES), "sh", "-c", " && ".join([command] * TIMES)],
        cwd=folder,
        env={**os.environ, "VAGUS_HOME": str(folder / "home"), "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        timeout=100 * PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    made = folder / "coral.feeds"
    # archived: each log that came and each failure, in a file or two for each run
    packed = sorted((made / "logs/archive").glob("*.tar.xz"))
    assert 1 <= len(packed) <= TIMES
    names = []
    for path in packed:
        with tarfile.open(path) as tar:
            names += tar.getnames()
    assert len(names) == len(set(names)) == NODES * TIMES
    # health: who is down, and who fails too often
    down = (made / "logs/down.csv").read_text().splitlines()[1:]
    assert sorted(line.split(",")[1] for line in down) == ["refused"] * DOWN + ["status"] * BUSY
    told = [json.loads(line) for line in (made / "logs/sick.jsonl").read_text().splitlines()]
    assert {item["status"] for item in told} == {"UNHEALTHY"}
    assert {int(item["subject"].split(".")[3].split(":")[0]) % 10 for item in told} == {7}
    # performance: a row for each request
    with closing(sqlite3.connect(made / "performance/requests.db")) as database:
        found = database.execute((folder / "report.sql").read_text()).fetchall()
        (requests,) = database.execute("SELECT count(*) FROM performance WHERE status IS NOT NULL").fetchone()
    good = NODES - DOWN - BUSY
    assert good * LINES * TIMES - 2 * BROKEN * TIMES <= requests <= good * LINES * TIMES
    assert found[0][3] > 0.1
    # the report of errors
    report = ET.parse(made / "logs/errors.xml")
    codes = {error.findtext("errcode"): int(error.findtext("errnum", "0")) for error in report.iter("error")}
    assert codes["refused"] == DOWN
    assert codes["status"] == BUSY
