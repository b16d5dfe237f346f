"""State, action and reward of a learned limit: what they mean, and what they do with what is not known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vagus.policies.control_state import MOST, SHARED, Course, Owed, Past, Smooth, encode_all, reward, size

CORES = ("cpu_cores",)


def signals(use: float, limit: float, throttled: float = 0.0, elapsed_s: float = 1.0) -> dict[str, float]:
    return {"usage_cores": use, "limit_cores": limit, "throttled_ratio": throttled, "elapsed_s": elapsed_s}


def past_of(*uses: float, limit: float = 1.0, throttled: float = 0.0) -> Past:
    past = Past(CORES)
    for use in uses:
        past.note(signals(use, limit, throttled))
    return past


def owed_of(ratio: float, steps: int = 3) -> Owed:
    owed = Owed()
    for _ in range(steps):
        owed.note({"latency_s": 0.2 * ratio, "slo_s": 0.2, "rate_hz": 50.0, "mix_0": 30.0, "mix_1": 20.0}, 1.0)
    return owed


def test_smoothing_does_not_depend_on_the_length_of_steps() -> None:
    coarse, fine = Smooth(5.0), Smooth(5.0)
    coarse.note(0.0, 1.0)
    fine.note(0.0, 1.0)
    coarse.note(1.0, 2.0)
    for _ in range(4):
        fine.note(1.0, 0.5)
    assert coarse.value == pytest.approx(fine.value)
    before = fine.value
    assert fine.note(math.nan, 1.0) == before


def test_actions_and_limits_are_each_others_inverse_and_begin_at_the_level() -> None:
    course = past_of(0.2, 0.3, 0.25, 0.22).courses["cpu_cores"]
    assert course.limit_of(-1.0) == pytest.approx(course.level)
    for action in (-1.0, -0.5, 0.0, 0.3, 1.0):
        assert course.action_of(course.limit_of(action)) == pytest.approx(action, abs=1e-6)
    assert course.action_of(0.0) == -1.0
    assert course.action_of(math.inf) == course.action_of(math.nan) == 1.0


def test_an_action_means_the_same_for_services_of_any_size() -> None:
    small, large = past_of(0.02, 0.03, 0.025), past_of(2.0, 3.0, 2.5)
    ratio = large.courses["cpu_cores"].limit_of(0.2) / small.courses["cpu_cores"].limit_of(0.2)
    assert ratio == pytest.approx(100.0)


def test_what_is_held_at_its_limit_can_grow() -> None:
    course = past_of(*[0.5] * 100, limit=0.5, throttled=1.0).courses["cpu_cores"]
    assert course.deviation == pytest.approx(0.0, abs=1e-3)
    assert course.limit_of(1.0) == pytest.approx(0.5 * (1 + 0.1 * MOST), rel=0.02)


def test_states_are_of_one_length_and_small_whatever_comes() -> None:
    wild = Past(("cpu_cores", "io_read_bytes_s"))
    wild.note({"usage_cores": 1e9, "limit_cores": math.nan, "throttled_ratio": math.nan, "elapsed_s": math.nan})
    empty = Past(("cpu_cores", "io_read_bytes_s"))
    for ratio in (0.0, 1e-9, 1.0, 1e9, math.nan):
        states = encode_all([wild, empty], owed_of(ratio))
        assert states.shape == (2, size(2))
        assert states.dtype == np.float32
        assert np.isfinite(states).all()
        assert np.abs(states).max() <= 2.5


def test_the_state_begins_with_firms_measures() -> None:
    assert owed_of(0.5).encode()[0] == 1.0  # SM: no violation
    assert owed_of(2.0).encode()[0] == pytest.approx(0.5)
    assert Owed().encode()[0] == 0.0
    owed = owed_of(1.0)
    owed.note({"latency_s": 0.2, "slo_s": 0.2, "rate_hz": 75.0, "mix_0": 75.0}, 1.0)
    assert owed.encode()[4] == pytest.approx(0.5)  # WC: half as many again
    assert owed.encode()[6:9] == [1.0, 0.0, 0.0]  # RC
    state = encode_all([past_of(0.3, limit=0.6)], owed)[0]
    assert state[SHARED + 6] == pytest.approx(0.5)  # RU


def test_each_target_sees_the_worst_throttling_of_the_others() -> None:
    calm, hit = past_of(0.2, 0.2), past_of(0.2, 0.2, throttled=1.0)
    states = encode_all([calm, hit], owed_of(1.0))
    assert states[0][SHARED + 3] == pytest.approx(1.0, abs=1e-3)
    assert states[1][SHARED + 3] == pytest.approx(0.0)


def test_rewards_prefer_what_is_wanted() -> None:
    kept, missed = owed_of(0.5), owed_of(2.0)
    tight, wide = past_of(0.3, limit=0.4), past_of(0.3, limit=1.2)
    throttled = past_of(0.3, limit=0.3, throttled=0.5)
    assert reward(tight, kept, 1.0) > reward(wide, kept, 1.0)
    assert reward(tight, kept, 1.0) > reward(tight, missed, 1.0)
    assert reward(tight, missed, 1.0) > reward(throttled, missed, 1.0)
    # who is throttled is to blame more where the objective is missed
    blame = [reward(tight, owed, 1.0) - reward(throttled, owed, 1.0) for owed in (missed, kept)]
    assert blame[0] > 4 * blame[1]
    assert math.isfinite(reward(Past(CORES), Owed(), 0.0))


def test_a_core_costs_the_same_wherever_it_idles() -> None:
    kept = owed_of(0.5)
    small, large = past_of(0.1, limit=0.3), past_of(1.0, limit=1.2)
    assert reward(small, kept, 2.0) == pytest.approx(reward(large, kept, 2.0))


def test_a_course_without_any_use_is_not_known() -> None:
    course = Course()
    course.note(math.nan, 1.0, 1.0)
    assert not course.known
    assert course.level > 0


def test_targets_of_which_no_use_is_steered_have_a_state_all_the_same() -> None:
    past = Past(())
    past.note({"usage_cores": 0.1, "limit_replicas": 2.0, "elapsed_s": 1.0, "throttled_ratio": 0.4})
    rows = encode_all([past, Past(())], Owed())
    assert rows.shape == (2, size(0))
    assert np.isfinite(rows).all()
