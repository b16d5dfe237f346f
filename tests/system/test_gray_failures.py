"""Gray failures of real servers, a few of `benchmarks.health_gray`, and that nothing is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from conftest import PATIENCE

from benchmarks.gray.faults import CGROUPS, PREFIX
from benchmarks.gray.run import sweep
from benchmarks.health_gray import BAR_S, passed, rows, skipped

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.root


def left_over(pid: int) -> list[str]:
    """Processes, mounted images and control groups that a benchmark of this pid made."""
    tag = f"{PREFIX}{pid}-"
    found = [str(group) for group in CGROUPS.glob(f"*/{tag}*")]
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes()
        except OSError:
            continue
        if tag.encode() in command:
            found.append(command.decode(errors="replace")[:100])
    for image in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            found += [image.read_text()] if tag in image.read_text() else []
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("name", "context", "watch_s"),
    [("read-only-disk", "PUT", 3.0), ("hung-worker", "GET", BAR_S + 1), ("clock-step", "signed", 3.0)],
)
def test_the_culprit_is_convicted_and_nobody_else(name: str, context: str, watch_s: float) -> None:
    if why := skipped(name):
        pytest.skip(why)
    (row,) = rows([name], seeds=1, watch_s=watch_s, control=False, settle_s=2.0)
    assert passed(row), row
    assert row["contexts"] == [context]
    assert row["accusers"]
    assert not row["heartbeat"]["suspected_s"], "it is gray: the server answers its monitor"
    assert left_over(os.getpid()) == []


def test_nobody_is_convicted_when_nothing_is_broken() -> None:
    if why := skipped("read-only-disk"):
        pytest.skip(why)
    (row,) = rows(["read-only-disk"], seeds=0, watch_s=3.0, settle_s=0.0)
    assert passed(row), row
    assert (row["quiet"], row["at_the_end"]) == (True, "HEALTHY")


def test_what_cannot_run_here_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    (row,) = rows(["read-only-disk"])
    assert "nginx" in row["skipped"] or row["skipped"] == "needs root"
    assert not passed(row)


def test_nothing_is_left_of_a_benchmark_that_is_killed() -> None:
    if why := skipped("read-only-disk"):
        pytest.skip(why)
    command = [sys.executable, "-m", "benchmarks.health_gray", "--only", "read-only-disk", "--seeds", "1"]
    benchmark = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    ends = time.monotonic() + 30 * PATIENCE
    while not any(".ext4" in found for found in left_over(benchmark.pid)):
        assert benchmark.poll() is None, "it ended before it mounted its disk"
        assert time.monotonic() < ends
        time.sleep(0.05)
    benchmark.send_signal(signal.SIGKILL)
    benchmark.wait()
    while left := left_over(benchmark.pid):
        assert time.monotonic() < ends, left
        time.sleep(0.05)
    sweep()
    assert not list(Path(tempfile.gettempdir()).glob(f"{PREFIX}{benchmark.pid}-*"))
