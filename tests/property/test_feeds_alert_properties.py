"""The state machine of alerts: never clears on missing, never begins before `for`, bounded when it flaps."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.clock import NS
from vagus.feeds.tools.alert_state import FLAP_WINDOW_S, AlertState, Change, Timing

JUDGED = st.sampled_from([True, False, None])
STEPS = st.lists(st.tuples(st.integers(0, 900), JUDGED, JUDGED, st.booleans()), max_size=80)
TIMING = st.builds(
    Timing,
    st.sampled_from([0.0, 60.0, 300.0]),
    st.sampled_from([0.0, 60.0, 600.0]),
    st.sampled_from([0.0, 120.0]),
    st.integers(1, 6),
)


@settings(max_examples=40, deadline=None)
@given(STEPS, TIMING)
def test_feature_11_alert_state_machine(
    steps: list[tuple[int, bool | None, bool | None, bool]], timing: Timing
) -> None:
    """Against the whole history, kept and searched at each step."""
    state = AlertState()
    history: list[tuple[int, bool | None, bool | None]] = []  # judgements since the last change
    changes: list[tuple[int, Change]] = []
    now_s = 1000
    for gap_s, bad, clear, tick in steps:
        now_s += gap_s
        before = state.standing
        if tick:
            change = state.passed(timing, now_s * NS)
            assert change in (None, Change.GOES_ON)
            assert state.standing == before
        else:
            history.append((now_s, bad, clear))
            change = state.judged(bad, clear, timing, now_s * NS)
        if change is not None:
            changes.append((now_s, change))
        if change is Change.BEGAN:
            assert not before
            assert bad
            run = [entry for entry in history if entry[1] is not None]
            since = len(run)
            while since and run[since - 1][1]:
                since -= 1
            assert now_s - run[since][0] >= timing.for_s
            assert state.since_ns == run[since][0] * NS
        elif change is Change.ENDED:
            assert before
            assert clear
            run = [entry for entry in history if entry[2] is not None or entry[1]]
            since = len(run)
            while since and run[since - 1][2]:
                since -= 1
            assert now_s - run[since][0] >= timing.clear_s
        elif change is Change.GOES_ON:
            assert state.standing
        else:
            assert state.standing == before
        if change in (Change.BEGAN, Change.ENDED):
            history = []
        if bad is None and clear is None:
            assert state.standing == before
    kinds = [change for _, change in changes if change is not Change.GOES_ON]
    assert kinds == [Change.BEGAN, Change.ENDED] * (len(kinds) // 2) + [Change.BEGAN] * (len(kinds) % 2)
    told = [t for t, change in changes if change in (Change.BEGAN, Change.GOES_ON)]
    if timing.repeat_s:
        again = [n for n, (_, change) in enumerate(changes) if change is Change.GOES_ON]
        assert all(changes[n][0] - changes[n - 1][0] >= timing.repeat_s for n in again)
    else:
        assert len(told) == kinds.count(Change.BEGAN)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 120), min_size=50, max_size=400), st.integers(1, 6))
def test_feature_11_alert_begins_within_any_hour_are_bounded(gaps: list[int], most: int) -> None:
    timing = Timing(most_begins=most)
    state = AlertState()
    begins = []
    now_s = 0
    for n, gap in enumerate(gaps):
        now_s += gap
        if state.judged(n % 2 == 0, n % 2 == 1, timing, now_s * NS) is Change.BEGAN:
            begins.append(now_s)
    for first in begins:
        assert sum(first <= t < first + FLAP_WINDOW_S for t in begins) <= most
