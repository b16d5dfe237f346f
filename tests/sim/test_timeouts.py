"""Time-outs from forecasts in a simulated network, beside TCP's own rule (RFC 6298)."""

from __future__ import annotations

import math
from random import Random
from typing import Protocol

import pytest

from vagus.errors import ConfigError
from vagus.forecast.timeouts import Timeouts


class Rule(Protocol):
    def observed(self, key: str, duration_s: float) -> None: ...
    def failed(self, key: str, waited_s: float) -> None: ...
    def timeout_s(self, key: str) -> float: ...


class Tcp:
    """RFC 6298 with Karn's rule, for one key."""

    def __init__(self, floor_s: float, ceiling_s: float) -> None:
        self.floor_s, self.ceiling_s = floor_s, ceiling_s
        self.mean_s, self.deviation_s, self.factor = math.nan, math.nan, 1.0

    def observed(self, key: str, duration_s: float) -> None:
        if math.isnan(self.mean_s):
            self.mean_s, self.deviation_s = duration_s, duration_s / 2
        self.deviation_s = 0.75 * self.deviation_s + 0.25 * abs(self.mean_s - duration_s)
        self.mean_s = 0.875 * self.mean_s + 0.125 * duration_s
        self.factor = 1.0

    def failed(self, key: str, waited_s: float) -> None:
        self.factor *= 2

    def timeout_s(self, key: str) -> float:
        base = 1.0 if math.isnan(self.mean_s) else self.mean_s + 4 * self.deviation_s
        return min(max(base * self.factor, self.floor_s), self.ceiling_s)


def run(rule: Rule, seed: int, shift: float, calls: int = 400) -> tuple[list[int], list[float]]:
    """Calls of 20 ms, after half of them `shift` times that. False time-outs, and time-outs per latency, by half."""
    rng, false, generous = Random(seed), [0, 0], [0.0, 0.0]
    for call in range(calls):
        half = int(call >= calls // 2)
        level_s = 0.02 * (shift if half else 1.0)
        while True:
            latency_s, wait_s = level_s * rng.lognormvariate(0, 0.15), rule.timeout_s("peer")
            if latency_s <= wait_s:
                break
            rule.failed("peer", wait_s)
            false[half] += 1
            assert false[half] < calls, "a storm"
        rule.observed("peer", latency_s)
        generous[half] += wait_s / level_s / (calls // 2)
    return false, generous


@pytest.mark.parametrize("shift", [2.0, 5.0, 20.0])
def test_a_latency_shift_is_followed_without_a_storm(shift: float) -> None:
    ours, tcps = [0, 0], [0, 0]
    for seed in range(3):
        false, generous = run(Timeouts(0.001, 60.0), seed, shift)
        theirs, _ = run(Tcp(0.001, 60.0), seed, shift)
        assert false[1] <= 3 + math.log2(shift), "the backing off, and one or two by chance"
        assert max(generous) < 3.0, "a time-out is soon near what calls take"
        ours, tcps = (
            [x + y for x, y in zip(ours, false, strict=True)],
            [x + y for x, y in zip(tcps, theirs, strict=True)],
        )
    assert sum(ours) < sum(tcps), "less often wrong than TCP's rule"


def test_a_faster_network_makes_them_short_again() -> None:
    timeouts = Timeouts(0.001, 60.0)
    run(timeouts, 1, 1 / 50)
    assert timeouts.timeout_s("peer") < 0.002


def test_failures_back_off_to_the_ceiling_and_an_answer_ends_that() -> None:
    timeouts = Timeouts(0.01, 8.0)
    for _ in range(30):
        timeouts.observed("peer", 0.1)
    wait_s = timeouts.timeout_s("peer")
    assert 0.1 <= wait_s < 0.15
    waits = []
    for _ in range(10):
        timeouts.failed("peer", wait_s)
        wait_s = timeouts.timeout_s("peer")
        waits.append(wait_s)
    assert waits[0] == pytest.approx(0.2, rel=0.5)
    assert waits == sorted(waits)
    assert waits[-1] == 8.0
    assert timeouts.timeout_s("other") == 1.0, "each key for itself"
    timeouts.observed("peer", 0.1)
    assert timeouts.timeout_s("peer") < 0.15


def test_bounds_and_the_first_answer() -> None:
    timeouts = Timeouts(0.5, 2.0, first_s=10.0)
    assert timeouts.timeout_s("peer") == 2.0
    timeouts.observed("peer", 0.2)
    assert timeouts.timeout_s("peer") == pytest.approx(0.2 + 4 * 0.1), "three times the first, as TCP"
    timeouts.observed("peer", 1e-6)
    timeouts.forget("peer")
    timeouts.observed("peer", 1e-6)
    assert timeouts.timeout_s("peer") == 0.5


def test_failures_before_any_answer_back_off_too() -> None:
    timeouts = Timeouts(0.1, 60.0, first_s=1.0)
    timeouts.failed("peer", 1.0)
    assert timeouts.timeout_s("peer") == 2.0


def test_the_key_unused_for_longest_is_forgotten() -> None:
    timeouts = Timeouts(0.001, 60.0, most_keys=40)
    for key in range(40):
        timeouts.observed(key, 0.1 + key / 1000)
    timeouts.timeout_s(0)
    timeouts.observed("new", 0.5)
    assert len(timeouts) == 40
    assert timeouts.timeout_s(1) == 1.0, "forgotten"
    assert timeouts.timeout_s(0) == pytest.approx(0.3)
    assert timeouts.timeout_s("new") == pytest.approx(1.5)
    for key in range(500):
        timeouts.observed(f"more {key}", 0.2)
    assert len(timeouts) == 40
    assert timeouts.timeout_s("more 499") == pytest.approx(0.6)


def test_many_answers_of_many_keys_are_told_apart() -> None:
    timeouts = Timeouts(0.001, 60.0)
    for _ in range(25):
        for key in range(100):
            timeouts.observed(key, 0.01 * (key + 1))
    for key in range(100):
        assert timeouts.timeout_s(key) == pytest.approx(0.01 * (key + 1), rel=0.01)


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
def test_what_is_no_duration_is_refused(wrong: float) -> None:
    timeouts = Timeouts(0.1, 1.0)
    with pytest.raises(ConfigError, match="duration"):
        timeouts.observed("peer", wrong)
    with pytest.raises(ConfigError, match="duration"):
        timeouts.failed("peer", wrong)
    timeouts.observed("peer", 0.1)
    assert timeouts.timeout_s("peer") == pytest.approx(0.3)


def test_wrong_bounds_are_refused() -> None:
    for floor_s, ceiling_s in ((0.0, 1.0), (2.0, 1.0), (1.0, math.inf)):
        with pytest.raises(ConfigError, match="floor_s"):
            Timeouts(floor_s, ceiling_s)
    for options in ({"first_s": 0.0}, {"errors": -1.0}, {"backoff": 0.5}, {"most_keys": 0}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            Timeouts(0.1, 1.0, **options)  # type: ignore[arg-type]
