"""A log of decisions as columns of numpy, and the plain model of its rewards: what off-policy estimates are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vagus.errors import ConfigError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FOLDS = 5
PRIOR = 1.0  # evidence, in rewards, that a mean borrows from the arm's over all groups, and that from all rewards'
SMALLEST = 1e-15  # propensity: no draw by a 64-bit number is rarer; larger weights would overflow
MOST_CELLS = 20_000_000  # groups x arms of a reward model


@dataclass(frozen=True, eq=False)
class Log:
    """Rows of a log, (n,) each: group and arm as indexes from 0, finite rewards, propensities of the logged arms.

    feasible: distinct sets of arms, (m, arms) booleans, and `chosen_from`, (n,): which of them each row drew from.
    """

    group: Ints
    arm: Ints
    reward: Floats
    propensity: Floats
    feasible: Bools
    chosen_from: Ints
    groups: tuple[str, ...] = ()
    arms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.reward)
        for name in ("group", "arm", "propensity", "chosen_from"):
            if getattr(self, name).shape != (n,):
                raise ConfigError(f"log: {name} has shape {getattr(self, name).shape}, not ({n},) as reward has")
        if not n:
            raise ConfigError("log: there are no rewarded decisions")
        if not np.isfinite(self.reward).all():
            raise ConfigError(f"log: the reward of row {int(np.argmin(np.isfinite(self.reward)))} is not finite")
        if self.feasible.ndim != 2 or not 0 <= self.chosen_from.min() <= self.chosen_from.max() < len(self.feasible):
            raise ConfigError("log: chosen_from names sets of arms that there are not")
        if self.group.min() < 0 or not 0 <= self.arm.min() <= self.arm.max() < self.feasible.shape[1]:
            raise ConfigError("log: group or arm is not an index from 0")
        if not self.feasible[self.chosen_from, self.arm].all():
            row = int(np.argmin(self.feasible[self.chosen_from, self.arm]))
            raise ConfigError(f"log: the arm of row {row} is not among those that it was chosen from")
        if (int(self.group.max()) + 1) * self.feasible.shape[1] > MOST_CELLS:
            raise ConfigError(
                f"log: {int(self.group.max()) + 1} groups x {self.feasible.shape[1]} arms are more than {MOST_CELLS} "
                "cells of a reward model; take fewer groups at once"
            )

    @property
    def known(self) -> Bools:
        """Rows whose propensity is a probability that something could have been drawn by, (n,)."""
        known: Bools = (self.propensity >= SMALLEST) & (self.propensity <= 1.0 + 1e-9)
        return known


def counted_propensities(group: Ints, arm: Ints) -> Floats:
    """How often each row's arm was drawn in its group, (n,): what stands for propensities that nobody logged."""
    arms = int(arm.max()) + 1
    cells = np.bincount(group * arms + arm, minlength=(int(group.max()) + 1) * arms)
    per_group = np.bincount(group)
    shares: Floats = cells[group * arms + arm] / per_group[group]
    return shares


def log_of(
    groups: Sequence[str],
    arms: Sequence[str],
    rewards: Sequence[float],
    propensities: Sequence[float],
    feasible: Sequence[Sequence[str]] | None = None,
) -> Log:
    """A log from texts. feasible: the arms that each row chose from; without it all that the row's group ever drew."""
    n = len(rewards)
    for name, column in (("group", groups), ("arm", arms), ("propensity", propensities), ("feasible", feasible)):
        if column is not None and len(column) != n:
            raise ConfigError(f"log: {len(column)} values of {name} for {n} rewards")
    if not n:
        raise ConfigError("log: there are no rewarded decisions")
    group_at = {name: at for at, name in enumerate(dict.fromkeys(groups))}
    known = dict.fromkeys(arms)
    for each in dict.fromkeys(map(tuple, feasible)) if feasible is not None else ():
        known.update(dict.fromkeys(each))
    arm_at = {name: at for at, name in enumerate(known)}
    group = np.array([group_at[name] for name in groups], dtype=np.int64)
    arm = np.array([arm_at[name] for name in arms], dtype=np.int64)
    if feasible is None:
        sets: Any = np.zeros((len(group_at), len(arm_at)), dtype=bool)
        sets[group, arm] = True
        chosen_from = group
    else:
        set_at: dict[frozenset[str], int] = {}
        chosen_from = np.array([set_at.setdefault(frozenset(each), len(set_at)) for each in feasible], dtype=np.int64)
        sets = np.zeros((len(set_at), len(arm_at)), dtype=bool)
        for members, at in set_at.items():
            sets[at, [arm_at[name] for name in members]] = True
    return Log(
        group,
        arm,
        np.array(rewards, dtype=np.float64),
        np.array(propensities, dtype=np.float64),
        sets,
        chosen_from,
        tuple(group_at),
        tuple(arm_at),
    )


def folds_of(log: Log, rng: np.random.Generator, folds: int = FOLDS) -> Ints:
    """A fold for each row, (n,), at random: evenly within each group and arm, so that none loses a cell's evidence."""
    order = np.lexsort((rng.random(len(log.reward)), log.arm, log.group))
    fold: Ints = np.empty(len(order), dtype=np.int64)
    fold[order] = (np.arange(len(order)) + rng.integers(folds)) % folds
    return fold


def means(log: Log, rows: Bools) -> Floats:
    """The reward model of some rows: mean of each group and arm, (groups, arms), drawn to what is known more widely."""
    groups, arms = int(log.group.max()) + 1, log.feasible.shape[1]
    at, rewards = log.group[rows] * arms + log.arm[rows], log.reward[rows]
    count = np.bincount(at, minlength=groups * arms).reshape(groups, arms)
    total = np.bincount(at, rewards, minlength=groups * arms).reshape(groups, arms)
    overall = float(rewards.mean()) if len(rewards) else 0.0
    by_arm = (total.sum(axis=0) + PRIOR * overall) / (count.sum(axis=0) + PRIOR)
    model: Floats = (total + PRIOR * by_arm) / (count + PRIOR)
    return model
