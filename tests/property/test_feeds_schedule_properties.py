"""Whatever happens, each location has each tick exactly once, and one run at a time. A hand-turned clock."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.clock import NS, ManualClock
from vagus.feeds import Fetched, Net
from vagus.feeds.schedule import BackOff, Schedule
from vagus.feeds.scheduler import Missed, Scheduler, Start

steps = st.lists(
    st.tuples(st.floats(0.0, 40.0), st.lists(st.tuples(st.integers(0, 2), st.sampled_from(list(Net))), max_size=3)),
    max_size=40,
)


@settings(deadline=None, max_examples=30)
@given(steps, st.sampled_from([0.5, 3.0, 10.0]), st.floats(0.0, 100.0))
def test_each_tick_of_each_location_exactly_once(
    moves: list[tuple[float, list[tuple[int, Net]]]], period_s: float, retry_after_s: float
) -> None:
    clock = ManualClock()
    places = ["a", "b", "c"]
    schedule = Schedule(period_s=period_s, timeout_s=1.0)
    scheduler = Scheduler(schedule, places, salt="f", back_off=BackOff(cap_s=30.0, retry_cap_s=60.0))
    seen: dict[str, list[int]] = {place: [] for place in places}
    running: set[str] = set()
    for advance_s, ends in moves:
        clock.advance(advance_s)
        now = clock.time_ns()
        for told in scheduler.due(now):
            tick = schedule.tick_at(told.due_ns)
            assert schedule.due_ns(tick) == told.due_ns <= now
            if isinstance(told, Start):
                assert told.location not in running
                running.add(told.location)
                seen[told.location].append(tick)
            else:
                seen[told.location].extend(range(tick - told.ticks + 1, tick + 1))
        upcoming = scheduler.next_due()
        assert upcoming is not None
        assert now < upcoming <= now + schedule.period_ns
        for place in {places[index]: net for index, net in ends}.items():
            if place[0] in running:
                running.discard(place[0])
                scheduler.finished(place[0], Fetched(place[1], retry_after_s=retry_after_s), now)
    for ticks in seen.values():
        assert not ticks or ticks == list(range(ticks[0], ticks[-1] + 1))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 500), st.sampled_from([1.0, 7.0, 60.0, 900.0]))
def test_never_gives_up(failures: int, period_s: float) -> None:
    """However often it failed, the next try comes within the cap, or a period."""
    back_off = BackOff()
    assert 1 <= back_off.ticks(failures, period_s) <= max(1.0, back_off.cap_s / period_s)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(0, 300))
def test_a_restart_continues_where_it_was(first: int, gap: int) -> None:
    schedule = Schedule(period_s=2.0, timeout_s=1.0)
    last = schedule.due_ns(800_000_000 + first)
    now = last + gap * schedule.period_ns + schedule.spread_ns("\na") + NS
    told = Scheduler(schedule, ["a"], last_due_ns={"a": last}).due(now)
    count = sum(t.ticks if isinstance(t, Missed) else 1 for t in told)
    assert count == schedule.tick_at(now - schedule.spread_ns("\na")) - schedule.tick_at(last) == gap
