"""Worlds as Gymnasium environments, by Gymnasium's own checker: whole, and one target of them."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium", reason="the extra `gym` is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from fluid_world import FluidWorld  # noqa: E402
from gymnasium.utils.env_checker import check_env  # noqa: E402
from gymnasium.vector import SyncVectorEnv  # noqa: E402

from vagus.environments.applications import APPLICATIONS  # noqa: E402
from vagus.environments.gym import ID, Environment  # noqa: E402
from vagus.environments.simulated import SimulatedWorld  # noqa: E402
from vagus.policies.control_state import size  # noqa: E402

POSTS = "cgroup:vagus-app-social/post-storage"


def social(**more: Any) -> SimulatedWorld:
    return SimulatedWorld(APPLICATIONS["social_network"](), [20.0, 30.0], **more)


TWO = {"cpu_cores": (0.05, 2.0), "llc_ways": (1.0, 11.0)}
MADE = {
    "fluid": lambda: Environment(FluidWorld(), steps=20),
    "fluid, one": lambda: Environment(FluidWorld(), "cgroup:service-1", steps=20),
    "fluid, drawn": lambda: Environment(lambda seed: FluidWorld(2 + 0 * seed, rate_hz=20 + seed % 30), steps=20),
    "simulated": lambda: Environment(social(), steps=20),
    "simulated, one": lambda: Environment(social(), POSTS, steps=20),
    "simulated, two resources": lambda: Environment(social(bounds=TWO), POSTS, steps=20),
}


@pytest.mark.parametrize("name", MADE)
def test_gymnasium_finds_nothing_wrong(name: str) -> None:
    env = MADE[name]()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*alternative render modes", category=UserWarning)
        check_env(env)
    n, wide = len(env.targets), len(env.resources)
    assert env.observation_space.shape == (n * size(wide),)
    assert env.action_space.shape == (n * wide,)
    env.close()
    env.close()


@pytest.mark.parametrize("name", MADE)
def test_whatever_is_done_is_within_bounds_and_the_episode_ends_in_time(name: str) -> None:
    env = MADE[name]()
    env.action_space.seed(1)
    env.reset(seed=3)
    for step in range(1, 21):
        action = env.action_space.sample() * (100 if step % 3 == 0 else 1)  # beyond the space, too
        observed, reward, terminated, truncated, info = env.step(action)
        assert env.observation_space.contains(observed)
        assert np.isfinite(reward)
        assert (terminated, truncated) == (False, step == 20)
        assert 0 <= info["violations"] <= info["requests"] + 1e-9
        for limits in info["limits"].values():
            for resource, value in limits.items():
                low, high = env.world.field.bounds[resource]
                assert low <= value <= high


def test_the_registered_one_is_made_and_goes_into_a_vector() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(f"vagus.environments.gym:{ID}", target=POSTS, steps=5)
        check_env(env.unwrapped)
        assert env.unwrapped.targets == (POSTS,)
        both = SyncVectorEnv([lambda: gymnasium.make(ID, target=POSTS, steps=5)] * 2)
        observed, _ = both.reset(seed=1)
        assert observed.shape == (2, size(1))
        assert not np.array_equal(observed[0], observed[1]), "each has its own seed"
        for _ in range(6):
            observed, rewards, _, _, info = both.step(both.action_space.sample())
        assert rewards.shape == (2,)
        assert np.shape(info["violations"]) == (2,)
        both.close()
