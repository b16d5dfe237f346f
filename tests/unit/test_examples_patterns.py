"""The four interaction patterns as runnable examples: the far side is blamed, and nobody between."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples" / "health"

SAID = {
    "none": {"store@1: ask HEALTHY", "store@2: ask UNHEALTHY"},
    "request": {"worker@1: square HEALTHY", "worker@2: square PENDING"},
    "reply": {
        "worker@1: accept HEALTHY",
        "worker@2: accept HEALTHY",
        "worker@1: square HEALTHY",
        "worker@2: square PENDING",
    },
    "proxy": {"backend@1: get HEALTHY", "backend@2: get PENDING"},
    "pool": {"shard@1: read HEALTHY", "shard@2: read PENDING"},
}


def run(name: str, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
        env={**os.environ, "VAGUS_HOME": str(home), "VAGUS_URL": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """All at once: they mostly wait."""
    home = tmp_path_factory.mktemp("home")
    environment = {**os.environ, "VAGUS_HOME": str(home), "VAGUS_URL": ""}
    running = {
        name: subprocess.Popen(
            [sys.executable, str(EXAMPLES / f"{name}.py"), "--dry-run"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in SAID
    }
    found = {}
    for name, process in running.items():
        found[name], _ = process.communicate(timeout=60)
        assert process.returncode == 0, found[name]
    return found


@pytest.mark.parametrize("name", SAID)
def test_feature_13_an_interaction_pattern(name: str, outcomes: dict[str, str]) -> None:
    lines = outcomes[name].splitlines()
    told = [line.removeprefix("api on ").rpartition(" ") for line in lines if line.startswith("api on ")]
    # the last word on each: where the machine is slow, an answer is PENDING before it comes
    last = {about: status for about, _, status in told}
    assert {f"{about} {status}" for about, status in last.items()} == SAID[name]
    assert not any("Traceback" in line for line in lines)


def test_without_a_vagus_they_say_so_and_go_on(tmp_path: Path) -> None:
    done = run("none", home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "not reported: PeerUnreachable" in done.stdout
