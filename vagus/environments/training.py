"""Policies on worlds: played, compared, trained; episode by episode. Pure: the world is whatever it is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vagus.config import TrainSettings
from vagus.controllers.shield import CORES, Shield
from vagus.environments import Seen, World
from vagus.errors import PolicyError
from vagus.policies import JointPolicy
from vagus.policies.control_state import ALPHA, Owed, Past, reward
from vagus.policies.experience import Floats
from vagus.policies.learned import LearnedLimits

Rows = dict[str, list[Floats]]  # by model
Maker = Callable[[int], World]
"""Makes the world of a seed: also the same one again."""

SAME_RATIO = 0.01


class Score(NamedTuple):
    """What an episode came to. violations: share of requests; over: share of steps whose latency was over the objective;
    requested and used: cores, means over time of all targets together; own: share of limits in force that were the
    policy's last wish, None without a shield; failures: steps in which it could not decide."""

    reward: float
    violations: float
    over: float
    requested: float
    used: float
    latency_s: float
    requests: float
    steps: int
    own: float | None = None
    failures: int = 0


class Judge:
    """Counts what happens, and rewards it, whoever steers. alpha: as of the policy `ddpg`."""

    def __init__(self, resources: Sequence[str], alpha: float) -> None:
        self._resources, self._alpha = resources, alpha
        self._pasts: dict[str, Past] = {}
        self._owed = Owed()
        self._rewards: list[float] = []
        self._by_target: dict[str, list[float]] = {}
        self._latencies: list[float] = []
        self._sums = np.zeros(4)  # violations, requests, requested, used

    def see(self, seen: Seen) -> float:
        """The mean reward of the targets for a step."""
        elapsed_s = max((signals.get("elapsed_s", math.nan) for signals in seen.signals.values()), default=1.0)
        self._owed.note(seen.objective, elapsed_s if elapsed_s > 0 else 1.0)
        for target, signals in seen.signals.items():
            self._pasts.setdefault(target, Past(self._resources)).note(signals)
        pasts = [self._pasts[target] for target in seen.signals]
        first = [next(iter(past.courses.values())) for past in pasts]
        total = sum(course.level for course in first)
        paid = [reward(past, self._owed, total, self._alpha, len(pasts)) for past in pasts]
        for target, worth in zip(seen.signals, paid, strict=True):
            self._by_target.setdefault(target, []).append(worth)
        self._rewards.append(float(np.mean(paid)) if paid else 0.0)
        self._latencies.append(self._owed.ratio)
        limits = [signals.get("limit_cores", math.nan) for signals in seen.signals.values()]
        uses = [signals.get("usage_cores", math.nan) for signals in seen.signals.values()]
        self._sums += (seen.violations, seen.requests, np.nansum(limits), np.nansum(uses))
        return self._rewards[-1]

    def by_target(self) -> dict[str, float]:
        """The mean reward of each."""
        return {target: sum(paid) / len(paid) for target, paid in self._by_target.items()}

    def score(self, objective: Mapping[str, float], own: float | None = None, failures: int = 0) -> Score:
        """Of all that was seen."""
        steps = max(len(self._rewards), 1)
        violations, requests, requested, used = (float(x) for x in self._sums)
        ratios = np.array([r for r in self._latencies if r == r] or [0.0])
        return Score(
            float(np.sum(self._rewards)) / steps,
            violations / max(requests, 1.0),
            float((ratios > 1).mean()),
            requested / steps,
            used / steps,
            float(np.median(ratios)) * objective.get("slo_s", math.nan),
            requests,
            len(self._rewards),
            own,
            failures,
        )


def play(
    policy: JointPolicy,
    world: World,
    seed: int,
    steps: int,
    *,
    shielded: bool = False,
    watcher: LearnedLimits | None = None,
    alpha: float = ALPHA,
    judge: Judge | None = None,
) -> Score:
    """An episode of a policy on a world. watcher: sees it all as if it were its own doing, and so learns from it."""
    shield = Shield() if shielded else None
    seen = world.reset(seed)
    judge = judge or Judge([resource for resource in world.field.bounds if resource != "replicas"] or [CORES], alpha)
    wished: dict[tuple[str, str], float] = {}
    steered = own = failures = 0
    for _ in range(steps):
        in_force = in_force_of(seen)
        for key, value in wished.items():
            if key in in_force:
                steered += 1
                own += abs(in_force[key] - value) <= SAME_RATIO * abs(value)
        if shield is not None:
            shield.see(seen.signals)
        if watcher is not None:
            watcher.in_force(in_force)
            tuple(watcher.step(seen.signals, seen.objective, seen.now_s))
        policy.in_force(in_force)
        try:
            wishes = list(policy.step(seen.signals, seen.objective, seen.now_s))
        except PolicyError:  # what is in force stays
            wishes, failures = [], failures + 1
        wished.update({(wish.target, wish.resource): wish.value for wish in wishes})
        limits = {(wish.target, wish.resource): wish.value for wish in wishes}
        if shield is not None:
            limits = {(w.target, w.resource): shield.judge(w).wish.value for w in wishes}
            for target, value in shield.raises().items():
                limits.setdefault((target, CORES), value)
        seen = world.step(_bounded(limits, world))
        judge.see(seen)
    return judge.score(seen.objective, float(own / max(steered, 1)), failures)


def demonstrate(policy: JointPolicy, world: World, seed: int, steps: int, watcher: LearnedLimits) -> tuple[Score, Rows]:
    """An episode of a policy as transitions for another, by its models. watcher: with learn: learner."""
    watcher.begin()
    score = play(policy, world, seed, steps, watcher=watcher, alpha=watcher.alpha)
    return score, {key: [found] for key, found in watcher.drained().items()}


def learn_offline(policy: LearnedLimits, rows: Rows, imitations: int, updates: int) -> dict[str, float]:
    """Bootstraps the models from transitions: they imitate what was done, then learn what it was worth.

    rows: by model; a policy with one for all learns from all of them. Returns the last losses. Raises ConfigError.
    """
    losses: dict[str, float] = {}
    for key, model in policy.models.items():
        mine = rows.get(key) or [r for found in rows.values() for r in found]
        if not mine:
            continue
        together = np.concatenate(mine)
        states, actions = together[:, : model.state_dim], together[:, model.state_dim :][:, : model.action_dim]
        model.remember_all(together)
        losses.update(model.imitate(states, actions, imitations))
        losses.update(model.learn(updates, actor=False))
    return losses


class Episode(NamedTuple):
    """A training episode. steps: decisions so far; evaluated: scores of the policy as it now is, without exploration."""

    number: int
    steps: int
    explore: float
    score: Score
    evaluated: tuple[Score, ...]


def train(
    policy: LearnedLimits,
    worlds: Maker,
    episodes: int,
    *,
    steps: int = 300,
    begin: int = 0,
    seed: int = 0,
    explore: tuple[float, float] = (0.3, 0.05),
    shielded: bool = False,
    evaluate_every: int = 0,
    evaluate: Callable[[], Sequence[Score]] = tuple,
) -> Iterator[Episode]:
    """Plays and learns, an episode at a time. begin: the first one, after those before it were resumed from.

    Exploration falls geometrically from the first to the second of `explore`. The same seed and models give the same
    episodes, where the world is simulated.
    """
    for number in range(begin, episodes):
        policy.explore = (
            explore[0] * (explore[1] / explore[0]) ** (number / max(episodes - 1, 1)) if explore[0] else 0.0
        )
        policy.reseed(seed, number)
        policy.begin()
        world = worlds(world_seed(seed, number))
        try:
            score = play(policy, world, world_seed(seed, number), steps, shielded=shielded, alpha=policy.alpha)
        finally:
            world.close()
        due = evaluate_every and ((number + 1) % evaluate_every == 0 or number + 1 == episodes)
        yield Episode(number, (number + 1) * steps, policy.explore, score, tuple(evaluate()) if due else ())


def world_seed(seed: int, episode: int) -> int:
    """Of a training episode: never one of `hold_out_seed`."""
    return (seed * 1_000_003 + episode) * 2


def hold_out_seed(number: int) -> int:
    """Of a world that no training sees."""
    return number * 2 + 1


def compare(
    policies: Mapping[str, Callable[[World], JointPolicy]],
    worlds: Maker,
    seeds: Sequence[int],
    steps: int,
    *,
    shielded: Sequence[str] = (),
    alpha: float = ALPHA,
) -> dict[str, list[Score]]:
    """Each policy, made anew, on each world. shielded: names of those that pass the shield."""
    found: dict[str, list[Score]] = {name: [] for name in policies}
    for seed in seeds:
        for name, make in policies.items():
            world = worlds(seed)
            try:
                found[name].append(play(make(world), world, seed, steps, shielded=name in shielded, alpha=alpha))
            finally:
                world.close()
    return found


def evaluated(policy: LearnedLimits, worlds: Maker, settings: TrainSettings) -> list[Score]:
    """The policy as it now is, on worlds that no training sees."""
    seeds = [hold_out_seed(number) for number in range(settings.evaluate)]
    shielded = ("it",) if settings.shielded else ()
    frozen = policy.frozen()
    return compare({"it": lambda world: frozen}, worlds, seeds, settings.steps, shielded=shielded, alpha=policy.alpha)[
        "it"
    ]


def mean(scores: Sequence[Score]) -> Score:
    """Of several episodes of one length."""
    own = [score.own for score in scores if score.own is not None]
    reward, violations, over, requested, used, latency_s, requests = (
        float(np.mean([getattr(score, field) for score in scores])) for field in Score._fields[:7]
    )
    return Score(
        reward,
        violations,
        over,
        requested,
        used,
        latency_s,
        requests,
        sum(score.steps for score in scores),
        float(np.mean(own)) if own else None,
        sum(score.failures for score in scores),
    )


def in_force_of(seen: Seen) -> dict[tuple[str, str], float]:
    """The limits that are in force, by target and resource."""
    return {
        (target, name.removeprefix("limit_")): value
        for target, signals in seen.signals.items()
        for name, value in signals.items()
        if name.startswith("limit_") and name != "limit_cores" and value == value
    }


def _bounded(limits: Mapping[tuple[str, str], float], world: World) -> dict[tuple[str, str], float]:
    found = {}
    for (target, resource), value in limits.items():
        low, high = world.field.bounds.get(resource, (0.0, math.inf))
        found[target, resource] = min(max(value, low), high)
    return found
