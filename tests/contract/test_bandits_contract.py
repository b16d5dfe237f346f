"""What every registered bandit keeps."""

from __future__ import annotations

import json
import math
from random import Random

import pytest

from vagus.errors import ConfigError
from vagus.policies import OLD_BANDITS
from vagus.policies import GroupBandit as Bandit

ARMS = [f"arm {at}:;\\é" for at in range(6)]
NAMES = list(OLD_BANDITS)


def _learned(name: str, seed: int = 1) -> Bandit:
    bandit = OLD_BANDITS.make(name, Random(seed))
    noise = Random(9)
    for _ in range(20):
        bandit.tick()
        bandit.learn([(arm, noise.gauss(at, 2.0)) for at, arm in enumerate(ARMS[:4])])
    return bandit


def _is_distribution(weights: list[float], count: int) -> bool:
    return len(weights) == count and min(weights) >= 0.0 and math.isclose(math.fsum(weights), 1.0, abs_tol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_probabilities_of_any_arms(name: str) -> None:
    fresh, learned = OLD_BANDITS.make(name, Random(1)), _learned(name)
    many = [f"m{at}" for at in range(1000)]
    for arms in (ARMS, ARMS[:1], ARMS[4:], ARMS[::-1], many, ARMS + many[:300]):
        for bandit in (fresh, learned):
            assert _is_distribution(bandit.weights(arms), len(arms))


@pytest.mark.parametrize("name", NAMES)
def test_an_arm_never_seen_is_explored(name: str) -> None:
    bandit = _learned(name)
    assert bandit.weights(ARMS)[5] > 0.0


@pytest.mark.parametrize("name", NAMES)
def test_constant_rewards_leave_no_arm_out(name: str) -> None:
    bandit = OLD_BANDITS.make(name, Random(1))
    bandit.learn([("a", 0.0)] * 50)
    bandit.tick()
    weights = bandit.weights(["a", "b"])
    assert _is_distribution(weights, 2)
    assert weights[1] > 0.0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rewards", [[1e100, -1e100], [1e-300, -1e-300], [1e15, 1e15 + 1], [0.0, -0.0]])
def test_extreme_rewards_stay_finite(name: str, rewards: list[float]) -> None:
    bandit = OLD_BANDITS.make(name, Random(1))
    for _ in range(50):
        bandit.learn([("a", rewards[0]), ("b", rewards[1])])
        bandit.tick()
    assert _is_distribution(bandit.weights(["a", "b", "c"]), 3)
    json.dumps(bandit.state(), allow_nan=False)


@pytest.mark.parametrize("name", NAMES)
def test_a_long_silence_does_no_harm(name: str) -> None:
    bandit = _learned(name)
    for _ in range(5000):
        bandit.tick()
    assert _is_distribution(bandit.weights(ARMS), len(ARMS))
    bandit.learn([(ARMS[0], 1.0)])
    assert _is_distribution(bandit.weights(ARMS), len(ARMS))


@pytest.mark.parametrize("name", NAMES)
def test_state_round_trips_through_json(name: str) -> None:
    learned = _learned(name, seed=3)
    other = OLD_BANDITS.make(name, Random(4))
    other.restore(json.loads(json.dumps(learned.state(), allow_nan=False)))
    assert other.state() == learned.state()
    same, again = OLD_BANDITS.make(name, Random(8)), OLD_BANDITS.make(name, Random(8))
    same.restore(learned.state())
    again.restore(other.state())
    assert same.weights(ARMS) == again.weights(ARMS)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides(name: str) -> None:
    assert [_learned(name, 5).weights(ARMS) for _ in range(3)] == [_learned(name, 5).weights(ARMS) for _ in range(3)]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "uniform"])
@pytest.mark.parametrize("reward", [math.nan, math.inf, -math.inf, 1e101])
def test_a_reward_that_is_no_number_is_refused(name: str, reward: float) -> None:
    bandit = _learned(name)
    before = bandit.state()
    with pytest.raises(ConfigError, match="finite"):
        bandit.learn([("a", reward)])
    assert bandit.state() == before


@pytest.mark.parametrize("name", [name for name in NAMES if name != "uniform"])
def test_the_better_arm_is_found_and_found_again(name: str) -> None:
    bandit = OLD_BANDITS.make(name, Random(1))
    noise = Random(2)
    for best in ("a", "b"):
        for _ in range(150):
            for arm, weight in zip(("a", "b"), bandit.weights(["a", "b"]), strict=True):
                bandit.learn([(arm, noise.gauss(arm == best, 0.3)) for _ in range(round(10 * weight))])
            bandit.tick()
        weights = dict(zip(("a", "b"), bandit.weights(["a", "b"]), strict=True))
        assert weights[best] > 0.7
