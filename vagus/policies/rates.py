"""How many rewards come, how widely they are spread, and how noisy they are within a tick: what `auto` measures first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from vagus.policies.bank import Bank, Floats, Ints

FADE = 0.995  # of the rewards' scale and rate, in a tick
NEVER = -1e18  # a tick so long ago that it never was
LEAST = 1e-300


class Rates(Bank):
    """Columns per row. Nothing fades while no rewards come: what time does is worked out where it is asked for."""

    whole: ClassVar[Mapping[str, float]] = {
        "latest": NEVER,  # tick of the newest reward
        "rewards": 0.0,
        "arrived": 0.0,  # discounted rewards, and ticks in which they came: their rate
        "ticked": 0.0,
        "count": 0.0,  # discounted rewards, their mean, and squared distances from it: the scale
        "centre": 0.0,
        "squares": 0.0,
        "within": 0.0,  # squared distances of an arm's rewards in a tick from their mean, and degrees of freedom
        "freedom": 0.0,
    }
    counts: ClassVar[frozenset[str]] = frozenset(
        {"rewards", "arrived", "ticked", "count", "squares", "within", "freedom"}
    )
    latest: Floats
    rewards: Floats
    arrived: Floats
    ticked: Floats
    count: Floats
    centre: Floats
    squares: Floats
    within: Floats
    freedom: Floats

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__(rng)
        self.now = 0.0

    def measure(self, at: Ints, heads: Ints, counts: Floats, means: Floats, within: Floats) -> None:
        """Takes a tick's rewards of the rows `at`: counts, means and squares within of cells, those of row i from `heads[i]`."""
        sums, sizes = np.add.reduceat(counts, heads), np.diff(heads, append=len(counts))
        new = self.latest[at] <= NEVER
        gap = np.where(new, 0.0, self.now - self.latest[at])
        left = FADE**gap
        self.ticked[at] = np.where(new, 1.0, self.ticked[at] * left + (1.0 - left) / (1.0 - FADE))
        self.arrived[at] = self.arrived[at] * left + sums
        self.latest[at] = self.now
        self.rewards[at] += sums
        # Distances are from the old centre: exact also for rewards with a large offset.
        centre = np.where(new, means[heads], self.centre[at])
        old = self.count[at] * FADE
        off = means - np.repeat(centre, sizes)
        shift = np.add.reduceat(counts * off, heads) / (old + sums)
        rest = off - np.repeat(shift, sizes)
        inner = np.add.reduceat(within, heads)
        outer = np.add.reduceat(counts * rest * rest, heads)
        self.squares[at] = self.squares[at] * FADE + old * shift * shift + inner + outer
        self.count[at] = old + sums
        self.centre[at] = centre + shift
        self.within[at] = self.within[at] * 0.99 + inner
        self.freedom[at] = self.freedom[at] * 0.99 + sums - sizes

    def spread(self, at: Any) -> Floats:
        """Variance of all rewards, between arms included, (m,)."""
        found: Floats = self.squares[at] / np.maximum(self.count[at], 1.0)
        return found

    def inner(self, at: Any) -> Floats:
        """Variance of rewards of one arm in one tick, as far as they tell, (m,)."""
        found: Floats = (self.within[at] + 0.5 * self.spread(at)) / (self.freedom[at] + 1.0)
        return found

    def rate(self, at: Any) -> Floats:
        """Rewards in a tick, (m,)."""
        left = FADE ** np.maximum(self.now - 1.0 - self.latest[at], 0.0)
        ticks = self.ticked[at] * left + (1.0 - left) / (1.0 - FADE)
        found: Floats = self.arrived[at] * left / np.maximum(ticks, 1.0)
        return found

    def absorb_rates(self, row: int, theirs: Mapping[str, float], share: float) -> None:
        """Adds a share of another row's columns."""
        rate = theirs["arrived"] / max(theirs["ticked"], 1.0)
        self.ticked[row] = max(self.ticked[row], 1.0) if self.latest[row] > NEVER / 2 else max(theirs["ticked"], 1.0)
        self.arrived[row] += share * rate * self.ticked[row]
        self.latest[row] = max(self.latest[row], self.now - min(theirs["latest"], -NEVER / 4))
        count = share * theirs["count"]
        total, off = self.count[row] + count, theirs["centre"] - self.centre[row]
        if total > 0.0:
            self.squares[row] += share * theirs["squares"] + self.count[row] * count / total * off * off
            self.centre[row] += off * count / total
        self.count[row] = total
        for name in ("rewards", "within", "freedom"):
            getattr(self, name)[row] += share * theirs[name]
