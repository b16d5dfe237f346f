"""Ticks on a fixed grid: starts, misses, catch-up, back-off, Retry-After, a clock that is set back."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest

from vagus.clock import NS
from vagus.errors import ConfigError
from vagus.feeds import Fetched, Net
from vagus.feeds.schedule import BackOff, Schedule
from vagus.feeds.scheduler import BACKING_OFF, LATE, MAX_MISSED, MAX_MISSED_IN_ALL, RUNNING, Missed, Scheduler, Start

T0 = 1_700_000_000 * NS  # a multiple of 10 s
OK = Fetched(Net.OK)
BAD = Fetched(Net.FAILED)


def even(period_s: float = 10.0, **more: float) -> Schedule:
    return Schedule(period_s=period_s, timeout_s=5.0, spread_s=0.0, **more)  # type: ignore[arg-type]


def test_latest_tick_at_once_then_one_each_period() -> None:
    scheduler = Scheduler(even(), ["a"])
    assert scheduler.due(T0 + 3 * NS) == [Start("a", T0)]
    assert scheduler.next_due() == T0 + 10 * NS
    scheduler.finished("a", OK, T0 + 4 * NS)
    assert scheduler.due(T0 + 9 * NS) == []
    assert scheduler.due(T0 + 10 * NS) == [Start("a", T0 + 10 * NS)]


def test_a_run_still_going_makes_the_tick_missed() -> None:
    scheduler = Scheduler(even(), ["a"])
    scheduler.due(T0)
    assert scheduler.due(T0 + 10 * NS) == []
    scheduler.finished("a", OK, T0 + 11 * NS)
    assert scheduler.next_due() == T0 + 11 * NS
    assert scheduler.due(T0 + 11 * NS) == [Missed("a", T0 + 10 * NS, RUNNING)]
    assert scheduler.due(T0 + 20 * NS) == [Start("a", T0 + 20 * NS)]


def test_catch_up_is_latest() -> None:
    scheduler = Scheduler(even(), ["a"], last_due_ns={"a": T0})
    assert scheduler.due(T0 + 35 * NS) == [
        Missed("a", T0 + 10 * NS, LATE),
        Missed("a", T0 + 20 * NS, LATE),
        Start("a", T0 + 30 * NS),
    ]


def test_a_long_silence_is_told_in_bounded_words() -> None:
    scheduler = Scheduler(even(), ["a"], last_due_ns={"a": T0})
    told = scheduler.due(T0 + 10_000 * 10 * NS)
    assert len(told) == MAX_MISSED + 2
    assert sum(t.ticks for t in told if isinstance(t, Missed)) == 9_999
    assert told[-1] == Start("a", T0 + 100_000 * NS)


def test_back_off_grows_to_its_cap_and_never_gives_up() -> None:
    scheduler = Scheduler(even(), ["a"], back_off=BackOff(after=2, cap_s=40.0))
    tries = []
    for tick in range(40):
        now = T0 + tick * 10 * NS
        for told in scheduler.due(now):
            if isinstance(told, Start):
                tries.append(tick)
                scheduler.finished("a", BAD, now + NS)
            else:
                assert told.reason == BACKING_OFF
    assert tries[:6] == [0, 1, 3, 7, 11, 15]
    assert {b - a for a, b in itertools.pairwise(tries[3:])} == {4}


def test_success_ends_the_back_off() -> None:
    scheduler = Scheduler(even(), ["a"], back_off=BackOff(after=1, cap_s=1000.0))
    scheduler.due(T0)
    assert scheduler.finished("a", BAD, T0) == 1
    assert isinstance(scheduler.due(T0 + 10 * NS)[0], Missed)
    assert isinstance(scheduler.due(T0 + 20 * NS)[0], Start)
    assert scheduler.finished("a", Fetched(Net.NOT_MODIFIED), T0 + 21 * NS) == 0
    assert isinstance(scheduler.due(T0 + 30 * NS)[0], Start)


@pytest.mark.parametrize(("asked_s", "next_tick"), [(25.0, 3), (30.0, 3), (1e9, 6)])
def test_retry_after_is_honoured_and_capped(asked_s: float, next_tick: int) -> None:
    scheduler = Scheduler(even(), ["a"], back_off=BackOff(retry_cap_s=60.0))
    scheduler.due(T0)
    scheduler.finished("a", Fetched(Net.STATUS, retry_after_s=asked_s), T0)
    started = [t for k in range(1, 10) for t in scheduler.due(T0 + k * 10 * NS) if isinstance(t, Start)]
    assert started == [Start("a", T0 + next_tick * 10 * NS)]


def test_locations_are_spread_by_a_stable_hash() -> None:
    schedule = Schedule(period_s=10.0, timeout_s=1.0)
    names = [f"http://host{k}/" for k in range(1000)]
    offsets = [schedule.spread_ns(f"feed\n{name}") for name in names]
    assert schedule.spread_ns("feed\nhttp://host0/") == 8_179_570_460  # the same for ever: restarts keep it
    assert min(offsets) >= 0
    assert max(offsets) < 10 * NS
    buckets = [sum(1 for o in offsets if o // NS == k) for k in range(10)]
    assert min(buckets) > 60
    assert Schedule(period_s=86400.0, timeout_s=1.0).spread_ns("x") < 300 * NS  # minutes after midnight, not hours


def test_all_locations_share_the_due_time() -> None:
    scheduler = Scheduler(Schedule(period_s=10.0, timeout_s=1.0), [str(k) for k in range(50)])
    assert {t.due_ns for t in scheduler.due(T0 + 10 * NS - 1) if isinstance(t, Start)} == {T0}
    assert T0 + 10 * NS <= (scheduler.next_due() or 0) < T0 + 11 * NS


def test_start_offset_and_duration_bound_the_grid() -> None:
    scheduler = Scheduler(even(10.0, start_ns=T0, duration_s=30.0, offset_s=2.0), ["a"])
    started = []
    for second in range(-20, 100):
        now = T0 + second * NS
        for told in scheduler.due(now):
            started.append((second, told.due_ns))
            scheduler.finished("a", OK, now)
    assert started == [(2, T0 + 2 * NS), (12, T0 + 12 * NS), (22, T0 + 22 * NS)]
    assert scheduler.next_due() is None


def test_a_clock_set_back_does_not_silence_the_feed() -> None:
    scheduler = Scheduler(even(), ["a"])
    scheduler.due(T0)
    scheduler.finished("a", OK, T0)
    back = T0 - 3600 * NS
    assert scheduler.due(back + NS) == []
    assert scheduler.due(back + 10 * NS) == [Start("a", back + 10 * NS)]


def test_a_last_tick_in_the_future_does_not_silence_the_feed() -> None:
    scheduler = Scheduler(even(), ["a"], last_due_ns={"a": T0 + 3600 * NS})
    scheduler.due(T0)
    assert scheduler.next_due() == T0 + 10 * NS


@pytest.mark.parametrize(
    "wrong",
    [
        {"period_s": 0.0},
        {"period_s": math.nan},
        {"period_s": math.inf},
        {"timeout_s": 0.0},
        {"offset_s": -1.0},
        {"duration_s": 0.0},
        {"start_ns": -1},
    ],
)
def test_impossible_schedules_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Schedule(**{"period_s": 1.0, "timeout_s": 1.0, **wrong})  # type: ignore[arg-type]


def test_now_is_now_where_there_is_nothing_to_spread() -> None:
    from vagus.feeds import all_, any_, base, every
    from vagus.feeds.directives import Fetch
    from vagus.feeds.engine import Engine

    now_ns = 1_000_000_000_000_000_123
    for places, at_once in (
        (all_("file:a"), 1),
        (any_("file:a", "file:b"), 1),
        (all_("file:a", "file:b", "file:c"), 0),
    ):
        engine = Engine({"f": base(places, every("24h", timeout="5s", start="now"))}, now_ns=now_ns)
        told = [step for step in engine.tick(now_ns) if isinstance(step, Fetch)]
        assert [step.due_ns for step in told] == [now_ns] * at_once
        assert engine.next_due() is not None


def test_what_many_locations_missed_in_a_long_silence_is_told_together_and_none_is_left_out() -> None:
    places = [f"http://h{number}/" for number in range(5000)]
    scheduler = Scheduler(Schedule(period_s=60.0, timeout_s=5.0), places)
    t_ns = 1_700_000_000 * NS
    scheduler.due(t_ns)
    for place in places:
        scheduler.finished(place, Fetched(Net.OK), t_ns)
    told = scheduler.due(t_ns + 7200 * NS)
    assert len(told) <= MAX_MISSED_IN_ALL + 2 * len(places)
    ticks = Counter(dict.fromkeys(places, 0))
    for one in told:
        ticks[one.location] += one.ticks if isinstance(one, Missed) else 1
    assert set(ticks.values()) <= {120, 121}
