"""Learning on a small world: training is reproducible, resumes, and comes to beat any constant headroom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fixtures.fluid_world import FluidWorld
from vagus.environments import World
from vagus.environments.training import (
    Episode,
    Score,
    compare,
    demonstrate,
    hold_out_seed,
    learn_offline,
    mean,
    play,
    train,
    world_seed,
)
from vagus.policies import Field, Wish
from vagus.policies.control_state import Past
from vagus.policies.learned import LearnedLimits

STEPS = 100


class Constant:
    """The same headroom always: an action of the learned policy that never changes."""

    name, learned = "constant", False

    def __init__(self, field: Field, action: float) -> None:
        self.field, self.action = field, action
        self._pasts: dict[str, Past] = {}

    def step(
        self, signals: Mapping[str, Mapping[str, float]], objective: Mapping[str, float], now_s: float
    ) -> Iterable[Wish]:
        for target, seen in signals.items():
            past = self._pasts.setdefault(target, Past(("cpu_cores",)))
            past.note(seen)
            yield Wish(target, "cpu_cores", past.courses["cpu_cores"].limit_of(self.action))

    def in_force(self, wishes: Mapping[tuple[str, str], float]) -> None:
        return None

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        return None


def worlds(seed: int) -> World:
    rng = np.random.default_rng(seed)
    return FluidWorld(4, rate_hz=float(rng.uniform(30, 60)), slo_s=float(rng.uniform(0.15, 0.25)))


def fresh(seed: int = 0, **options: Any) -> LearnedLimits:
    return LearnedLimits(
        worlds(0).field, np.random.default_rng(seed), **{"learn": "here", "hyper": {"tau": 0.005}, **options}
    )


def trained(policy: LearnedLimits, episodes: int, begin: int = 0) -> list[Episode]:
    return list(train(policy, worlds, episodes, steps=STEPS, begin=begin, seed=1, shielded=True))


def actions(policy: LearnedLimits) -> np.ndarray:
    model = policy.models["all"]
    return model.act_all(np.random.default_rng(0).uniform(-1, 1, (20, model.state_dim)).astype(np.float32), False)


def test_the_same_seed_trains_the_same_model() -> None:
    first, second = fresh(), fresh()
    assert trained(first, 2) == trained(second, 2)
    assert np.array_equal(actions(first), actions(second))


def test_a_training_that_is_resumed_is_the_one_that_never_stopped(tmp_path: Path) -> None:
    whole, part = fresh(), fresh()
    told = trained(whole, 3)
    for episode in train(part, worlds, 3, steps=STEPS, seed=1, shielded=True):
        if episode.number == 1:
            break
    part.models["all"].save(tmp_path / "state.npz", replay=True)
    resumed = fresh(7)
    resumed.resume({"all": tmp_path / "state.npz"})
    assert trained(resumed, 3, begin=2) == told[2:]
    assert np.array_equal(actions(resumed), actions(whole))


def test_a_frozen_policy_neither_explores_nor_learns() -> None:
    policy = fresh(explore=0.5)
    before = actions(policy)
    first, second = (play(policy.frozen(), worlds(3), 3, STEPS) for _ in range(2))
    assert first == second
    assert np.array_equal(actions(policy), before)


def test_training_and_hold_out_worlds_are_never_the_same() -> None:
    trained_on = {world_seed(seed, episode) for seed in range(3) for episode in range(1000)}
    assert trained_on.isdisjoint({hold_out_seed(number) for number in range(3000)})


def test_a_score_counts_what_happened() -> None:
    world = worlds(5)
    wide = play(Constant(world.field, 0.6), world, 5, STEPS)
    tight = play(Constant(world.field, -0.8), worlds(5), 5, STEPS)
    assert wide.steps == tight.steps == STEPS
    assert wide.violations < tight.violations
    assert wide.over < tight.over
    assert wide.requested > tight.requested > tight.used * 0.9
    assert 0.9 < wide.own <= 1.0  # but where the bounds were narrower
    assert mean([wide, tight]).violations == pytest.approx((wide.violations + tight.violations) / 2)


def test_what_cannot_decide_leaves_the_limits_as_they_are() -> None:
    policy = fresh()
    with_nothing = Field(("cgroup:elsewhere",), policy.field.bounds)
    lost = LearnedLimits(with_nothing, np.random.default_rng(0), learn="here")
    assert play(lost, worlds(5), 5, STEPS).failures == STEPS


def test_it_learns_from_others_and_comes_to_beat_any_constant_headroom() -> None:
    policy = fresh(hyper={"tau": 0.005, "critics": 2, "delay": 2})
    watcher = LearnedLimits(policy.field, np.random.default_rng(0), learn="learner")
    rows: dict[str, list[Any]] = {}
    for number, action in enumerate((-0.2, 0.1, 0.4, 0.6)):
        world = worlds(world_seed(9, number))
        _, found = demonstrate(Constant(world.field, action), world, number, 150, watcher)
        for key, more in found.items():
            rows.setdefault(key, []).extend(more)
    losses = learn_offline(policy, rows, 600, 600)
    assert losses["imitation"] < 0.2

    def score(make: Any) -> Score:
        seeds = [hold_out_seed(number) for number in range(3)]
        return mean(compare({"it": make}, worlds, seeds, 150, shielded=("it",))["it"])

    for _ in train(policy, worlds, 6, steps=150, seed=2, explore=(0.4, 0.2), shielded=True):
        pass
    found = score(lambda world: policy.frozen())
    constants = {a: score(lambda world, a=a: Constant(world.field, a)) for a in (0.0, 0.2, 0.4, 0.6)}
    assert found.reward > max(constant.reward for constant in constants.values()), (found, constants)
