"""Whatever is wanted, what passes the guard is within bounds, capacity, step and cool-down."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.config import LimitSettings
from vagus.controllers.guard import Guard
from vagus.model import Action, Target

VALUES = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))
TARGET = Target("cgroup", "web")


@settings(deadline=None, max_examples=100)
@given(
    low=st.floats(0.01, 2),
    span=st.floats(1, 50),
    ratio=st.floats(0.01, 10),
    cooldown_s=st.floats(0, 5),
    cores=st.floats(2, 64),
    start=st.one_of(st.none(), st.floats(0.001, 1000)),
    wishes=st.lists(st.tuples(VALUES, st.integers(0, 3 * 10**9), st.booleans(), VALUES), max_size=30),
)
@pytest.mark.says("guard-safe", "guard-doubt")
def test_what_passes_is_safe(
    low: float,
    span: float,
    ratio: float,
    cooldown_s: float,
    cores: float,
    start: float | None,
    wishes: list[tuple[float | None, int, bool, float | None]],
) -> None:
    high = low * span
    rule = LimitSettings(min=low, max=high, step_ratio=ratio, cooldown=cooldown_s)
    guard = Guard({"cpu_cores": rule}, {"cpu_cores": cores})
    top = min(high, cores)
    current, now_ns, passed_ns = start, 0, -math.inf
    for value, wait_ns, doubt, meddled in wishes:
        now_ns += wait_ns
        judged = guard.judge(Action(TARGET, "cpu_cores", value), current, now_ns, ["doubt"] if doubt else [])
        if judged.action is None:
            continue
        new = judged.action.value
        assert not doubt
        assert new is not None
        assert math.isfinite(new)
        assert low <= new <= top
        begin = top if current is None else min(max(current, low), top)
        assert begin * (1 - ratio) * (1 - 1e-9) <= new <= begin * (1 + ratio) * (1 + 1e-9)
        assert now_ns - passed_ns >= round(cooldown_s * 1e9)
        passed_ns = now_ns
        current = new
        if meddled is None or (math.isfinite(meddled) and meddled > 0):
            current = meddled  # someone else writes the limit
