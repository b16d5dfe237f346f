"""The examples that use forecasts and NetLogger events run by themselves and do what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vagus.netlogger import read_cedps, read_pairs

EXAMPLES = Path(__file__).parents[2] / "examples/probes"


def run(name: str, home: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        env={**{k: v for k, v in os.environ.items() if not k.startswith("VAGUS_")}, "VAGUS_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_the_steady_replica_is_chosen(tmp_path: Path) -> None:
    lines = run("replicas.py", tmp_path)
    assert [line.split(":")[0] for line in lines] == [
        "fetch from steady",
        "rather than fading",
        "rather than erratic",
    ]


def test_every_step_of_the_transfer_begins_and_ends_with_one_guid(tmp_path: Path) -> None:
    *lines, summary = run("transfer.py", tmp_path)
    events = [read_cedps(read_pairs(line)) for line in lines]
    assert len({event.fields["guid"] for event in events}) == 1
    names = [event.event for event in events]
    steps = {"transfer", "transfer.connect", "transfer.send", "transfer.receive"}
    assert sorted(names) == sorted(f"{step}.{end}" for step in steps for end in ("start", "end"))
    assert (names[0], names[-1]) == ("transfer.start", "transfer.end")
    assert all(event.fields["status"] == 0 for event in events if event.event.endswith(".end"))
    assert summary.startswith("# 64 MiB at ")


def test_the_stream_by_forecast_stands_still_least_often_for_its_rate(tmp_path: Path) -> None:
    found = {line[:22].strip(): line[22:].split() for line in run("streaming.py", tmp_path)}
    rate = {name: float(words[0]) for name, words in found.items()}
    stalled = {name: float(words[5]) for name, words in found.items()}
    assert rate["by forecast and error"] > 1.2 * rate["always 1.5 Mbit/s"]
    assert stalled["by forecast and error"] < stalled["as the last segment"] / 3


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.name)
def test_each_has_its_line_in_the_readme(path: Path) -> None:
    assert f"python examples/probes/{path.name}`" in (EXAMPLES / "README.md").read_text()
