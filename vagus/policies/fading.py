"""Discounted counts, means and spread of many groups: what most policies know. Old rewards fade at each tick.

Fading costs nothing per cell: instead of shrinking all that is known, new rewards weigh more (`grown`, which is
multiplied by 1/gamma at each tick); counts are divided by it where they are read. Means do not fade.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from vagus.policies.bank import Bank, Bools, Floats, Ints, check_rewards
from vagus.policies.discount import Discount
from vagus.policies.summed import absorb_means, add_rewards

FORGOTTEN = 1e-3  # an arm with less evidence than this counts as never seen
CELLS = 1 << 15
TOO_GROWN = 2.0**100  # then all is scaled back, by this power of two: exact


class Fading(Bank):
    """Columns: count (weighted by `grown`) and mean per cell; squares (weighted) around the cells' means per row.

    gamma: what is left of evidence after a tick, or a `Discount` that measures it. Cheap: tick O(1); learn about
    100 ns a reward in batches of thousands, whatever the number of rows.
    """

    cells: ClassVar[Mapping[str, float]] = {"count": 0.0, "mean": 0.0}
    whole: ClassVar[Mapping[str, float]] = {"squares": 0.0}
    count: Floats
    mean: Floats
    squares: Floats

    def __init__(self, rng: np.random.Generator, gamma: float | Discount) -> None:
        super().__init__(rng)
        self.discount = gamma if isinstance(gamma, Discount) else None
        self.together = self.discount is not None
        self._gamma = gamma if isinstance(gamma, float) else 1.0
        self.grown = 1.0
        self._news = np.empty(0)

    @property
    def gamma(self) -> float:
        """The discount in use."""
        return self.discount.gamma if self.discount else self._gamma

    def resize(self, rows: int, width: int) -> None:
        """As of all banks."""
        super().resize(rows, width)
        self._news = np.zeros(self.rows * self.width)  # all 0 between two calls of learn
        if self.discount:
            self.discount.resize(self.rows, self.width)

    def learn(self, rows: Ints, places: Ints, rewards: Floats) -> None:
        """Rewards into counts and means. Raises ConfigError, with nothing learned, unless all are within ±1e100."""
        if not len(rewards):
            return
        check_rewards(rewards)
        if self.discount:
            self.discount.learn(rows, places, rewards)
        at = rows * self.width + places
        squares = add_rewards(self.count.reshape(-1), self.mean.reshape(-1), at, rewards, self.grown, news=self._news)
        np.add.at(self.squares, rows, squares * self.grown)
        self.squares[rows] = np.maximum(self.squares[rows], 0.0)  # rounding

    def tick(self) -> None:
        """All fade, also those without a reward."""
        if self.discount:
            self.discount.tick()
        self.grown /= self.gamma
        if self.grown > TOO_GROWN:
            self.grown /= TOO_GROWN
            self.count /= TOO_GROWN
            self.squares /= TOO_GROWN
            gone = self.count < FORGOTTEN**2
            self.count[gone] = self.mean[gone] = 0.0
            self.squares[~self.count.any(axis=1)] = 0.0

    def evidence(self, rows: Ints) -> tuple[Floats, Floats, Floats]:
        """Of m rows: discounted counts (m, width), means (m, width), squares (m,)."""
        return self.count[rows] / self.grown, self.mean[rows], self.squares[rows] / self.grown

    def in_parts(self, of: Callable[[Ints, Bools], Floats], rows: Ints, feasible: Bools) -> Floats:
        """What `of` says of rows, asked for as many at once as fit a core's cache."""
        found = np.empty(feasible.shape)
        step = max(64, CELLS // max(1, self.width))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            found[part] = of(rows[part], feasible[part])
        return found

    def row(self, row: int) -> dict[str, Any]:
        """Counts and squares as they are now, means."""
        found = super().row(row)
        found["count"] = [count / self.grown for count in found["count"]]
        found["squares"] /= self.grown
        return found

    def set_row(self, row: int, state: Mapping[str, Any]) -> None:
        """What `row` gave, of this or a smaller width. Raises ConfigError, with nothing changed."""
        super().set_row(row, state)
        self.count[row] *= self.grown
        self.squares[row] *= self.grown

    def absorb(self, row: int, state: Mapping[str, Any], share: float) -> None:
        """Counts add up, means are weighed by them; the squares grow by what the means differ."""
        cells, whole = self.checked(state)
        weight = share * self.grown
        apart = absorb_means(self.count[row], self.mean[row], cells["count"] * weight, cells["mean"])
        self.squares[row] += whole["squares"] * weight + apart

    def clear(self, row: int) -> None:
        """An empty row again."""
        super().clear(row)
        if self.discount:
            self.discount.clear(row)

    def explain(self, row: int, places: int) -> list[dict[str, float]]:
        """Means, evidence, and the row's `spread`: the standard deviation of its rewards around the arms' means."""
        counts = self.count[row] / self.grown
        total = float(counts.sum())
        spread = math.sqrt(float(self.squares[row]) / self.grown / total) if total > 0.0 else 0.0
        return [
            {
                "mean": float(self.mean[row, at]),
                "evidence": float(counts[at]),
                "spread": spread,
                "gamma": self.gamma,
            }
            for at in range(places)
        ]


def spread_of(counts: Floats, means: Floats, squares: Floats) -> tuple[Floats, Floats, Floats]:
    """Of transposed columns (width, m), counts and means, and squares (m,): total evidence, common mean and spread.

    The spread is that of all rewards, between the arms included, so that arms without noise are explored too; 1 where
    all rewards were equal: any scale will do then.
    """
    total: Floats = counts.sum(axis=0)
    share = counts / np.where(total > 0.0, total, 1.0)
    centre: Floats = (share * means).sum(axis=0)
    off = means - centre
    off *= off
    variance = (share * off).sum(axis=0) + squares / np.where(total > 0.0, total, 1.0)
    return total, centre, np.where(variance > 0.0, np.sqrt(variance), 1.0)


def known(counts: Floats, feasible: Bools) -> Bools:
    """Which feasible places have been seen and are not forgotten."""
    seen: Bools = (counts >= FORGOTTEN) & feasible
    return seen
