"""Discounted Thompson sampling with Gaussian posteriors.

After Qi, Wang and Zhu (2023), "Discounted Thompson Sampling for Non-Stationary Bandit Problems"; the spread of the
rewards is learned instead of given. What is drawn from is a list of sampled winners, as Pytheas' lists: the probability
of each arm is then exact, not an estimate.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from vagus.policies.bank import Bools, Floats, Ints, even
from vagus.policies.discount import Discount
from vagus.policies.fading import Fading, known, spread_of
from vagus.policies.options import number, whole

LOW = -1e30  # below anything sampled


class DiscountedThompson(Fading):
    """Samples each arm's mean from its posterior; each slot goes to the arm that won that round.

    Posterior of an arm with discounted count n: normal around the mean of its rewards and `prior` rewards at the
    group's mean, with the spread of all rewards over √(n + prior); arms never seen have the prior alone. gamma:
    discount at each tick, None: measured; slots: rounds; floor: share of decisions spread evenly, so that every arm
    keeps a probability. Costs: a tick O(1), weights about 1 µs a row of 10 places and 10 slots.
    """

    name: ClassVar[str] = "thompson"

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        gamma: float | None = None,
        prior: float = 0.5,
        slots: int = 10,
        floor: float = 0.02,
    ) -> None:
        super().__init__(rng, Discount() if gamma is None else number(self.name, "gamma", gamma, 0.01, 1.0))
        self.prior = number(self.name, "prior", prior, 1e-6, 1e6)
        self.slots = whole(self.name, "slots", slots, 1, 10_000)
        self.floor = number(self.name, "floor", floor, 0.0, 1.0)

    def weights(self, rows: Ints, feasible: Bools) -> Floats:
        """Rounds won of `slots`, the floor mixed in. Groups of which nothing is known are served evenly."""
        found = self.in_parts(self._won, rows, feasible)
        found *= 1.0 - self.floor
        found += self.floor * even(feasible)
        return found

    def _won(self, rows: Ints, feasible: Bools) -> Floats:
        counts, means, squares = self.evidence(rows)
        counts, means = np.ascontiguousarray(counts.T), np.ascontiguousarray(means.T)
        possible = np.ascontiguousarray(feasible.T)
        _, centre, spread = spread_of(counts, means, squares)
        seen = known(counts, possible)
        counts[~seen] = 0.0
        weight = counts + self.prior
        centres = np.where(seen, (means - centre) / spread * (counts / weight), 0.0)  # exact for any offset
        taken = win_slots(self.rng, self.slots, centres, 1.0 / np.sqrt(weight), possible)
        shares: Floats = taken.T / self.slots
        nothing = ~seen.any(axis=0)
        if nothing.any():
            shares[nothing] = even(feasible[nothing])
        return shares


def win_slots(rng: np.random.Generator, slots: int, centres: Floats, widths: Floats, feasible: Bools) -> Ints:
    """How many rounds each place won, (width, m), in m lists at once; all arrays are transposed, (width, m).

    As in `ucb.fill_slots` the place is in the lowest bits of what is sampled.
    """
    width, lists = centres.shape
    bits = max(1, (width - 1).bit_length())
    real: Any = np.float32 if bits <= 6 else np.float64
    bare: Any = np.int32 if bits <= 6 else np.int64
    mask = bare((1 << bits) - 1)
    codes = np.arange(width, dtype=bare)[:, None]
    centres = np.where(feasible, centres, LOW).astype(real)
    widths = widths.astype(real)
    winners = np.empty((slots, lists), np.int64)
    lane = np.arange(lists)
    drawn = np.empty((width, lists), real)
    for slot in range(slots):
        rng.standard_normal(out=drawn, dtype=real)
        np.multiply(drawn, widths, out=drawn)
        np.add(drawn, centres, out=drawn)
        coded = drawn.view(bare)
        coded &= ~mask
        coded |= codes
        at = np.multiply(np.maximum.reduce(drawn, axis=0).view(bare) & mask, lists, dtype=np.int64)
        winners[slot] = at + lane
    taken: Ints = np.bincount(winners.reshape(-1), minlength=width * lists).reshape(width, lists)
    return taken
