"""The default policy: what it learns of drift and noise, whom it tries, and how states merge."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from vagus.errors import ConfigError
from vagus.policies.auto import Auto
from vagus.policies.bank import Floats


def bank(rows: int = 1, width: int = 5, **options: float) -> Auto:
    made = Auto(np.random.default_rng(1), **options)
    made.resize(rows, width)
    return made


def feed(auto: Auto, means: Floats, *, ticks: int = 200, each: int = 2, noise: float = 0.1, seed: int = 1) -> None:
    """Rewards for every arm of row 0 in each tick; means: (arms,) or (ticks, arms)."""
    rng = np.random.default_rng(seed)
    for tick in range(ticks):
        now = means[tick] if means.ndim == 2 else means
        places = np.repeat(np.arange(len(now)), each)
        auto.learn(np.zeros(len(places), np.int64), places, rng.normal(now[places], noise))
        auto.tick()


def shares(auto: Auto, *, row: int = 0, without: tuple[int, ...] = ()) -> list[float]:
    feasible = np.ones((1, auto.width), bool)
    feasible[0, list(without)] = False
    found: list[float] = auto.weights(np.array([row]), feasible)[0].tolist()
    return found


MEANS = np.array([0.9, 0.85, 0.5, 0.2, 0.1])


def test_nothing_known_is_served_evenly() -> None:
    assert shares(bank()) == pytest.approx([0.2] * 5)
    assert shares(bank(), without=(1, 4)) == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3, 0])


def test_the_best_is_played_and_no_arm_falls_below_the_floor() -> None:
    auto = bank(floor=0.05)
    feed(auto, MEANS)
    found = shares(auto)
    assert found[0] > 0.85
    assert min(found) >= 0.01 - 1e-12
    assert found[3] == pytest.approx(0.01, abs=1e-3), "a try could gain nothing"
    assert shares(auto, without=(0,))[1] > 0.85
    never = bank(floor=0.0)
    feed(never, MEANS)
    assert shares(never)[4] < 1e-6


def test_an_arm_is_tried_more_the_longer_it_was_not_seen() -> None:
    rng = np.random.default_rng(3)
    auto = bank(width=2)
    walk = np.cumsum(rng.normal(0.0, 0.05, 701))
    walk[300:] -= np.linspace(0.0, walk[700] - walk[300], 401)  # the best ends where it was when the other was seen
    feed(auto, walk[:301, np.newaxis] - np.array([0.0, 0.7]), ticks=301)
    tried = [shares(auto)[1]]
    for now in walk[301:]:
        auto.learn(np.zeros(4, np.int64), np.zeros(4, np.int64), rng.normal(now, 0.1, 4))
        auto.tick()
    tried.append(shares(auto)[1])
    assert tried[0] == pytest.approx(0.0025), "the floor"
    assert tried[1] > 0.01, "uncertainty grows by the drift that was learned"


def test_drift_is_learned() -> None:
    rng = np.random.default_rng(5)
    still, walking = bank(), bank()
    feed(still, MEANS)
    feed(walking, MEANS + np.cumsum(rng.normal(0.0, 0.1, (200, 5)), axis=0))
    drift = [auto.explain(0, 5)[0]["drift"] for auto in (still, walking)]
    assert drift[0] < 0.01
    assert 0.02 < drift[1] < 0.2


def test_noise_decides_how_much_a_reward_tells() -> None:
    quiet, loud = bank(), bank()
    feed(quiet, MEANS, noise=0.01, ticks=20)
    feed(loud, MEANS, noise=1.0, ticks=20, seed=2)
    assert quiet.explain(0, 1)[0]["deviation"] < 0.01
    assert 0.05 < loud.explain(0, 1)[0]["deviation"] < 0.6
    assert sorted(shares(loud))[-2] > 0.005 > sorted(shares(quiet))[-2], "the second best may yet be the best"


def test_new_arms_are_tried_at_once() -> None:
    auto = bank(width=6)
    feed(auto, MEANS, each=1)
    assert shares(auto)[5] >= 1 / 55, "shared by the sessions of ten ticks with five rewards each"
    sparse = bank(width=4)
    sparse.learn(np.array([0]), np.array([2]), np.array([7.0]))
    sparse.tick()
    assert min(shares(sparse)) > 0.2, "one reward tells nothing of the others"


def test_equal_constant_rewards_leave_no_arm_out() -> None:
    auto = bank()
    feed(auto, np.full(5, 3.0), noise=0.0)
    assert min(shares(auto)) > 0.01


def test_rewards_that_share_a_tick_are_one_observation() -> None:
    """A thousand rewards at one moment tell that moment's worth, and little of how it moves."""
    rng = np.random.default_rng(2)
    auto = bank(width=2)
    moves = rng.normal(0.0, 0.3, (100, 2)) + np.array([0.0, 0.1])
    feed(auto, moves, ticks=100, each=1000, noise=0.01)
    assert auto.explain(0, 1)[0]["deviation"] > 0.03, "0.3 / √100 at least: not 0.01 / √100000"


def test_scale_and_offset_change_nothing() -> None:
    plain, moved = bank(), bank()
    rng = np.random.default_rng(4)
    for _ in range(50):
        places, rewards = rng.integers(5, size=10), rng.normal(0.0, 1.0, 10)
        for auto, scale, offset in ((plain, 1.0, 0.0), (moved, 1e6, 1e9)):
            auto.learn(np.zeros(10, np.int64), places, MEANS[places] * scale + rewards * scale + offset)
            auto.tick()
    assert shares(moved) == pytest.approx(shares(plain), rel=1e-3)


def test_merging_is_by_precision() -> None:
    one, two = bank(), bank()
    feed(one, MEANS, ticks=200)
    feed(two, MEANS + 0.5, ticks=5, seed=2)
    before, theirs = one.explain(0, 5), two.explain(0, 5)
    one.absorb(0, two.row(0), 1.0)
    for was, their, now in zip(before, theirs, one.explain(0, 5), strict=True):
        assert was["mean"] < now["mean"] < (was["mean"] + their["mean"]) / 2
    full = bank()
    full.absorb(0, one.row(0), 1.0)
    assert [arm["mean"] for arm in full.explain(0, 5)] == pytest.approx([arm["mean"] for arm in one.explain(0, 5)])
    untouched = one.row(0)
    one.absorb(0, two.row(0), 0.0)
    one.absorb(0, bank().row(0), 1.0)
    assert one.row(0) == untouched


def test_a_merged_state_can_be_put_back() -> None:
    """Rounding in a mean of noises must not leave one below 0, which is refused as no state."""
    auto = bank()
    feed(auto, MEANS, ticks=5)
    mine = {**auto.row(0), "noise0": 0.028319671145462966, "steps": 0.0}
    auto.set_row(0, mine)
    auto.absorb(0, {**mine, "noise0": 0.0, "steps": 211.0}, 1.0)
    auto.set_row(0, auto.row(0))
    assert auto.row(0)["noise0"] == 0.0


def test_a_state_goes_on_elsewhere_as_it_was() -> None:
    auto = bank()
    feed(auto, MEANS)
    for _ in range(30):
        auto.tick()
    state = json.loads(json.dumps(auto.row(0), allow_nan=False))
    other = bank(rows=3, width=8)
    for _ in range(7):  # a clock of its own
        other.tick()
    other.set_row(2, state)
    for _ in range(20):
        auto.tick()
        other.tick()
    assert shares(other, row=2, without=(5, 6, 7))[:5] == pytest.approx(shares(auto))
    assert other.row(1) == bank(width=8).row(0)


def test_a_fall_of_the_best_is_noticed_and_the_others_are_doubted() -> None:
    """Long quiet, then the best arm is worth what others were: within ten rewards others are tried in earnest."""
    auto = bank(width=4)
    feed(auto, np.array([0.9, 0.2, 0.35, 0.5]), ticks=100)
    rng = np.random.default_rng(7)
    for _ in range(100):
        auto.learn(np.zeros(5, np.int64), np.zeros(5, np.int64), rng.normal(0.9, 0.1, 5))
        auto.tick()
    assert shares(auto)[0] > 0.9
    for _ in range(2):
        auto.learn(np.zeros(5, np.int64), np.zeros(5, np.int64), rng.normal(0.5, 0.1, 5))
        auto.tick()
    found = shares(auto)
    assert auto.explain(0, 1)[0]["mean"] < 0.6
    assert sum(found) - max(found) > 0.1
    assert auto.doubt[0, 1] > 0.1
    auto.learn(np.zeros(3, np.int64), np.full(3, 1), rng.normal(0.9, 0.1, 3))
    auto.tick()
    assert auto.explain(0, 2)[1]["mean"] > 0.75, "what is doubted is relearned from one tick's rewards"
    assert shares(auto)[1] > 0.6


def test_how_often_arms_jump_is_learned() -> None:
    rng = np.random.default_rng(9)
    still, jumping = bank(), bank()
    feed(still, MEANS)
    feed(jumping, np.repeat(rng.random((20, 5)), 10, axis=0))
    hazard = [auto.explain(0, 1)[0]["hazard"] for auto in (still, jumping)]
    assert hazard[0] < 0.002 < 0.01 < hazard[1]


def test_what_jumps_at_every_tick_is_noise() -> None:
    auto = bank(width=2)
    feed(auto, np.random.default_rng(2).normal(0.0, 0.3, (200, 2)), ticks=200, each=100, noise=0.01)
    assert auto.explain(0, 1)[0]["deviation"] > 0.02


def test_rewards_between_ticks_are_not_lost() -> None:
    whole, parts = bank(), bank()
    rng = np.random.default_rng(6)
    for _ in range(20):
        places, rewards = rng.integers(5, size=12), rng.normal(0.0, 1.0, 12)
        whole.learn(np.zeros(12, np.int64), places, rewards)
        for at in range(12):
            parts.learn(np.zeros(1, np.int64), places[at : at + 1], rewards[at : at + 1])
        whole.tick()
        parts.tick()
    assert parts.row(0) == whole.row(0)
    parts.learn(np.zeros(1, np.int64), np.zeros(1, np.int64), np.array([5.0]))
    assert parts.row(0)["rewards"] == whole.row(0)["rewards"] + 1, "seen without a tick"


def test_options() -> None:
    for floor in (-0.1, 1.1, math.nan, "0.1", True):
        with pytest.raises(ConfigError, match="floor"):
            bank(floor=floor)  # type: ignore[arg-type]
    even = bank(floor=1.0)
    feed(even, MEANS, ticks=3)
    assert shares(even) == pytest.approx([0.2] * 5)
