"""What a Gymnasium environment shows of a world and does to it, and that something can learn on it."""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium", reason="the extra `gym` is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from fluid_world import FluidWorld  # noqa: E402

from vagus.environments import Seen  # noqa: E402
from vagus.environments.gym import Environment, social_network  # noqa: E402
from vagus.errors import ConfigError  # noqa: E402
from vagus.policies import Field  # noqa: E402

EXAMPLE = Path(__file__).parents[2] / "examples/controller/train_gym.py"
A, B = "cgroup:a", "cgroup:b"


class Told:
    """Two targets of constant use, whose limits are what they were set to; remembers what it was told."""

    period_s = 1.0

    def __init__(self, bounds: Mapping[str, tuple[float, float]] | None = None) -> None:
        self.field = Field((A, B), bounds or {"cpu_cores": (0.1, 2.0)})
        self.seeds: list[int] = []
        self.told: list[dict[tuple[str, str], float]] = []
        self.gone: set[str] = set()
        self.closed = 0

    def reset(self, seed: int) -> Seen:
        self.seeds.append(seed)
        self.limits = {A: 1.0, B: 1.0}
        return self.step({})

    def step(self, limits: Mapping[tuple[str, str], float]) -> Seen:
        self.told.append(dict(limits))
        for (target, _), value in limits.items():
            self.limits[target] = value
        signals = {
            target: {
                "usage_cores": 0.4,
                "use_cpu_cores": 0.4,
                "limit_cores": limit,
                "limit_cpu_cores": limit,
                "throttled_ratio": 0.0,
                "elapsed_s": 1.0,
            }
            for target, limit in self.limits.items()
            if target not in self.gone
        }
        return Seen(signals, {"latency_s": 0.1, "slo_s": 0.2, "rate_hz": math.nan}, 1.0, 1.0, 10.0)

    def close(self) -> None:
        self.closed += 1


def test_an_action_is_relative_to_use_and_bounded():
    world = Told()
    env = Environment(world, A, rest="")
    env.reset(seed=5)
    assert world.seeds == [5]
    for action, least, most in ((-1.0, 0.39, 0.41), (0.0, 0.41, 0.9), (1.0, 0.85, 2.0), (math.nan, 0.41, 0.9)):
        *_, info = env.step(np.array([action], np.float32))
        ((key, value),) = world.told[-1].items()
        assert key == (A, "cpu_cores")
        assert least <= value <= most, action
        assert info["limits"] == {A: {"cpu_cores": value}, B: {"cpu_cores": 1.0}}
        assert (info["violations"], info["requests"], info["latency_s"], info["slo_s"]) == (1.0, 10.0, 0.1, 0.2)
    tight = Told({"cpu_cores": (0.5, 0.6)})
    env = Environment(tight)
    env.reset(seed=5)
    env.step(np.array([-1.0, 1.0], np.float32))
    assert tight.told[-1] == {(A, "cpu_cores"): 0.5, (B, "cpu_cores"): 0.6}


def test_the_captain_keeps_the_rest():
    world = Told()
    env = Environment(world, A)
    env.reset(seed=5)
    for _ in range(5):
        env.step(np.zeros(1, np.float32))
    assert 0.4 <= world.limits[B] < 0.6, "it shrinks what is not used"
    whole = Environment(Told())
    whole.reset(seed=5)
    whole.step(np.zeros(2, np.float32))
    assert set(whole.world.told[-1]) == {(A, "cpu_cores"), (B, "cpu_cores")}


def test_a_target_that_is_gone_is_still_in_the_observation():
    world = Told()
    env = Environment(world)
    before, _ = env.reset(seed=5)
    world.gone = {B}
    after, *_ = env.step(np.zeros(2, np.float32))
    assert after.shape == before.shape
    world.gone = {A, B}
    after, reward, *_, info = env.step(np.zeros(2, np.float32))
    assert np.isfinite(after).all()
    assert math.isfinite(reward)
    assert info["limits"] == {}


def test_the_reward_may_be_ones_own_and_so_may_the_objective():
    env = Environment(Told(), reward=lambda seen: -seen.objective["slo_s"], slo_s=0.05)
    _, info = env.reset(seed=1)
    assert info["slo_s"] == 0.05
    assert env.step(np.zeros(2, np.float32))[1] == -0.05
    kept, missed = Environment(Told()), Environment(Told(), slo_s=0.05)
    for env in (kept, missed):
        env.reset(seed=1)
    action = np.zeros(2, np.float32)
    assert missed.step(action)[1] < kept.step(action)[1] - 0.2, "missing the objective costs"
    wide, narrow = Environment(Told()), Environment(Told())
    for env, action in ((wide, np.ones(2)), (narrow, -np.ones(2))):
        env.reset(seed=1)
        env.step(action)
    assert narrow.step(-np.ones(2))[1] > wide.step(np.ones(2))[1], "and so does what is held and not used"


def test_seeds():
    drawn = Environment(lambda seed: FluidWorld(3, rate_hz=20 + seed % 20), steps=10)
    world = drawn.world
    first, _ = drawn.reset(seed=11)
    assert drawn.world is not world, "another world with each reset"
    second, _ = drawn.reset()
    third, _ = drawn.reset()
    assert not np.array_equal(second, third), "without a seed each episode is another one"
    assert np.array_equal(drawn.reset(seed=11)[0], first)
    assert np.array_equal(drawn.reset()[0], second), "of the same sequence"


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Environment(Told(), "cgroup:c"), "there are cgroup:a, cgroup:b"),
        (lambda: Environment(Told({"replicas": (1, 4)})), "no limit to steer"),
        (lambda: Environment(Told(), steps=0), "steps=0"),
        (lambda: Environment(Told(), alpha=2), "alpha=2"),
        (lambda: Environment(Told(), slo_s=0), "slo_s=0"),
        (lambda: Environment(Told(), A, rest="nobody"), "nobody"),
        (lambda: social_network(world={"aplication": "x"}), "aplication"),
        (lambda: social_network(world={"application": "x"}), "there are: .*social_network"),
    ],
)
def test_mistakes_are_told(make: Any, match: str):
    with pytest.raises(ConfigError, match=match):
        make()


def test_without_gymnasium_it_is_said_what_to_install():
    code = (
        "import sys; sys.modules['gymnasium'] = None\n"
        "from vagus.errors import ConfigError\n"
        "try:\n    import vagus.environments.gym\n"
        "except ConfigError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "pip install 'vagus[gym]'" in done.stdout


def test_the_examples_search_learns():
    spec = importlib.util.spec_from_file_location("train_gym", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    env = Environment(FluidWorld(1, slo_s=0.15), steps=30)
    env.action_space.seed(0)
    learned = example.search(env, 6)
    still, random = (lambda _: np.zeros(1, np.float32)), (lambda _: env.action_space.sample())
    worth = [np.mean([example.play(env, p, seed)[0] for seed in range(500, 506)]) for p in (learned, still, random)]
    assert worth[0] > worth[1] + 0.01, worth
    assert worth[0] > worth[2] + 0.01, worth
