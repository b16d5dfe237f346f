"""Regret relative to uniform choice (1: uniform, 0: an oracle), with the defaults, on seeded environments."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from vagus.policies import OLD_BANDITS

Means = Callable[[int], list[float]]


def stationary(tick: int) -> list[float]:
    return [0.3, 0.5, 0.4, 0.8, 0.2]


def switching(tick: int) -> list[float]:
    means = [0.2] * 5
    means[tick // 100 % 5] = 0.8
    return means


def bernoulli(rng: Random, mean: float) -> float:
    return float(rng.random() < mean)


def milliseconds(rng: Random, mean: float) -> float:
    return 1000.0 * rng.gauss(mean - 2.0, 0.3)  # negative, of another size: costs of latency


def regret(name: str, means: Means, draw: Callable[[Random, float], float], per_tick: int, seed: int) -> float:
    """The share of uniform's regret over 500 ticks; rewards come two ticks late."""
    rng, bandit = Random(seed), OLD_BANDITS.make(name, Random(seed + 1))
    arms = [f"arm{at}" for at in range(5)]
    lost = uniform = 0.0
    late: list[list[tuple[str, float]]] = [[], []]
    for tick in range(500):
        mean = means(tick)
        chosen = rng.choices(range(5), bandit.weights(arms), k=per_tick)
        lost += sum(max(mean) - mean[at] for at in chosen)
        uniform += per_tick * (max(mean) - sum(mean) / 5)
        late.append([(arms[at], draw(rng, mean[at])) for at in chosen])
        bandit.tick()
        bandit.learn(late.pop(0))
    return lost / uniform


@pytest.mark.parametrize("draw", [bernoulli, milliseconds])
@pytest.mark.parametrize(
    ("name", "means", "per_tick", "bound"),
    [
        ("ucb", stationary, 20, 0.10),
        ("ucb", stationary, 1, 0.45),
        ("ucb", switching, 20, 0.30),
        ("ucb", switching, 1, 0.55),
        ("thompson", stationary, 20, 0.10),
        ("thompson", stationary, 1, 0.55),
        ("thompson", switching, 20, 0.35),
        ("thompson", switching, 1, 0.70),
    ],
)
def test_clearly_better_than_uniform(
    name: str, means: Means, draw: Callable[[Random, float], float], per_tick: int, bound: float
) -> None:
    found = sum(regret(name, means, draw, per_tick, seed) for seed in (11, 22)) / 2
    assert found < bound


def test_the_yardstick_is_uniform() -> None:
    assert regret("uniform", stationary, bernoulli, 20, 5) == pytest.approx(1.0, abs=0.05)
