"""Decide and learn with the bandit libraries of today, one reward at a time: per CPU second, beside ours in the same run.

Ten arms, one group, the reward known at once. What differs: Vowpal Wabbit and MABWiser ask for a model's answer at
each decision; ours are drawn from weights made at each tick (every 1000 decisions here), with ids, propensities and a
join of rewards by id, which none of the peers has. The configurations of peers are used by benchmarks/decide_score.py.
Each runs 0.5 CPU seconds, best of three. Peers: pip install 'vagus[bench]'.

Run: python benchmarks/decide_peers.py [--json] [--quick]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file, from anywhere

INSTALL = "pip install 'vagus[bench]'"
ARMS = [f"arm{at}" for at in range(10)]
BATCH = 1000


class Answer(NamedTuple):
    """What a peer decides; the id is what its update needs."""

    arm: str
    decision_id: Any


class River:
    """A policy of river.bandit."""

    def __init__(self, rng: np.random.Generator, make: Callable[[int], Any]) -> None:
        self.policy = make(int(rng.integers(2**31)))

    def decide(self, features: dict[str, Any], arms: Sequence[str]) -> Answer:
        arm = self.policy.pull(arms)
        return Answer(arm, arm)

    def update(self, decision_id: Any, reward: float) -> None:
        self.policy.update(decision_id, reward)


class RiverExp3(River):
    """Its Exp3 takes the probabilities of its newest decision for those of the reward: with late ones, restore them.

    Weights grow without end (a reward over a small probability, exponentiated): they are scaled, which changes nothing.
    """

    def decide(self, features: dict[str, Any], arms: Sequence[str]) -> Answer:
        arm = self.policy.pull(arms)
        return Answer(arm, (arm, self.policy._probabilities))

    def update(self, decision_id: Any, reward: float) -> None:
        arm, self.policy._probabilities = decision_id
        self.policy.update(arm, reward)
        weights = self.policy._weights
        most = max(weights.values())
        if most > 1e100:
            for arm in weights:
                weights[arm] = max(weights[arm] / most, 1e-100)


class Mabwiser:
    """A MAB of mabwiser."""

    def __init__(self, rng: np.random.Generator, policy: Callable[[], Any]) -> None:
        from mabwiser.mab import MAB

        self.seed, self.rng, self.started = int(rng.integers(2**31)), rng, False
        self.make = lambda arms: MAB(list(arms), policy(), seed=self.seed)
        self.mab: Any = None

    def decide(self, features: dict[str, Any], arms: Sequence[str]) -> Answer:
        if not self.started:
            self.mab = self.mab or self.make(arms)
            arm = arms[int(self.rng.integers(len(arms)))]
        else:
            arm = self.mab.predict()
        return Answer(arm, arm)

    def update(self, decision_id: Any, reward: float) -> None:
        if self.started:
            self.mab.partial_fit([decision_id], [reward])
        else:
            self.mab.fit([decision_id], [reward])
            self.started = True


class VowpalWabbit:
    """A contextual bandit with action features, of vowpalwabbit: an action's name is its feature."""

    def __init__(self, rng: np.random.Generator, arguments: str) -> None:
        from vowpalwabbit import Workspace

        seed = int(rng.integers(2**31))
        self.rng = random.Random(seed)
        self.model = Workspace(f"--cb_explore_adf {arguments} --random_seed {seed % 100_000} --quiet")

    def decide(self, features: dict[str, Any], arms: Sequence[str]) -> Answer:
        shares = self.model.predict([f"| a={arm}" for arm in arms])
        at = self.rng.choices(range(len(arms)), shares)[0]
        return Answer(arms[at], (arms, at, shares[at]))

    def update(self, decision_id: Any, reward: float) -> None:
        arms, at, share = decision_id
        examples = [f"| a={arm}" for arm in arms]
        examples[at] = f"0:{-reward}:{share} {examples[at]}"
        self.model.learn(examples)


def peers() -> dict[str, Callable[[np.random.Generator], Any]]:
    """Configurations by name, of the libraries that are installed."""
    found: dict[str, Callable[[np.random.Generator], Any]] = {}
    if importlib.util.find_spec("river"):
        from river import bandit, proba, stats

        def river(name: str, make: Callable[[int], Any], kind: type[River] = River) -> None:
            found[f"river {name}"] = lambda rng: kind(rng, make)

        fading = {"": lambda: None} | {f", fading {f}": (lambda f=f: stats.EWMean(f)) for f in (0.3, 0.1, 0.03)}
        for text, mean in fading.items():
            river(f"ucb 0.1{text}", lambda seed, mean=mean: bandit.UCB(0.1, mean(), seed=seed))
            river(f"greedy 0.1{text}", lambda seed, mean=mean: bandit.EpsilonGreedy(0.1, reward_obj=mean(), seed=seed))
        river("ucb 1", lambda seed: bandit.UCB(1, seed=seed))
        river("ucb 0.3, fading 0.1", lambda seed: bandit.UCB(0.3, stats.EWMean(0.1), seed=seed))
        for epsilon in (0.05, 0.2):
            river(
                f"greedy {epsilon}, fading 0.3",
                lambda seed, epsilon=epsilon: bandit.EpsilonGreedy(epsilon, reward_obj=stats.EWMean(0.3), seed=seed),
            )
        river("thompson, Gaussian", lambda seed: bandit.ThompsonSampling(proba.Gaussian(), seed=seed))
        river("exp3 0.1", lambda seed: bandit.Exp3(0.1, seed=seed), RiverExp3)
    if importlib.util.find_spec("mabwiser"):
        from mabwiser.mab import LearningPolicy

        for text, make in {
            "greedy 0.1": lambda: LearningPolicy.EpsilonGreedy(0.1),
            "greedy 0.25": lambda: LearningPolicy.EpsilonGreedy(0.25),
            "ucb 0.25": lambda: LearningPolicy.UCB1(0.25),
            "ucb 1": lambda: LearningPolicy.UCB1(1),
            "softmax 0.1": lambda: LearningPolicy.Softmax(0.1),
            "softmax 1": lambda: LearningPolicy.Softmax(1),
            "thompson, above a half": lambda: LearningPolicy.ThompsonSampling(_above_half),
        }.items():
            found[f"mabwiser {text}"] = lambda rng, make=make: Mabwiser(rng, make)
    if importlib.util.find_spec("vowpalwabbit"):
        for arguments in (
            "--epsilon 0.1",
            "--epsilon 0.1 --power_t 0",
            "--squarecb",
            "--squarecb --power_t 0",
            "--squarecb --cb_type mtr --power_t 0",
            "--bag 5",
            "--bag 5 --power_t 0",
        ):
            found[f"vw {arguments}"] = lambda rng, arguments=arguments: VowpalWabbit(rng, arguments)
    return found


def _above_half(arm: str, reward: float) -> int:
    return int(reward > 0.5)


def absent() -> list[str]:
    """Libraries that are not installed."""
    return [name for name in ("vowpalwabbit", "river", "mabwiser") if not importlib.util.find_spec(name)]


def per_second(work: Callable[[], int], budget_s: float) -> float:
    """Items per second of CPU, best of three; `work` returns how many it did."""
    best = 0.0
    for _ in range(3):
        count, began = 0, time.process_time()
        while (spent := time.process_time() - began) < budget_s:
            count += work()
        best = max(best, count / spent)
    return best


def peer_loop(peer: Any) -> Callable[[], int]:
    """Decide and update, 100 times."""

    def work() -> int:
        for _ in range(100):
            answer = peer.decide({}, ARMS)
            peer.update(answer.decision_id, float(answer.arm == "arm7"))
        return 100

    return work


def ours() -> Iterator[tuple[str, Callable[[], int]]]:
    """`Decider`, singly and in columns, with the default policy; a tick after every 1000 decisions."""
    from vagus.controllers.decide.decider import Decider

    features = {"isp": "a"}
    single = Decider(group_by=("isp",), seed=1)

    def one_by_one() -> int:
        for _ in range(BATCH):
            decision = single.decide(features, ARMS)
            single.update(decision.decision_id, float(decision.arm == "arm7"))
        single.tick()
        return BATCH

    yield "vagus Decider, one by one", one_by_one
    columns = Decider(group_by=("isp",), seed=1)
    many = {"isp": ["a"] * BATCH}

    def in_columns() -> int:
        batch = columns.decide_columns(many, ARMS)
        columns.update_columns(batch.keys, [float(arm == "arm7") for arm in batch.names])
        columns.tick()
        return BATCH

    yield "vagus Decider, columns of 1000", in_columns


def rows(quick: bool) -> list[dict[str, Any]]:
    """Decisions with their rewards per CPU second: ours, then each peer's fastest plain configuration."""
    from benchmarks.decide_core import core

    budget_s = 0.1 if quick else 0.5
    found = []
    # what peers do and no more: draw an arm, take its reward; without ids, propensities to keep, or features
    found.append(("vagus policy core, one by one", core(1, 1 if quick else 3)[0]))
    for name, work in ours():
        found.append((name, per_second(work, budget_s)))
    for name in (
        "vw --epsilon 0.1",
        "vw --squarecb",
        "river ucb 1",
        "river greedy 0.1",
        "mabwiser greedy 0.1",
        "mabwiser ucb 1",
    ):
        make = peers().get(name)
        if make is not None:
            found.append((name, per_second(peer_loop(make(np.random.default_rng(1))), budget_s)))
    others = [rate for name, rate in found if not name.startswith("vagus")]
    best = max(others, default=math.nan)
    table = [
        {
            "what": f"decide and learn, 10 arms: {name}",
            "value": round(rate),
            "unit": "1/s of CPU",
            "bar": "ahead of each peer" if name.startswith("vagus") else None,
            "met": bool(rate > best) if name.startswith("vagus") and others else None,
            "peer": round(best) if name.startswith("vagus") and others else None,
        }
        for name, rate in found
    ]
    table += [
        {"what": f"{name} is not installed", "value": None, "unit": INSTALL, "bar": None, "met": None, "peer": None}
        for name in absent()
    ]
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    table = rows(options.quick)
    if options.json:
        print(json.dumps(table))
        return
    for row in table:
        met = "" if row["met"] is None else "met" if row["met"] else "NOT MET"
        print(f"{row['what']:52} {row['value'] or '-':>12} {row['unit']:12} {met}")


if __name__ == "__main__":
    main()
