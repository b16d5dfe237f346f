"""Bandits: the published index, forgetting, exploration of what was never seen, exact state."""

from __future__ import annotations

import math
from random import Random

import pytest

from vagus.errors import ConfigError
from vagus.policies.discounted import MAX_ARMS, DiscountedMeans
from vagus.policies.old_thompson import DiscountedThompson
from vagus.policies.old_ucb import DiscountedUCB
from vagus.policies.uniform import Uniform


def test_means_are_the_discounted_sums_of_the_paper() -> None:
    means = DiscountedMeans(0.8)
    batches = [[("a", 1.0), ("b", 4.0)], [("a", 3.0)], [("b", 2.0), ("b", 6.0)]]
    for batch in batches:
        means.decay()
        for arm, reward in batch:
            means.add(arm, reward)
    counts = {"a": 0.8**2 + 0.8, "b": 0.8**2 + 2}
    sums = {"a": 0.8**2 * 1 + 0.8 * 3, "b": 0.8**2 * 4 + 2 + 6}
    for arm in "ab":
        assert means.arms[arm] == pytest.approx((counts[arm], sums[arm] / counts[arm]))
    weights = [(0.64, 1), (0.64, 4), (0.8, 3), (1, 2), (1, 6)]
    total = sum(w for w, _ in weights)
    mean = sum(w * r for w, r in weights) / total
    variance = sum(w * (r - mean) ** 2 for w, r in weights) / total
    assert means.spread == pytest.approx(math.sqrt(variance))


def test_spread_is_exact_far_from_zero() -> None:
    means = DiscountedMeans(0.99)
    for at in range(1000):
        means.decay()
        means.add("a", 1e9 + (at % 2))
    assert means.spread == pytest.approx(0.5, rel=1e-3)


def test_an_arm_fades_without_rewards_and_is_forgotten() -> None:
    means = DiscountedMeans(0.5)
    means.add("old", 1.0)
    means.decay()
    assert means.arms["old"][0] == 0.5
    for _ in range(2000):
        means.decay()
    assert means.arms == {}
    assert means.spread == 0.0
    means.add("old", -3.0)
    assert means.mean == -3.0


def test_without_discount_nothing_is_forgotten_but_memory_is_bounded() -> None:
    means = DiscountedMeans(1.0)
    means.add("kept", 1.0)
    means.add("kept", 1.0)
    for at in range(MAX_ARMS):
        means.add(f"arm{at}", 0.0)
        means.decay()
    assert len(means.arms) == MAX_ARMS
    assert means.arms["kept"] == (2.0, 1.0)


def test_ucb_takes_the_arm_with_the_highest_index() -> None:
    bandit = DiscountedUCB(Random(1), gamma=1.0, bonus=0.0, floor=0.0)
    bandit.learn([("a", 1.0), ("b", 2.0), ("b", 2.2), ("c", 0.0)])
    assert bandit.weights(["a", "b", "c"]) == [0.0, 1.0, 0.0]
    assert bandit.weights(["c", "a"]) == [0.0, 1.0]


def test_ucb_bonus_prefers_the_less_known_of_equals_and_shares_slots() -> None:
    bandit = DiscountedUCB(Random(1), gamma=1.0, bonus=1.0, floor=0.0)
    bandit.learn([("known", reward) for _ in range(50) for reward in (0.0, 1.0)])
    bandit.learn([("rare", 0.0), ("rare", 1.0)])
    known, rare = bandit.weights(["known", "rare"])
    assert (known, rare) == (0.0, 1.0)
    bandit.learn([("rare", reward) for _ in range(48) for reward in (0.0, 1.0)])
    known, rare = bandit.weights(["known", "rare"])
    assert known >= 0.3
    assert rare >= 0.5


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_ucb_does_not_depend_on_the_unit_of_the_reward(scale: float) -> None:
    bandit = DiscountedUCB(Random(7))
    rewards = Random(3)
    for arm, mean in (("a", 1.0), ("b", 1.3), ("c", 0.7)):
        bandit.learn([(arm, scale * (5.0 + rewards.gauss(mean, 0.5))) for _ in range(30)])
    assert bandit.weights(["a", "b", "c"]) == pytest.approx(_reference_weights())


def _reference_weights() -> list[float]:
    bandit = DiscountedUCB(Random(7))
    rewards = Random(3)
    for arm, mean in (("a", 1.0), ("b", 1.3), ("c", 0.7)):
        bandit.learn([(arm, rewards.gauss(mean, 0.5)) for _ in range(30)])
    return bandit.weights(["a", "b", "c"])


def test_thompson_draws_by_posterior_and_widens_as_evidence_fades() -> None:
    bandit = DiscountedThompson(Random(5), slots=400, floor=0.0)
    noise = Random(2)
    for arm, mean in (("a", 1.0), ("b", 1.2)):
        bandit.learn([(arm, noise.gauss(mean, 0.5)) for _ in range(100)])
    _, sure = bandit.weights(["a", "b"])
    for _ in range(200):
        bandit.tick()
    _, unsure = bandit.weights(["a", "b"])
    assert sure > 0.95
    assert 0.5 < unsure < sure - 0.1


def test_thompson_tells_arms_apart_far_from_zero() -> None:
    bandit = DiscountedThompson(Random(5), floor=0.0)
    bandit.learn([(arm, 1e15 + reward) for arm, reward in (("a", 0.0), ("b", 8.0)) for _ in range(200)])
    assert bandit.weights(["a", "b"]) == [0.0, 1.0]


def test_the_floor_keeps_every_arm_possible() -> None:
    bandit = DiscountedUCB(Random(1), bonus=0.0, floor=0.1)
    bandit.learn([(arm, reward) for arm, reward in (("a", 0.0), ("b", 1.0)) for _ in range(100)])
    assert bandit.weights(["a", "b"]) == pytest.approx([0.05, 0.95])


def test_uniform_is_uniform() -> None:
    assert Uniform(Random(0)).weights(["a", "b", "c", "d"]) == [0.25] * 4


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (DiscountedUCB, {"gamma": 0.0}),
        (DiscountedUCB, {"gamma": 1.01}),
        (DiscountedUCB, {"gamma": math.nan}),
        (DiscountedUCB, {"slots": 0}),
        (DiscountedUCB, {"slots": 2.5}),
        (DiscountedUCB, {"bonus": -1.0}),
        (DiscountedUCB, {"bonus": math.inf}),
        (DiscountedUCB, {"floor": 1.5}),
        (DiscountedThompson, {"prior": 0.0}),
        (DiscountedThompson, {"gamma": -1.0}),
        (DiscountedThompson, {"floor": math.nan}),
    ],
)
def test_wrong_options_are_refused(kind: type, options: dict[str, float]) -> None:
    name = next(iter(options))
    with pytest.raises(ConfigError, match=name):
        kind(Random(0), **options)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"arms": {}},
        {"arms": [], "pooled": [0, 0, 0]},
        {"arms": {"a": [1]}, "pooled": [0, 0, 0]},
        {"arms": {"a": [1, "x"]}, "pooled": [1, 0, 0]},
        {"arms": {"a": [1, math.nan]}, "pooled": [1, 0, 0]},
        {"arms": {"a": [-1, 0.0]}, "pooled": [1, 0, 0]},
        {"arms": {}, "pooled": [0, 0, -1]},
    ],
)
def test_a_broken_state_is_refused_and_changes_nothing(state: dict[str, object]) -> None:
    bandit = DiscountedUCB(Random(0))
    bandit.learn([("a", 1.0)])
    before = bandit.state()
    with pytest.raises(ConfigError, match="state"):
        bandit.restore(state)
    assert bandit.state() == before
