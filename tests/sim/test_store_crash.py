"""A few rounds of what benchmarks/crash.py and benchmarks/powercut.py do many of."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks import crash, powercut
from vagus.clock import ManualClock
from vagus.store import Store


def test_kill_9_at_random_moments_loses_nothing_acknowledged(tmp_path: Path) -> None:
    result = crash.play(tmp_path / "store", rounds=2, seed=2)
    assert result["wrong"] == []
    assert result["acknowledged"] > 0
    assert sum(result["killed_during"].values()) > 0


def test_the_comparison_notices_what_is_lost_or_torn(tmp_path: Path) -> None:
    clock = ManualClock(crash.T0)
    with Store.open(tmp_path, clock=clock) as store:
        numbers = set(range(60))
        lost = {next(n for n in numbers if crash.kind_of(1, n) == kind) for kind in ("tick", "bulk", "events")}
        for number in numbers - lost:
            crash.perform(store, clock, 1, number)
        wrong, _ = crash.check(store, 1, numbers, set())
        assert {int(text.split()[-1]) for text in wrong} == lost
        tick = next(n for n in range(60, 100) if crash.kind_of(1, n) == "tick")
        times, rows = crash.rows_of(1, tick)["crash.s1"]
        store.append(store.declare(crash.STREAMS[1]), times[0], rows[0])  # one stream of four
        store.flush()
        wrong, _ = crash.check(store, 1, set(), {tick})
        assert wrong == [f"torn: tick {tick}"]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_power_cuts_lose_nothing_synced_and_never_the_file(tmp_path: Path) -> None:
    recording = powercut.record(tmp_path, seed=1, operations=40)
    result = powercut.replay(recording, tmp_path, cuts=25, seed=1)
    assert result["wrong"] == []
    assert result["files_replaced"] > 0
    assert result["recovered"] > 0
    without = powercut.replay(recording, tmp_path, cuts=25, seed=1, boot=b"")
    assert without["wrong"] != []  # the checkpoint is what saves it
