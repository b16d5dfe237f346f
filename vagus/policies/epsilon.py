"""ε-greedy over a sliding window (Sutton and Barto 2018, section 2.2; the window as in Pytheas' list of policies)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from vagus.policies.bank import Bank, Bools, Floats, Ints, check_rewards, even
from vagus.policies.options import number, whole
from vagus.policies.summed import absorb_means, add_rewards

PARTS = 4


class SlidingEpsilon(Bank):
    """The best mean of the window gets 1 - epsilon, and all feasible arms share epsilon evenly; ties share.

    window: ticks that are looked back on, in quarters: the oldest quarter leaves at once when the newest is full.
    Arms without a reward in the window live of epsilon; a group without any is served evenly.
    Costs: 64 bytes a place, learn about 0.1 µs a reward, weights 0.1 µs a row of 10 places.
    """

    name: ClassVar[str] = "epsilon"
    cells: ClassVar[Mapping[str, float]] = {f"{what}{part}": 0.0 for what in ("count", "mean") for part in range(PARTS)}
    counts: ClassVar[frozenset[str]] = frozenset(f"count{part}" for part in range(PARTS))

    def __init__(self, rng: np.random.Generator, *, epsilon: float = 0.1, window: int = 60) -> None:
        super().__init__(rng)
        self.epsilon = number(self.name, "epsilon", epsilon, 0.0, 1.0)
        self.window = whole(self.name, "window", window, PARTS, 10_000_000)
        self._now = 0  # the part that takes rewards
        self._ticks = 0
        self._parts = self._columns()
        self._news = np.empty(0)

    def _columns(self) -> list[tuple[Floats, Floats]]:
        return [(getattr(self, f"count{part}"), getattr(self, f"mean{part}")) for part in range(PARTS)]

    def resize(self, rows: int, width: int) -> None:
        """As of all banks."""
        super().resize(rows, width)
        self._parts = self._columns()
        self._news = np.zeros(self.rows * self.width)

    def learn(self, rows: Ints, places: Ints, rewards: Floats) -> None:
        """Into the newest quarter. Raises ConfigError, with nothing learned, unless all are within ±1e100."""
        check_rewards(rewards)
        count, mean = self._parts[self._now]
        add_rewards(count.reshape(-1), mean.reshape(-1), rows * self.width + places, rewards, news=self._news)

    def tick(self) -> None:
        """The window slides."""
        self._ticks += 1
        part = self._ticks * PARTS // self.window % PARTS
        if part != self._now:
            self._now = part
            for column in self._parts[part]:
                column.fill(0.0)

    def weights(self, rows: Ints, feasible: Bools) -> Floats:
        """Exact."""
        counts, means = self._window(rows)
        seen = (counts > 0.0) & feasible
        means[~seen] = -np.inf
        best = means == means.max(axis=1, keepdims=True)
        best[~seen.any(axis=1)] = feasible[~seen.any(axis=1)]
        shares: Floats = (1.0 - self.epsilon) * even(best) + self.epsilon * even(feasible)
        return shares

    def _window(self, rows: Ints) -> tuple[Floats, Floats]:
        counts = np.zeros((len(rows), self.width))
        means = np.zeros((len(rows), self.width))
        for count, mean in self._parts:
            more = count[rows]
            counts += more
            means += np.divide(more, counts, out=np.zeros_like(counts), where=counts > 0.0) * (mean[rows] - means)
        return counts, means

    def row(self, row: int) -> dict[str, Any]:
        """The quarters, oldest last: 0 is the newest."""
        found = super().row(row)
        return {
            f"{what}{age}": found[f"{what}{(self._now - age) % PARTS}"]
            for what in ("count", "mean")
            for age in range(PARTS)
        }

    def set_row(self, row: int, state: Mapping[str, Any]) -> None:
        """Quarters from `row`. Raises ConfigError, with nothing changed."""
        self.checked(state)
        self.clear(row)
        self.absorb(row, state, 1.0)

    def absorb(self, row: int, state: Mapping[str, Any], share: float) -> None:
        """Counts add up, quarter by quarter, means are weighed by them."""
        cells, _ = self.checked(state)
        for age in range(PARTS):
            count, mean = self._parts[(self._now - age) % PARTS]
            absorb_means(count[row], mean[row], cells[f"count{age}"] * share, cells[f"mean{age}"])

    def explain(self, row: int, places: int) -> list[dict[str, float]]:
        """Means and counts of the window."""
        counts, means = self._window(np.array([row]))
        return [{"mean": float(means[0, at]), "evidence": float(counts[0, at])} for at in range(places)]
