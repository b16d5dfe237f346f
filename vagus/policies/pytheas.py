"""The loop that Pytheas published (NSDI'17, section 4, and its code), as a baseline: discounted UCB with its constants.

At each batch S ← γS + Σ new, N ← γN + n; index S/N + B·√(2 ln ΣN)/√Nᵢ; ten times: the highest index takes a slot,
Nᵢ += 1, ΣN ← (ΣN + 1)γ, all N ← γN, with the means as they are. γ .8, B 1000, whatever the rewards' unit: the score is
the reward as it comes (the cost, negated). A batch is a tick.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from vagus.errors import ConfigError
from vagus.policies.bank import Bools, Floats, Ints, check_rewards, even
from vagus.policies.fading import Fading, known
from vagus.policies.options import number, whole


class Pytheas(Fading):
    """The formula and its constants are kept; where the published code departs from it or breaks, ours does not.

    Mended: arms absent from a batch fade like the others; arms never seen lead the list; no division by zero, and no
    logarithm below 0 (the bonus is 0 then). `verbatim`: the first two as published, to compare: only arms with rewards
    in a tick fade, and an arm never seen gets nothing once there is a list. A group of which nothing is known is
    served evenly in both. Costs: weights about 1 µs a row of 10 places and 10 slots.
    """

    name: ClassVar[str] = "pytheas"
    by_means: ClassVar[bool] = False
    cells: ClassVar[Mapping[str, float]] = {"count": 0.0, "mean": 0.0}

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        gamma: float = 0.8,
        bonus: float = 1000.0,
        slots: int = 10,
        verbatim: bool = False,
    ) -> None:
        self.fade = number(self.name, "gamma", gamma, 0.01, 1.0)
        super().__init__(rng, 1.0 if verbatim else self.fade)
        self.bonus = number(self.name, "bonus", bonus, 0.0, 1e9)
        self.slots = whole(self.name, "slots", slots, 1, 1000)
        if not isinstance(verbatim, bool):
            raise ConfigError(f"policy 'pytheas': option verbatim={verbatim!r} must be true or false")
        self.verbatim = verbatim
        self._heard: list[Ints] = []  # cells that had rewards since the last tick

    def learn(self, rows: Ints, places: Ints, rewards: Floats) -> None:
        """Rewards into counts and means. Raises ConfigError, with nothing learned, unless all are within ±1e100."""
        check_rewards(rewards)
        if self.verbatim and len(rewards):
            at = np.unique(rows * self.width + places)
            for before in self._heard:
                at = np.setdiff1d(at, before, assume_unique=True)
            self.count.reshape(-1)[at] *= self.fade
            self._heard.append(at)
        super().learn(rows, places, rewards)

    def tick(self) -> None:
        """A batch is over."""
        self._heard.clear()
        super().tick()

    def resize(self, rows: int, width: int) -> None:
        """As of all banks."""
        if width > self.width:
            self._heard = [at // self.width * width + at % self.width for at in self._heard]
        super().resize(rows, width)

    def weights(self, rows: Ints, feasible: Bools) -> Floats:
        """Slots taken of `slots`."""
        return self.in_parts(self._lists, rows, feasible)

    def _lists(self, rows: Ints, feasible: Bools) -> Floats:
        counts, means, _ = self.evidence(rows)
        seen = known(counts, feasible)
        nothing = ~seen.any(axis=1)
        highest: Floats = np.where(seen, means, -np.inf).max(axis=1)
        means -= np.where(nothing, 0.0, highest)[:, None]  # so that a large offset leaves room for small differences
        counts = np.where(seen, counts, 0.0)
        means = np.where(seen, means, -np.inf)
        total, taken = counts.sum(axis=1), np.zeros(feasible.shape)
        lane: Ints = np.arange(len(rows))
        waiting: Bools = np.zeros_like(feasible) if self.verbatim else feasible & ~seen
        first = np.where(waiting, self.rng.random(feasible.shape), -1.0) if waiting.any() else None
        for _ in range(self.slots):
            reach = self.bonus * np.sqrt(2.0 * np.log(np.maximum(total, 1.0)))
            index = means + np.divide(reach[:, None], np.sqrt(counts), out=np.zeros_like(counts), where=counts > 0.0)
            best = index.argmax(axis=1)
            taking: Bools = np.ones(len(rows), np.bool_)
            if first is not None:
                eager = first.argmax(axis=1)
                taking = first[lane, eager] < 0.0
                best = np.where(taking, best, eager)
                first[lane, best] = -1.0
            taken[lane, best] += 1.0
            counts[lane[taking], best[taking]] += 1.0
            total = (total + taking) * self.fade
            counts *= self.fade
        shares: Floats = taken / self.slots
        shares[nothing] = even(feasible[nothing])
        return shares
