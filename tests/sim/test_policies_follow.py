"""Each policy finds the best arm, and those that adapt follow a change: regret relative to random choice, seeded.

1: as random choice, 0: an oracle. Thirty groups at once; rewards come two ticks late.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest

from vagus.policies import BANDITS
from vagus.policies.bank import Floats, Ints

GROUPS, ARMS, WIDTH = 30, 5, 8
Means = Callable[[int], Floats]
Draw = Callable[[np.random.Generator, Floats], Floats]


def stationary(tick: int) -> Floats:
    return np.array([0.3, 0.5, 0.4, 0.8, 0.2])


def switching(tick: int) -> Floats:
    means = np.full(ARMS, 0.2)
    means[tick // 100 % ARMS] = 0.8
    return means


def bernoulli(rng: np.random.Generator, means: Floats) -> Floats:
    return (rng.random(means.shape) < means).astype(np.float64)


def milliseconds(rng: np.random.Generator, means: Floats) -> Floats:
    return 1000.0 * rng.normal(means - 2.0, 0.3)  # negative, of another size: costs of latency


@functools.cache
def regret(name: str, means: Means, draw: Draw, per_tick: int, seed: int = 3, ticks: int = 500) -> Floats:
    """Regret relative to random choice in each fifth of the time."""
    rng, bank = np.random.default_rng(seed), BANDITS.make(name, np.random.default_rng(seed + 1))
    bank.resize(GROUPS, WIDTH)
    rows, feasible = np.arange(GROUPS), np.zeros((GROUPS, WIDTH), bool)
    feasible[:, :ARMS] = True
    lost = np.zeros((ticks, 2))
    late: list[tuple[Ints, Floats]] = []
    for tick in range(ticks):
        mean = means(tick)
        cumulated = np.cumsum(bank.weights(rows, feasible)[:, :ARMS], axis=1)
        chosen = (rng.random((GROUPS, per_tick, 1)) * cumulated[:, None, -1:] > cumulated[:, None, :]).sum(axis=2)
        lost[tick] = (mean.max() - mean[chosen]).mean(), mean.max() - mean.mean()
        late.append((chosen.reshape(-1), draw(rng, mean[chosen.reshape(-1)])))
        bank.tick()
        if len(late) > 2:
            places, values = late.pop(0)
            bank.learn(np.repeat(rows, per_tick), places, values)
    by_fifth = lost.reshape(5, -1, 2).sum(axis=1)
    shares: Floats = by_fifth[:, 0] / by_fifth[:, 1]
    return shares


@pytest.mark.parametrize("draw", [bernoulli, milliseconds])
@pytest.mark.parametrize(
    ("name", "per_tick", "bound"),
    [
        ("ucb", 20, 0.05),
        ("ucb", 1, 0.2),
        ("thompson", 20, 0.07),
        ("thompson", 1, 0.25),
        ("restarted", 20, 0.08),
        ("restarted", 1, 0.3),
        ("epsilon", 20, 0.15),
        ("epsilon", 1, 0.5),
        ("prediction", 20, 0.4),  # random for its first minute
        ("static", 20, 0.15),
    ],
)
def test_the_best_arm_is_found(name: str, per_tick: int, bound: float, draw: Draw) -> None:
    assert regret(name, stationary, draw, per_tick).mean() < bound


@pytest.mark.parametrize("draw", [bernoulli, milliseconds])
@pytest.mark.parametrize(
    ("name", "per_tick", "bound"),
    [
        ("ucb", 20, 0.22),
        ("ucb", 1, 0.45),
        ("thompson", 20, 0.25),
        ("thompson", 1, 0.6),
        ("restarted", 20, 0.7),
        ("epsilon", 20, 0.5),
        ("epsilon", 1, 0.7),
    ],
)
def test_a_change_is_followed(name: str, per_tick: int, bound: float, draw: Draw) -> None:
    assert regret(name, switching, draw, per_tick).mean() < bound


def test_epsilon_exploits_all_but_epsilon() -> None:
    """The defect not to repeat: an epsilon-greedy that always picks at random."""
    assert regret("epsilon", stationary, bernoulli, 20)[1:].max() < 0.11


@pytest.mark.parametrize("name", ["static", "prediction"])
def test_baselines_do_not_follow(name: str) -> None:
    assert regret(name, switching, bernoulli, 20).mean() > 0.8


def test_the_published_constant_suits_one_unit_alone() -> None:
    """A bonus of 1000 beside rewards of 0 to 1 is random choice: why ours is in units of the spread."""
    assert regret("pytheas", stationary, bernoulli, 20).mean() > 0.9
    assert regret("pytheas", stationary, milliseconds, 20).mean() < 0.9


def test_the_yardstick_is_random_choice() -> None:
    assert regret("uniform", stationary, bernoulli, 20).mean() == pytest.approx(1.0, abs=0.02)
