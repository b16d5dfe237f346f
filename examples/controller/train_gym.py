"""Somebody else's library learns to steer one service of the simulated social network: the world is a Gymnasium environment.

    pip install 'vagus[gym]' stable-baselines3
    python examples/controller/train_gym.py --library sb3 --steps 4000
    python examples/controller/train_gym.py                       # without a library: a search of a few lines

The captain keeps the other services. What was learned can steer the real application through a controller with
`policy: remote`: its GET /v1/state has the same vectors (see vagus.environments.live.LiveWorld).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float32]
Policy = Callable[[Numbers], Numbers]
ENVIRONMENT = "vagus.environments.gym:vagus/SocialNetwork-v0"
TARGET = "cgroup:vagus-app-social/post-storage"
HELD_OUT = (1001, 1003, 1005)  # seeds of episodes that are not trained on


def play(env: Any, policy: Policy, seed: int) -> tuple[float, float]:
    """An episode: the mean reward of a step, and the share of requests that were late."""
    observed, _ = env.reset(seed=seed)
    rewards, late, requests, over = [], 0.0, 0.0, False
    while not over:
        observed, reward, terminated, truncated, info = env.step(policy(observed))
        rewards.append(float(reward))
        late, requests, over = late + info["violations"], requests + info["requests"], terminated or truncated
    return float(np.mean(rewards)), late / max(requests, 1.0)


def linear(numbers: npt.NDArray[np.float64], env: Any) -> Policy:
    """A policy of one layer: a row of weights and a bias for each limit."""
    table = numbers.reshape(env.action_space.shape[0], -1)
    return lambda observed: np.tanh(table[:, :-1] @ observed + table[:, -1]).astype(np.float32)


def search(env: Any, generations: int, population: int = 12, seed: int = 0) -> Policy:
    """The cross-entropy method: draws policies around the best third of those before."""
    rng = np.random.default_rng(seed)
    size = env.action_space.shape[0] * (env.observation_space.shape[0] + 1)
    mean, spread = np.zeros(size), np.full(size, 0.3)
    for generation in range(generations):
        drawn = mean + spread * rng.standard_normal((population, size))
        worth = [play(env, linear(numbers, env), seed + generation)[0] for numbers in drawn]
        best = drawn[np.argsort(worth)[-population // 3 :]]
        mean, spread = best.mean(axis=0), best.std(axis=0) + 0.02
    return linear(mean, env)


def sb3(env: Any, steps: int, seed: int = 0) -> Policy:
    """Stable-Baselines3's TD3."""
    from stable_baselines3 import TD3
    from stable_baselines3.common.noise import NormalActionNoise

    n = env.action_space.shape[0]
    noise = NormalActionNoise(np.zeros(n), np.full(n, 0.3))
    model = TD3("MlpPolicy", env, gamma=0.9, learning_starts=300, action_noise=noise, seed=seed, device="cpu")
    model.learn(steps)
    return lambda observed: model.predict(observed, deterministic=True)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", choices=("none", "sb3"), default="none")
    parser.add_argument("--target", default=TARGET, help="the service that is steered")
    parser.add_argument("--steps", type=int, default=6000, help="of training, in all")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    env = gymnasium.make(ENVIRONMENT, target=given.target, steps=60)
    env.action_space.seed(given.seed)
    generations = max(1, given.steps // (12 * 60))
    learned = sb3(env, given.steps, given.seed) if given.library == "sb3" else search(env, generations, seed=given.seed)
    players: dict[str, Policy] = {
        "random": lambda _: env.action_space.sample(),
        "never moves": lambda _: np.zeros(env.action_space.shape, np.float32),
        "learned": learned,
    }
    for name, policy in players.items():
        found = np.mean([play(env, policy, seed) for seed in HELD_OUT], axis=0)
        print(f"{name:12} reward {found[0]:+.3f} a step, {found[1]:.1%} of requests late")
    env.close()


if __name__ == "__main__":
    main()
