"""What every joint policy must do, whatever it decides: properties over everything in JOINT_POLICIES."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.config import ControllerSettings, LimitSettings
from vagus.controllers.joint import JointController
from vagus.controllers.load import load
from vagus.errors import ConfigError, PolicyError
from vagus.policies import JOINT_POLICIES, Field, JointPolicy, Wish

TARGETS = ("cgroup:shop/web", "cgroup:shop/cart", "cgroup:shop/db")
BOUNDS = {"cpu_cores": (0.05, 2.0), "net_bytes_s": (1e5, 1e8), "replicas": (1.0, 8.0)}
FIELD = Field(TARGETS, BOUNDS)
SLO_S = 0.2
NEEDED: Mapping[str, Mapping[str, Any]] = {"ddpg": {"learn": "here", "explore": 0.2}}  # without a checkpoint of its own


def _missing(name: str) -> str:
    try:
        JOINT_POLICIES.get(name)
    except ConfigError as error:
        return str(error)
    return ""


NAMES = [
    pytest.param(name, marks=pytest.mark.skip(reason=why) if (why := _missing(name)) else ()) for name in JOINT_POLICIES
]
every = pytest.mark.parametrize("name", NAMES)


def make(name: str, seed: int = 0, field: Field = FIELD, **options: Any) -> JointPolicy:
    return JOINT_POLICIES.make(name, field, np.random.default_rng(seed), **NEEDED.get(name, {}), **options)


def signals_of(rng: np.random.Generator, limits: Mapping[str, float], holes: float = 0.0) -> dict[str, float]:
    use = float(rng.uniform(0.02, 1.2)) * limits["cpu_cores"]
    found = {
        "usage_cores": min(use, limits["cpu_cores"]),
        "limit_cores": limits["cpu_cores"],
        "limit_cpu_cores": limits["cpu_cores"],
        "use_cpu_cores": min(use, limits["cpu_cores"]),
        "throttled_ratio": float(use > limits["cpu_cores"]),
        "elapsed_s": float(rng.uniform(0.1, 1.0)),
        "memory_bytes": 1e8,
        "use_net_bytes_s": float(rng.uniform(0, 1)) * limits["net_bytes_s"],
        "limit_net_bytes_s": limits["net_bytes_s"],
        "limit_replicas": limits["replicas"],
    }
    return {name: math.nan if rng.random() < holes else value for name, value in found.items()}


class Game:
    """Plays a policy on made-up signals; what it wishes is in force at once."""

    def __init__(self, policy: JointPolicy, seed: int, targets: tuple[str, ...] = TARGETS) -> None:
        self.policy, self.rng, self.targets = policy, np.random.default_rng(seed), targets
        self.limits = {target: {"cpu_cores": 0.5, "net_bytes_s": 1e7, "replicas": 2.0} for target in targets}
        self.now_s = 100.0

    def step(self, present: tuple[str, ...] = TARGETS, holes: float = 0.0) -> list[Wish]:
        self.now_s += float(self.rng.uniform(0.1, 1.0))
        signals = {target: signals_of(self.rng, self.limits[target], holes) for target in present}
        objective = {
            "latency_s": float(self.rng.choice([0.05, 0.15, 0.3, math.nan])),
            "slo_s": SLO_S,
            "rate_hz": float(self.rng.uniform(10, 60)),
            "mix_0": 5.0,
            "mix_1": 20.0,
        }
        self.policy.in_force(
            {(target, resource): v for target in present for resource, v in self.limits[target].items()}
        )
        try:
            wishes = list(self.policy.step(signals, objective, self.now_s))
        except PolicyError:
            return []
        for wish in wishes:
            if wish.target in self.limits:
                low, high = BOUNDS[wish.resource]
                self.limits[wish.target][wish.resource] = min(max(wish.value, low), high)
        return wishes

    def run(self, steps: int, **how: Any) -> Iterator[Wish]:
        for _ in range(steps):
            yield from self.step(**how)


def check(policy: JointPolicy, wishes: list[Wish]) -> None:
    allowed = {*TARGETS, *getattr(policy, "acts_on", ())}
    for wish in wishes:
        assert wish.target in allowed
        assert wish.resource in BOUNDS
        assert isinstance(wish.value, float | int)
        assert math.isfinite(wish.value)
        assert wish.value > 0
        assert 0 <= wish.confidence <= 1
        assert isinstance(wish.reason, str)
        assert len(wish.reason) <= 500


@every
def test_it_says_what_it_is(name: str) -> None:
    kind = JOINT_POLICIES.get(name)
    assert kind.name == name
    assert isinstance(kind.learned, bool)


@every
def test_wishes_are_for_known_targets_and_resources_finite_and_positive(name: str) -> None:
    policy = make(name)
    check(policy, list(Game(policy, 1).run(150)))


@every
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), holes=st.sampled_from([0.1, 0.5, 1.0]))
def test_unknown_signals_never_crash_it(name: str, seed: int, holes: float) -> None:
    policy = make(name)
    check(policy, list(Game(policy, seed).run(15, holes=holes)))


@every
def test_odd_signals_never_crash_it(name: str) -> None:
    policy = make(name)
    numbers = (0.0, -1.0, math.inf, -math.inf, math.nan, 1e300, 1e-300)
    names = ("usage_cores", "limit_cores", "limit_cpu_cores", "use_cpu_cores", "throttled_ratio", "elapsed_s")
    for at, odd in enumerate(numbers):
        policy.in_force({(TARGETS[0], "cpu_cores"): odd, ("cgroup:unknown", "cpu_cores"): 1.0})
        for objective in ({}, {"latency_s": odd, "slo_s": odd, "rate_hz": odd}, {"latency_s": odd, "slo_s": SLO_S}):
            for later_s, signals in enumerate(
                ({TARGETS[0]: dict.fromkeys(names, odd)}, {TARGETS[0]: {}, "cgroup:unknown": {}}, {})
            ):
                with contextlib.suppress(PolicyError):
                    check(policy, list(policy.step(signals, objective, 10.0 * at + later_s)))


@every
def test_targets_that_vanish_and_come_back(name: str) -> None:
    policy = make(name)
    game = Game(policy, 2)
    check(policy, list(game.run(40)))
    game.targets = TARGETS[:1]
    check(policy, list(game.run(4, present=TARGETS[:1])))  # who decides by the second may still mean the one before
    gone = list(game.run(40, present=TARGETS[:1]))
    check(policy, gone)
    scaled = dict(zip(TARGETS, getattr(policy, "acts_on", ()), strict=False))
    assert {wish.target for wish in gone} <= {TARGETS[0], scaled.get(TARGETS[0], "")}
    check(policy, list(game.run(40)))


@every
def test_a_clock_that_stands_or_jumps_ahead(name: str) -> None:
    policy = make(name)
    game = Game(policy, 3)
    for jump_s in (0.0, 0.0, 86400.0, 1e9):
        game.now_s += jump_s
        check(policy, game.step())


@every
def test_the_same_seed_makes_the_same_wishes(name: str) -> None:
    runs = [list(Game(make(name, seed=7), 4).run(120)) for _ in range(2)]
    assert runs[0] == runs[1]


@every
def test_state_goes_through_json(name: str) -> None:
    policy = make(name)
    list(Game(policy, 5).run(80))
    saved = json.loads(json.dumps(policy.state(), allow_nan=False))
    other = make(name)
    other.restore(saved)
    assert json.loads(json.dumps(other.state(), allow_nan=False)) == saved
    check(other, list(Game(other, 6).run(40)))


def _damaged(state: Any) -> Iterator[Any]:
    """States with one thing wrong: left out, of another type, not finite, absurdly large."""
    if isinstance(state, dict):
        for key, value in state.items():
            yield {k: v for k, v in state.items() if k != key}
            for bad in ("x", None, math.nan, -1e400, [], 10**400, [[1]]):
                yield {**state, key: bad}
            for inner in _damaged(value):
                yield {**state, key: inner}
    elif isinstance(state, list) and state:
        yield [*state, "x"]
        for bad in ("x", None, math.nan, {}):
            yield [bad, *state[1:]]


@every
def test_hostile_states_are_refused_or_harmless(name: str) -> None:
    policy = make(name)
    list(Game(policy, 8).run(60))
    saved, refused = json.loads(json.dumps(policy.state())), 0
    bad: list[Any] = [{"unknown": 1}, *_damaged(saved)]
    for state in bad[:: max(1, len(bad) // 200)]:
        other = make(name)
        try:
            other.restore(state)
        except PolicyError:
            refused += 1
        check(other, list(Game(other, 9).run(3)))
    assert refused or not saved


@every
def test_it_is_loaded_as_a_controller(name: str) -> None:
    settings = ControllerSettings(
        name="shop",
        policy=name,
        targets=TARGETS,
        options=dict(NEEDED.get(name, {})),
        limits={resource: LimitSettings(min=low, max=high) for resource, (low, high) in BOUNDS.items()},
    )
    controller = load(settings)
    assert isinstance(controller, JointController)
    assert controller.policy.name == name
    assert [str(target) for target in controller.further] == list(getattr(controller.policy, "acts_on", ()))


@every
def test_unknown_options_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="no_such_option"):
        make(name, no_such_option=1)
