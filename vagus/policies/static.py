"""What never changes: shares that were given, or the arm that was best of a group's first rewards. A baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from vagus.errors import ConfigError
from vagus.policies.bank import Bank, Bools, Floats, Ints, check_rewards, even
from vagus.policies.options import whole
from vagus.policies.summed import absorb_means, add_rewards

MAX_SHARES = 10_000


class Static(Bank):
    """With `shares` (arm to weight): always these, over what is feasible. Without: explore, then commit.

    first: rewards of a group that are learned from (served evenly until then); from then on the best of them is
    chosen for good (Garivier, Lattimore and Kaufmann 2016, "On Explore-Then-Commit Strategies"). Where no feasible arm
    has a share, or none was seen among the first: evenly.
    """

    name: ClassVar[str] = "static"
    by_means: ClassVar[bool] = False
    cells: ClassVar[Mapping[str, float]] = {"count": 0.0, "mean": 0.0}
    count: Floats
    mean: Floats

    def __init__(
        self, rng: np.random.Generator, *, shares: Mapping[str, float] | None = None, first: int = 100
    ) -> None:
        super().__init__(rng)
        self.shares = _checked_shares(shares)
        self.first = whole(self.name, "first", first, 1, 1_000_000_000)
        self._news = np.empty(0)
        self.share = np.empty((0, 0))  # of places; not part of the state: it comes from the options

    def resize(self, rows: int, width: int) -> None:
        """As of all banks."""
        before = self.share
        super().resize(rows, width)
        self._news = np.zeros(self.rows * self.width)
        self.share = np.zeros((self.rows, self.width))
        self.share[: before.shape[0], : before.shape[1]] = before

    def named(self, row: int, names: Sequence[str]) -> None:
        """Which places have which shares."""
        self.share[row] = 0.0
        self.share[row, : len(names)] = [self.shares.get(name, 0.0) for name in names]

    def learn(self, rows: Ints, places: Ints, rewards: Floats) -> None:
        """Until the group has committed. Raises ConfigError, with nothing learned, unless all are within ±1e100."""
        check_rewards(rewards)
        early = self.count[rows].sum(axis=1) < self.first
        if early.any():
            at = (rows * self.width + places)[early]
            add_rewards(self.count.reshape(-1), self.mean.reshape(-1), at, rewards[early], news=self._news)

    def tick(self) -> None:
        """Nothing fades."""

    def weights(self, rows: Ints, feasible: Bools) -> Floats:
        """Exact."""
        if self.shares:
            shares = np.where(feasible, self.share[rows], 0.0)
        else:
            counts = self.count[rows]
            seen = (counts > 0.0) & feasible & (counts.sum(axis=1, keepdims=True) >= self.first)
            means = np.where(seen, self.mean[rows], -np.inf)
            shares = (seen & (means == means.max(axis=1, keepdims=True))).astype(np.float64)
        total = shares.sum(axis=1, keepdims=True)
        found: Floats = np.where(total > 0.0, shares / np.where(total > 0.0, total, 1.0), even(feasible))
        return found

    def set_row(self, row: int, state: Mapping[str, Any]) -> None:
        """What `row` gave. The shares stay as named."""
        share = self.share[row].copy()
        super().set_row(row, state)
        self.share[row] = share

    def absorb(self, row: int, state: Mapping[str, Any], share: float) -> None:
        """Counts add up, means are weighed by them."""
        cells, _ = self.checked(state)
        absorb_means(self.count[row], self.mean[row], cells["count"] * share, cells["mean"])

    def clear(self, row: int) -> None:
        """An empty row again, without names."""
        super().clear(row)
        self.share[row] = 0.0

    def explain(self, row: int, places: int) -> list[dict[str, float]]:
        """Means and counts of the first rewards, the given shares."""
        return [
            {
                "mean": float(self.mean[row, at]),
                "evidence": float(self.count[row, at]),
                "share": float(self.share[row, at]),
            }
            for at in range(places)
        ]


def _checked_shares(shares: Mapping[str, float] | None) -> dict[str, float]:
    if shares is None:
        return {}
    if not isinstance(shares, Mapping) or not 0 < len(shares) <= MAX_SHARES:
        raise ConfigError(f"policy 'static': option shares must name 1 to {MAX_SHARES} arms with their shares")
    for arm, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0.0 <= share <= 1e9:
            raise ConfigError(f"policy 'static': share {share!r} of arm {str(arm)[:50]!r} must be a number of 0 to 1e9")
    total = math.fsum(shares.values())
    if not total > 0.0:
        raise ConfigError("policy 'static': option shares gives every arm 0; one must have more")
    return {str(arm): share / total for arm, share in shares.items()}
