"""Every arm alike: the baseline, and what gathers data without bias."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from vagus.policies.bank import Bank, Bools, Floats, Ints, check_rewards, even


class Uniform(Bank):
    """Equal probabilities; counts what comes, for `explain`, and learns nothing."""

    name: ClassVar[str] = "uniform"
    by_means: ClassVar[bool] = False
    cells: ClassVar = {"count": 0.0, "total": 0.0}
    added: ClassVar = frozenset({"count", "total"})
    count: Floats
    total: Floats

    def learn(self, rows: Ints, places: Ints, rewards: Floats) -> None:
        """Counts. Raises ConfigError, with nothing learned, unless all are within ±1e100."""
        check_rewards(rewards)
        np.add.at(self.count, (rows, places), 1.0)
        np.add.at(self.total, (rows, places), rewards)

    def tick(self) -> None:
        """Nothing to forget."""

    def weights(self, rows: Ints, feasible: Bools) -> Floats:
        """1/n for each of the n feasible places."""
        return even(feasible)

    def explain(self, row: int, places: int) -> list[dict[str, float]]:
        """Means and counts."""
        counts, totals = self.count[row], self.total[row]
        return [
            {"mean": float(totals[at] / counts[at]) if counts[at] else 0.0, "evidence": float(counts[at])}
            for at in range(places)
        ]
