"""`kill -9` of a process that runs feeds: nothing told is lost, each tick is one item, and it is back at once."""

from __future__ import annotations

import pytest

from benchmarks.feeds_kill import measure

pytestmark = pytest.mark.system


def test_nothing_told_is_lost_and_each_tick_is_one_item() -> None:
    found = measure(targets=40, run_s=1.5, away_s=1.0)
    assert found["kill_back_s"] <= 10.0
    assert found["kill_items_before"] >= 40
    assert found["kill_missed_told"] >= 40  # a second away, at two ticks a second
    counts = ("kill_bytes_lost", "kill_ticks_without_item", "kill_ticks_double")
    assert {name: found[name] for name in counts} == dict.fromkeys(counts, 0)
