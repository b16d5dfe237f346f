"""Where a policy's first experience comes from, and whom it is compared with, as train.yaml says."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vagus.config import TrainSettings
from vagus.environments.offline import load_rows, of_results, of_store, transitions
from vagus.environments.training import (
    Maker,
    Rows,
    Score,
    compare,
    demonstrate,
    hold_out_seed,
    mean,
    world_seed,
)
from vagus.errors import ConfigError
from vagus.model import MAX_T_NS
from vagus.policies import JOINT_POLICIES, Field, JointPolicy, Wish
from vagus.policies.control_state import ALPHA, size
from vagus.policies.learned import LearnedLimits
from vagus.store.reader import open_all

LINGER_S = 8.0  # of what stirs a rule's limits
SHOWN_FROM = 500_000  # episodes of demonstrations have seeds from here on


def gather(
    settings: TrainSettings, policy: LearnedLimits, worlds: Maker, tell: Callable[[str], None] = lambda text: None
) -> tuple[Rows, dict[str, Any]]:
    """Transitions by model, and what to tell of them. Raises ConfigError, NoData."""
    rows: Rows = {}
    told: dict[str, Any] = {}
    for name in settings.bootstrap.files:
        tell(f"bootstrap: reading {name}")
        _join(rows, _of_file(Path(name).expanduser(), settings, policy))
    if settings.bootstrap.rule:
        scores = []
        for number in range(settings.bootstrap.episodes):
            tell(f"bootstrap: {settings.bootstrap.rule} shows episode {number + 1}/{settings.bootstrap.episodes}")
            seed = world_seed(settings.seed, SHOWN_FROM + number)
            world = worlds(seed)
            rule = JOINT_POLICIES.make(
                settings.bootstrap.rule, world.field, np.random.default_rng(seed), **settings.bootstrap.options
            )
            try:
                stirred = _Stirred(rule, settings.bootstrap.stir, np.random.default_rng((seed, 1)))
                score, found = demonstrate(stirred, world, seed, settings.steps, _watcher(policy, world.field))
            finally:
                world.close()
            scores.append(score)
            _join(rows, found)
        told["rule"] = mean(scores)._asdict() if scores else None
    return rows, told


def others_of(settings: TrainSettings, worlds: Maker) -> dict[str, Score]:
    """Those that `compare` names, on the worlds that the policy is evaluated on: means."""
    seeds = [hold_out_seed(number) for number in range(settings.evaluate)]

    alpha = float(settings.options.get("alpha", ALPHA))

    def maker(name: str) -> Callable[[Any], Any]:
        return lambda world: JOINT_POLICIES.make(name, world.field, np.random.default_rng(0))

    scores = compare({name: maker(name) for name in settings.compare}, worlds, seeds, settings.steps, alpha=alpha)
    return {name: mean(found) for name, found in scores.items()}


class _Stirred:
    """A policy whose wishes are larger or smaller by a lingering noise, of its own for each limit."""

    name: ClassVar[str] = "stirred"
    learned: ClassVar[bool] = False

    def __init__(self, policy: JointPolicy, ratio: float, rng: np.random.Generator) -> None:
        self._policy, self._ratio, self._rng = policy, ratio, rng
        self._noise: dict[tuple[str, str], float] = {}
        self._last_s = 0.0

    def step(
        self, signals: Mapping[str, Mapping[str, float]], objective: Mapping[str, float], now_s: float
    ) -> list[Wish]:
        keep = math.exp(-max(now_s - self._last_s, 0.0) / LINGER_S)
        self._last_s = now_s
        found = []
        for wish in self._policy.step(signals, objective, now_s):
            key = (wish.target, wish.resource)
            fresh = self._ratio * float(self._rng.standard_normal())
            self._noise[key] = keep * self._noise.get(key, fresh) + math.sqrt(1 - keep * keep) * fresh
            found.append(wish._replace(value=wish.value * math.exp(self._noise[key])))
        return found

    def in_force(self, wishes: Mapping[tuple[str, str], float]) -> None:
        self._policy.in_force(wishes)

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """There is nothing to keep."""


def _watcher(policy: LearnedLimits, field: Field) -> LearnedLimits:
    model = "all" if "all" in policy.models else "each"
    return LearnedLimits(field, np.random.default_rng(0), model=model, learn="learner", alpha=policy.alpha)


def _of_file(file: Path, settings: TrainSettings, policy: LearnedLimits) -> Rows:
    if file.suffix == ".npz":
        count = len(policy.resources)
        return {"all": [load_rows(file, size(count), count)]}
    if file.suffix == ".json":
        rows: Rows = {}
        for frames in of_results(file):
            if frames:
                _join(
                    rows, transitions(frames, _watcher(policy, policy.field._replace(targets=tuple(frames[0].signals))))
                )
        return rows
    if not file.is_dir():
        raise ConfigError(f"bootstrap.files: {file} is neither .npz, nor results.json, nor a node's store folder")
    given = settings.bootstrap
    if not given.targets:
        raise ConfigError(f"bootstrap.files: {file} is a store; say whose limits were logged: bootstrap.targets")
    with open_all(file) as reader:
        frames = list(of_store(reader, given.targets, given.objective, 0, MAX_T_NS))
    return transitions(frames, _watcher(policy, policy.field._replace(targets=given.targets)))


def _join(rows: Rows, more: Rows) -> None:
    for key, found in more.items():
        rows.setdefault(key, []).extend(found)
