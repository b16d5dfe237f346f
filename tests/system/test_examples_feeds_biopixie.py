"""Feature 17, bioPixie: many repositories with their own schedules and failures, all from a configuration file."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from conftest import PATIENCE

from vagus.actors.feed_local import faster
from vagus.config import FeedSettings, SourceSettings
from vagus.errors import ConfigError
from vagus.feeds.declared import feeds_of

pytestmark = pytest.mark.system

EXAMPLE = Path(__file__).parents[2] / "examples/feeds/biopixie"


def test_evidence_of_all_repositories(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(EXAMPLE, tmp_path / "biopixie"))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = folder / "biopixie.yaml"
    settings.write_text(settings.read_text().replace(":8471/", f":{port}/"))
    feed_run = [sys.executable, "-m", "vagus", "feed", "run", "biopixie.yaml", "--faster", "2000000", "--for", "3s"]
    done = subprocess.run(
        [sys.executable, "repositories.py", "--port", str(port), "--rows", "500", *feed_run],
        cwd=folder,
        env={**os.environ, "VAGUS_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        timeout=60 * PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    with closing(sqlite3.connect(folder / "biopixie.feeds/evidence/evidence.db")) as database:
        told = {
            (feed, net, data): (rows, times)
            for feed, net, data, rows, times in database.execute(
                "SELECT feed, net, data, count(*), count(DISTINCT due_ns) FROM evidence GROUP BY 1, 2, 3"
            )
        }
        best = database.execute((folder / "discover.sql").read_text()).fetchall()
    assert told["expression", "ok", "Good"] == (500, 1)  # the dump travelled once
    assert told["expression", "not_modified", "None"][1] >= 1  # and was asked for again
    assert told["physical", "ok", "Good"][0] >= 300
    rows, times = told["mirror", "ok", "Good"]  # the data base fails over
    assert rows == 200 * times
    assert ("primary", "ok", "Good") not in told
    rows, times = told["binding", "ok", "Good"]
    assert rows == 150 * times
    assert told["binding", "ok", "Syntax"][0] == told["binding", "ok", "Syntax"][1]  # one item for each broken transfer
    assert best[0][2] >= 3


def test_a_schedule_can_be_tried_out_faster() -> None:
    inside = FeedSettings(source=SourceSettings(all=("file:b",)), every="24h", duration="48h", timeout="9s")
    feed = FeedSettings(name="a", union=(inside, FeedSettings(source=SourceSettings(all=("file:c",)), once=True)))
    sped = faster(feed, 86400)
    first, second = sped.union
    assert isinstance(first, FeedSettings)
    assert isinstance(second, FeedSettings)
    assert (first.every, first.duration, first.timeout, second.once) == (1.0, 2.0, "9s", True)
    assert list(feeds_of([sped])) == ["a"]
    with pytest.raises(ConfigError, match="period must be at least"):
        feeds_of([faster(feed, 1e9)])
