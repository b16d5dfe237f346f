"""DDPG on Gymnasium's Pendulum-v1 beside Stable-Baselines3's, with the same hyperparameters, steps and seeds.

Run: python -m benchmarks.control_pendulum [--json] [--quick] [--seeds N]
Returns are of the policy without noise, over the same 20 episodes for all, and means over seeds. Times are CPU seconds
of the process: of the learning steps alone, and of the whole training with the environment.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from vagus.policies.ddpg import DDPG

SEEDS, STEPS, QUICK_STEPS, THREADED_STEPS = 5, 20_000, 5_000, 3_000
EPISODES, EPISODE_SEED = 20, 100_000
LAYERS = (40, 40)
RATE, GAMMA, TAU, BATCH, MEMORY, SIGMA, STARTS = 1e-3, 0.98, 0.005, 64, 100_000, 0.1, 1000


class Run(NamedTuple):
    """One training. mean: return; updates: of both networks; CPU seconds."""

    mean: float
    updates: int
    learn_s: float
    whole_s: float


def evaluated(act: Callable[[Any], Any]) -> float:
    """Mean return; actions within ± 2, as the environment's."""
    env = gymnasium.make("Pendulum-v1")
    total = 0.0
    for episode in range(EPISODES):
        state, _ = env.reset(seed=EPISODE_SEED + episode)
        over = False
        while not over:
            state, reward, ended, cut, _ = env.step(act(state))
            total += float(reward)
            over = ended or cut
    return total / EPISODES


def ours(seed: int, steps: int) -> Run:
    env = gymnasium.make("Pendulum-v1")
    model = DDPG(
        3, 1, seed, actor_layers=LAYERS, critic_layers=LAYERS, joins=0, final=0, actor_rate=RATE, critic_rate=RATE,
        gamma=GAMMA, tau=TAU, batch=BATCH, memory=MEMORY, noise="normal", sigma=SIGMA,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    learn_s, began_s = 0.0, time.process_time()
    state, _ = env.reset(seed=seed)
    for step in range(1, steps + 1):
        action = model.act(state) if step > STARTS else rng.uniform(-1, 1, 1).astype(np.float32)
        after, reward, ended, cut, _ = env.step(2.0 * action)
        model.remember(state, action, float(reward), after, ended)
        state = after
        if ended or cut:
            state, _ = env.reset()
        if step > STARTS:
            at_s = time.process_time()
            model.learn()
            learn_s += time.process_time() - at_s
    whole_s = time.process_time() - began_s
    return Run(evaluated(lambda state: 2.0 * model.act(state, False)), model.steps, learn_s, whole_s)


def theirs(seed: int, steps: int, threads: int) -> Run:
    import stable_baselines3 as sb3
    import torch
    from stable_baselines3.common.noise import NormalActionNoise

    torch.set_num_threads(threads)
    learn_s = 0.0

    class Timed(sb3.DDPG):
        def train(self, *args: Any, **named: Any) -> None:
            nonlocal learn_s
            at_s = time.process_time()
            super().train(*args, **named)
            learn_s += time.process_time() - at_s

    model = Timed(
        "MlpPolicy", gymnasium.make("Pendulum-v1"), seed=seed, policy_kwargs={"net_arch": list(LAYERS)}, device="cpu",
        learning_rate=RATE, gamma=GAMMA, tau=TAU, batch_size=BATCH, buffer_size=MEMORY, learning_starts=STARTS,
        train_freq=1, gradient_steps=1, action_noise=NormalActionNoise(np.zeros(1), SIGMA * np.ones(1)),
    )  # fmt: skip
    began_s = time.process_time()
    model.learn(steps)
    whole_s = time.process_time() - began_s
    return Run(evaluated(lambda state: model.predict(state, deterministic=True)[0]), model._n_updates, learn_s, whole_s)


def row(what: str, value: float | None, unit: str, bar: str = "", met: bool | None = None, peer: Any = None) -> Any:
    return {"what": what, "value": value, "unit": unit, "bar": bar, "met": met, "peer": peer}


def per_s(runs: Sequence[Run]) -> float:
    return sum(run.updates for run in runs) / sum(run.learn_s for run in runs)


def spread(runs: Sequence[Run]) -> float:
    return statistics.stdev(run.mean for run in runs) if len(runs) > 1 else 0.0


def measured(seeds: int, steps: int) -> list[Any]:
    mine = [ours(seed, steps) for seed in range(seeds)]
    named = f"Pendulum-v1, {seeds} seeds, {steps} steps: "
    mean = statistics.fmean(run.mean for run in mine)
    if importlib.util.find_spec("stable_baselines3") is None:
        return [row(f"{named}return (Stable-Baselines3 is not here)", mean, "", "as the peer")]
    import torch

    default = torch.get_num_threads()
    peer = [theirs(seed, steps, 1) for seed in range(seeds)]
    threaded = theirs(0, THREADED_STEPS, default)
    their_mean = statistics.fmean(run.mean for run in peer)
    # no worse: not below by more than the standard error of the difference
    error = math.sqrt((spread(mine) ** 2 + spread(peer) ** 2) / seeds)
    ratio, of_threaded = per_s(mine) / per_s(peer), per_s(mine) / per_s([threaded])
    whole, their_whole = (statistics.fmean(run.whole_s for run in runs) for runs in (mine, peer))
    return [
        row(f"{named}return", mean, "", f">= {their_mean - error:.1f}", mean >= their_mean - error, their_mean),
        row(f"{named}spread of returns (sd)", spread(mine), "", peer=spread(peer)),
        *(row(f"return, seed {n}", a.mean, "", peer=b.mean) for n, (a, b) in enumerate(zip(mine, peer, strict=True))),
        row("updates per CPU second", per_s(mine), "1/s", peer=per_s(peer)),
        row("updates per CPU second against one thread of torch", ratio, "x", ">= 4", ratio >= 4, 1.0),
        # no bar: threads of torch that wait burn CPU, the more the busier the machine is
        row(f"the same against torch's default, {default} threads", of_threaded, "x", peer=1.0),
        row("CPU of a training", whole, "s", peer=their_whole),
        row("CPU of a training against one thread of torch", their_whole / whole, "x", peer=1.0),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help=f"one seed, {QUICK_STEPS} steps")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    options = parser.parse_args()
    rows = measured(1, QUICK_STEPS) if options.quick else measured(options.seeds, STEPS)
    if options.json:
        print(json.dumps(rows))
        return
    for r in rows:
        value = "-" if r["value"] is None else f"{r['value']:.4g}"
        met = "" if r["met"] is None else "met" if r["met"] else "NOT MET"
        peer = "" if r["peer"] is None else f"peer {r['peer']:.4g}"
        print(f"{r['what']:66} {value:>9} {r['unit']:4} {r['bar']:10} {met:8} {peer}")


if __name__ == "__main__":
    main()
