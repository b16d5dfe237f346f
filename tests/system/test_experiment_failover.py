"""The failover experiment on its own cluster: sessions are served through every loss, and nothing is left behind."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import PATIENCE

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture
def folder() -> Iterator[Path]:
    """All that the experiment makes is in here: short, since Ray's sockets are deep in it."""
    made = Path(tempfile.mkdtemp(prefix="vx", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "VAGUS_"))}
    return {**kept, "TMPDIR": str(folder), "VAGUS_HOME": str(folder / "unused")}


def left_behind(folder: Path) -> list[str]:
    """Processes that know of the folder, and what is in it."""
    found = [str(path) for path in folder.iterdir()]
    for process in psutil.process_iter():
        try:
            if process.environ().get("VAGUS_HOME", "").startswith(str(folder)):
                found.append(f"{process.pid} {process.name()}")
        except psutil.Error:
            continue
    return found


def test_sessions_are_served_through_the_loss_of_each_part(folder: Path) -> None:
    command = [sys.executable, "-m", "vagus", "experiment", "failover", "--json", "--seed", "3"]
    command += ["--warm", "10s", "--phase", "6s", "--rate", "40"]
    done = subprocess.run(
        command, env=environment(folder), capture_output=True, text=True, timeout=280 * PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert [phase["lost"] for phase in told["phases"]] == [
        "",
        "a gateway",
        "a decide actor",
        "the head",
        "a whole node",
    ]
    assert told["clients"]["infeasible"] == 0
    assert told["served_ratio"] > 0.9
    for phase in told["phases"]:
        assert phase["sessions"] >= 100, phase
        assert phase["served_ratio"] > 0.8, phase
        assert phase["slowest_ms"] < 5000, phase  # a client's deadline is half a second; the machine may be busy
    # the arms change all the time: without learning, quality would fall to 0 within the experiment
    assert told["phases"][0]["score"] > 0.5
    for phase in told["phases"][1:4]:
        assert phase["score"] > 0.25, phase
    assert left_behind(folder) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_experiment_leaves_nothing_behind(number: int, folder: Path) -> None:
    command = [sys.executable, "-m", "vagus", "experiment", "failover"]
    with subprocess.Popen(
        command, env=environment(folder), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, bufsize=0
    ) as process:
        try:
            assert process.stderr is not None
            while b"ray start --address" not in (line := process.stderr.readline()):
                assert line, "ended before a node joined"
            process.send_signal(number)
            while select.select([process.stderr], [], [], 60.0)[0] and process.stderr.readline():
                pass
            assert process.wait(60.0) != 0
        finally:
            process.kill()
    assert left_behind(folder) == []
