"""One configuration everywhere: `auto`, with its defaults, in worlds of many kinds; scores from 0 (random) to 1 (oracle)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from vagus.controllers.decide.replay import Setup, replay
from vagus.controllers.decide.trace import GroupTrace, Trace
from vagus.policies.bank import Floats

TICKS = 600
World = Callable[[np.random.Generator], Floats]


def still(arms: int) -> World:
    return lambda rng: np.tile(rng.random(arms), (TICKS, 1))


def walk(arms: int, step: float) -> World:
    return lambda rng: rng.random(arms) + np.cumsum(rng.normal(0.0, step, (TICKS, arms)), axis=0)


def switching(rng: np.random.Generator) -> Floats:
    return np.repeat(rng.random((TICKS // 100, 5)), 100, axis=0)


def one_rises(rng: np.random.Generator) -> Floats:
    values = np.tile([0.7, 0.5, 0.4, 0.3, 0.2], (TICKS, 1))
    values[TICKS // 2 :, 4] = 0.95
    return values


def best_falls(rng: np.random.Generator) -> Floats:
    values = np.tile([0.9, 0.6, 0.5, 0.3, 0.2], (TICKS, 1))
    values[TICKS // 2 :, 0] = 0.1
    return values


def failover(rng: np.random.Generator) -> Floats:
    """As `vagus experiment failover`: every 40 s another arm is the best, and none tells but by being tried."""
    values, best, off = np.empty((TICKS, 4)), rng.integers(4), rng.integers(80)
    for tick in range(TICKS):
        at = (best + (tick + off) // 80) % 4
        values[tick, (at + np.arange(4)) % 4] = 0.9, 0.2, 0.35, 0.5
    return values


def score(world: World, policy: str = "auto", *, scale: float = 1.0, setup: Setup = Setup(noise=0.2)) -> float:  # noqa: B008
    traces = []
    for seed in range(4):
        values = world(np.random.default_rng(seed)) * scale
        arms = tuple(f"arm{at}" for at in range(values.shape[1]))
        traces.append(Trace(f"{seed}", arms, (GroupTrace("g", np.arange(TICKS) * 0.5, values),)))
    return replay(traces, policy, setup=setup._replace(noise=setup.noise * scale), seeds=(1, 2)).score


@pytest.mark.parametrize(
    ("world", "least"),
    [
        (still(2), 0.88),
        (still(5), 0.94),
        (still(50), 0.85),
        (walk(5, 0.01), 0.92),
        (walk(5, 0.05), 0.94),
        (walk(20, 0.03), 0.90),
        (switching, 0.80),
        (one_rises, 0.77),
        (best_falls, 0.91),
    ],
    ids=["two", "five", "fifty", "slow walk", "fast walk", "twenty walks", "switching", "one rises", "best falls"],
)
def test_every_kind_of_world(world: World, least: float) -> None:
    assert score(world) > least


@pytest.mark.parametrize("rate", [2.0, 200.0], ids=["one reward in a tick", "a hundred"])
def test_any_traffic(rate: float) -> None:
    least = {2.0: (0.78, 0.84), 200.0: (0.97, 0.95)}[rate]
    found = [score(world, setup=Setup(noise=0.2, rate=rate)) for world in (still(5), walk(5, 0.05))]
    assert found[0] > least[0]
    assert found[1] > least[1]


@pytest.mark.parametrize("scale", [1e-3, 1e6])
def test_any_scale(scale: float) -> None:
    assert score(walk(5, 0.03), scale=scale) == pytest.approx(score(walk(5, 0.03)), abs=0.01)


@pytest.mark.parametrize(("delay_s", "least"), [(0.0, 0.93), (10.0, 0.80)])
def test_any_delay(delay_s: float, least: float) -> None:
    assert score(walk(5, 0.03), setup=Setup(noise=0.2, delay_s=delay_s)) > least


def test_rewards_of_zero_and_one() -> None:
    """The trace is drawn anew for every session: Bernoulli arms."""
    rng = np.random.default_rng(8)
    means = np.array([0.3, 0.5, 0.4, 0.8, 0.2])
    drawn = (rng.random((6000, 5)) < means).astype(float)
    trace = Trace("b", tuple("abcde"), (GroupTrace("g", np.arange(6000) * 0.1, drawn),))
    found = replay(trace, "auto", setup=Setup(), seeds=range(4))
    assert (found.mean - found.random) / (found.static - found.random) > 0.93


@pytest.mark.parametrize(
    ("world", "setup", "least"),
    [
        (failover, Setup(noise=0.1, delay_s=0.3), 0.78),
        (failover, Setup(noise=0.1, delay_s=2.0), 0.70),
        (failover, Setup(noise=0.1, delay_s=0.3, rate=60.0), 0.88),
        (switching, Setup(), 0.81),
        (switching, Setup(noise=0.2, rate=200.0), 0.86),
    ],
    ids=["failover", "failover, late rewards", "failover, dense", "switching without noise", "switching, dense"],
)
def test_jumps_are_followed(world: World, setup: Setup, least: float) -> None:
    assert score(world, setup=setup) > least


def test_ahead_of_what_forgets_at_a_fixed_pace() -> None:
    for world in (walk(5, 0.05), walk(20, 0.03), still(50)):
        assert score(world) > score(world, "ucb")
        assert score(world) > score(world, "thompson")
