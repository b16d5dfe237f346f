"""UCB that starts anew from time to time: the simplest way to follow a changing world.

UCB1 (Auer, Cesa-Bianchi and Fischer 2002) in lists of slots, with restarts at fixed distances (Besbes, Gur and Zeevi
2014, "Stochastic Multi-Armed-Bandit Problem with Non-stationary Rewards", section 4); Pytheas names it as an option.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from vagus.policies.bank import Floats, Ints
from vagus.policies.options import whole
from vagus.policies.ucb import DiscountedUCB


class RestartedUCB(DiscountedUCB):
    """Mean plus bonus · spread · √(2 ln n / nᵢ) over all rewards since the group's last restart.

    period: ticks between two restarts; groups restart at different ticks, so that not all explore at once. bonus,
    slots, floor as of `ucb`. Costs as of `ucb`, and a tick 1 ns a group.
    """

    name: ClassVar[str] = "restarted"
    whole: ClassVar[Mapping[str, float]] = {"squares": 0.0, "age": 0.0}
    counts: ClassVar[frozenset[str]] = frozenset({"count", "squares", "age"})
    age: Floats  # ticks since the restart

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        period: int = 150,
        bonus: float = 0.5,
        slots: int = 10,
        floor: float = 0.0,
    ) -> None:
        super().__init__(rng, gamma=1.0, bonus=bonus, slots=slots, floor=floor)
        self.period = whole(self.name, "period", period, 2, 10_000_000)

    def resize(self, rows: int, width: int) -> None:
        """As of all banks; new rows are anywhere in their period."""
        before = self.rows
        super().resize(rows, width)
        self.age[before:] = self.rng.integers(self.period, size=self.rows - before)

    def tick(self) -> None:
        """Rows whose period is over forget all."""
        self.age += 1.0
        over = np.flatnonzero(self.age >= self.period)
        self.count[over] = 0.0
        self.mean[over] = 0.0
        self.squares[over] = 0.0
        self.age[over] = 0.0

    def clear(self, row: int) -> None:
        """An empty row again, anywhere in its period."""
        super().clear(row)
        self.age[row] = float(self.rng.integers(self.period))

    def _arriving(self, rows: Ints, total: Floats) -> Floats:
        return total / np.maximum(self.age[rows], 1.0)
