"""Autothrottle's captain, rule by rule."""

from __future__ import annotations

import json
import math
from random import Random
from statistics import pstdev

import pytest

from vagus.errors import ConfigError, PolicyError
from vagus.policies import LIMIT_POLICIES
from vagus.policies.throttle import ThrottleTarget


def step(policy: ThrottleTarget, usage: float, limit: float, throttled: float, elapsed_s: float = 1.0) -> float | None:
    return policy.step(
        {"usage_cores": usage, "limit_cores": limit, "throttled_ratio": throttled, "elapsed_s": elapsed_s}
    )


def test_grows_with_the_excess_over_three_targets() -> None:
    assert step(ThrottleTarget(target=0.1), 1.0, 1.0, 0.8) == pytest.approx(1 + 0.8 - 0.3)


@pytest.mark.parametrize("elapsed_s", [0.0, -1.0, math.nan, math.inf])
def test_a_time_that_cannot_be_counts_as_a_window(elapsed_s: float) -> None:
    policy = ThrottleTarget(target=0.1, early=True)
    assert step(policy, 1.0, 1.0, 0.8, elapsed_s) == pytest.approx(1.5)
    assert step(policy, 1.0, 1.0, 0.8, elapsed_s) == pytest.approx(1.5)


def test_leaves_the_limit_near_the_target() -> None:
    assert step(ThrottleTarget(target=0.1), 0.95, 1.0, 0.2) is None


def test_shrinks_to_the_highest_use_and_a_margin() -> None:
    policy = ThrottleTarget(target=0.1)
    for usage in (0.70, 0.80):
        step(policy, usage, 1.0, 0.2)  # the margin grows by 0.1 each; 0.8 + 0.005 is below 0.9
    assert policy.margin == pytest.approx(0.2)
    assert step(policy, 0.75, 1.0, 0.1) == pytest.approx(0.8 + 0.2 * pstdev((0.7, 0.8, 0.75)))


def test_never_shrinks_below_half() -> None:
    assert step(ThrottleTarget(), 0.01, 4.0, 0.0) == 2.0


def test_the_margin_never_falls_below_zero() -> None:
    policy = ThrottleTarget(target=0.1)
    for _ in range(20):
        step(policy, 0.5, 0.52, 0.0)
    assert policy.margin == 0.0


def test_throttling_after_a_shrink_reverts_it() -> None:
    policy = ThrottleTarget(target=0.1)
    shrunk = step(policy, 0.5, 2.0, 0.0)
    assert shrunk == 1.0
    assert step(policy, 1.0, shrunk, 1.0, elapsed_s=0.1) is None  # one period of ten is within three targets
    for _ in range(2):
        assert step(policy, 1.0, shrunk, 1.0, elapsed_s=0.1) is None
    assert step(policy, 1.0, shrunk, 1.0, elapsed_s=0.1) == 2.0  # the fourth: before the window ends
    assert policy.margin == pytest.approx(0.3)


def test_a_shrink_that_was_never_applied_is_not_reverted() -> None:
    policy = ThrottleTarget(target=0.1)
    assert step(policy, 0.5, 2.0, 0.0) == 1.0
    assert step(policy, 2.0, 2.0, 0.4) == pytest.approx(2.0 * 1.1)


def test_samples_of_one_period_decide_every_ten() -> None:
    policy = ThrottleTarget(target=0.1)
    answers = [step(policy, 1.0, 1.0, float(i % 2), elapsed_s=0.1) for i in range(20)]
    assert [i for i, answer in enumerate(answers) if answer is not None] == [9, 19]
    assert answers[9] == pytest.approx(1 + 0.5 - 0.3)


def test_only_the_last_uses_count() -> None:
    policy = ThrottleTarget(history=5)
    step(policy, 3.0, 4.0, 0.0)
    for _ in range(5):
        answer = step(policy, 1.5, 2.0, 0.0)
    assert answer == 1.5


def test_an_unlimited_target_gets_a_proposal_from_its_use() -> None:
    policy = ThrottleTarget(headroom=2.0)
    assert step(policy, 0.0, math.nan, math.nan) is None
    assert step(policy, 1.0, math.nan, math.nan) == pytest.approx(1.0 + 2 * pstdev((0, 1)))


@pytest.mark.parametrize("usage", [math.nan, math.inf, -1.0])
def test_without_a_use_it_cannot_decide(usage: float) -> None:
    with pytest.raises(PolicyError, match="usage_cores"):
        step(ThrottleTarget(), usage, 1.0, 0.0)
    with pytest.raises(PolicyError):
        ThrottleTarget().step({})


@pytest.mark.parametrize(
    "option", [{"target": 2}, {"target": "a"}, {"history": 0}, {"alpha": True}, {"window_s": math.nan}]
)
def test_bad_options_are_named(option: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(option))):
        ThrottleTarget(**option)  # type: ignore[arg-type]


def test_state_goes_through_json() -> None:
    policy, other = ThrottleTarget(), LIMIT_POLICIES.make("throttle")
    for i in range(60):
        step(policy, 1 + i % 7 / 10, 2.0, 0.3)
    other.restore(json.loads(json.dumps(policy.state())))
    assert other.state() == policy.state()
    for bad in ({}, {"margin": "x", "uses": []}, {"margin": 1, "uses": [math.nan]}, {"margin": -1, "uses": []}):
        with pytest.raises(PolicyError):
            other.restore(bad)
    assert other.state() == policy.state()


def test_holds_a_throttled_service_near_its_target() -> None:
    """A service that wants 1.0 ± 0.3 cores, in closed loop: the limit settles above the use, below twice of it."""
    policy, limit, demand_at = ThrottleTarget(target=0.1), 8.0, [1.0, 1.3, 0.7, 1.1, 0.9]
    throttled = []
    for i in range(400):
        demand = demand_at[i % 5]
        over = demand > limit
        throttled.append(float(over))
        limit = step(policy, min(demand, limit), limit, float(over), elapsed_s=0.1) or limit
    assert 0.9 < limit < 2.0
    assert sum(throttled[-100:]) / 100 < 0.35


def test_early_it_grows_as_soon_as_a_window_is_sure_to_exceed() -> None:
    policy, late = ThrottleTarget(target=0.1, early=True), ThrottleTarget(target=0.1)
    answers = [step(policy, 1.0, 1.0, 1.0, elapsed_s=0.1) for _ in range(4)]
    assert answers[:3] == [None] * 3  # three of ten periods are three targets
    assert answers[3] == pytest.approx(1 + 1 - 0.3)
    assert policy.margin == pytest.approx(0.4 * 0.9)  # four tenths of a window
    assert [step(late, 1.0, 1.0, 1.0, elapsed_s=0.1) for _ in range(4)] == [None] * 4
    assert step(ThrottleTarget(target=0.0, early=True), 1.0, 1.0, 1.0, elapsed_s=0.2) == pytest.approx(2.0)


def test_uses_may_be_remembered_by_time() -> None:
    policy = ThrottleTarget(history_s=2.0)
    step(policy, 3.0, 4.0, 0.0, elapsed_s=0.25)
    for _ in range(7):
        step(policy, 1.0, 4.0, 0.0, elapsed_s=0.25)
    assert policy.state()["uses"][0] == 3.0
    step(policy, 1.0, 4.0, 0.0, elapsed_s=0.25)
    assert policy.state()["uses"] == [1.0] * 8


def test_steps_of_uneven_length_settle_all_the_same() -> None:
    """0.1 to 0.25 s: a service that uses 0.2 ± 0.1 cores in each period ends between its use and three times of it."""
    rng, limits = Random(1), []
    for early in (False, True):
        policy, limit, total = ThrottleTarget(target=0.04, early=early, history_s=5.0, history=200), 2.0, 0.0
        for _ in range(600):
            elapsed_s = rng.uniform(0.1, 0.25)
            demand = rng.uniform(0.1, 0.3)
            limit = step(policy, min(demand, limit), limit, float(demand > limit), elapsed_s) or limit
            total += limit
        limits.append(limit)
    assert all(0.2 < limit < 0.6 for limit in limits)
