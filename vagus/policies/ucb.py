"""Discounted UCB (Garivier and Moulines 2011, "On Upper-Confidence Bound Policies for Switching Bandit Problems").

As in Pytheas (NSDI'17, section 4) the result is a list of ten decisions that is drawn from, here with bonus and
discount in the measure of the data: the bonus in standard deviations of the group's rewards instead of a constant of
1000, the discount measured (`discount.py`) instead of a constant of .8; and arms never seen lead the list.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from vagus.policies.bank import Bools, Floats, Ints, even
from vagus.policies.discount import Discount
from vagus.policies.fading import Fading, known, spread_of
from vagus.policies.options import number, whole

LOW = -1e30  # below any index that can be; finite, since its bits are changed
FIRST = 1e20  # above any


class DiscountedUCB(Fading):
    """Optimism: mean plus bonus · spread · √(2 ln n / nᵢ), over discounted counts n and means.

    gamma: discount at each tick, None: measured; bonus: exploration, in standard deviations; slots: length of the
    list, count/slots are the probabilities; floor: share of decisions spread evenly, so that every arm keeps a
    probability. A group of which nothing is known is served evenly.

    Costs: a tick O(1), weights about 0.3 µs a row of 10 places and 10 slots (in chunks that fit the cache; ask for
    all rows with news in one call), learn about 0.1 µs a reward (in batches of thousands).
    """

    name: ClassVar[str] = "ucb"

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        gamma: float | None = None,
        bonus: float = 0.5,
        slots: int = 10,
        floor: float = 0.0,
    ) -> None:
        super().__init__(rng, Discount() if gamma is None else number(self.name, "gamma", gamma, 0.01, 1.0))
        self.bonus = number(self.name, "bonus", bonus, 0.0, 1e6)
        self.slots = whole(self.name, "slots", slots, 1, 10_000)
        self.floor = number(self.name, "floor", floor, 0.0, 1.0)

    def weights(self, rows: Ints, feasible: Bools) -> Floats:
        """Slots taken of `slots`, the floor mixed in."""
        found = self.in_parts(self._lists, rows, feasible)
        if self.floor:
            found *= 1.0 - self.floor
            found += self.floor * even(feasible)
        return found

    def _lists(self, rows: Ints, feasible: Bools) -> Floats:
        counts, means, squares = self.evidence(rows)
        counts, means = np.ascontiguousarray(counts.T), np.ascontiguousarray(means.T)
        possible = np.ascontiguousarray(feasible.T)
        total, centre, spread = spread_of(counts, means, squares)
        means -= centre
        means /= spread
        reach = self.bonus * np.sqrt(2.0 * np.log(np.maximum(total, math.e)))
        each = np.maximum(1.0, self._arriving(rows, total) / self.slots)  # a slot stands for its part of what comes
        seen = known(counts, possible)
        taken = fill_slots(self.rng, self.slots, means, counts, reach, each, seen, possible)
        shares: Floats = taken.T / self.slots
        nothing = ~seen.any(axis=0)
        if nothing.any():
            shares[nothing] = even(feasible[nothing])
        return shares

    def _arriving(self, rows: Ints, total: Floats) -> Floats:
        """Rewards that come at a tick: (1 - gamma) n of them in a steady state."""
        return total * (1.0 - self.gamma)

    def explain(self, row: int, places: int) -> list[dict[str, float]]:
        """Also each arm's `index` in the rewards' unit; arms never seen have none."""
        counts, means, squares = (column.T for column in self.evidence(np.array([row])))
        total, _, spread = spread_of(counts, means, squares)
        reach = self.bonus * float(spread[0]) * math.sqrt(2.0 * math.log(max(float(total[0]), math.e)))
        found = super().explain(row, places)
        for one in found:
            if one["evidence"] > 0.0:
                one["index"] = one["mean"] + reach / math.sqrt(one["evidence"])
        return found


def fill_slots(
    rng: np.random.Generator,
    slots: int,
    means: Floats,
    counts: Floats,
    reach: Floats,
    each: Floats,
    seen: Bools,
    feasible: Bools,
) -> Ints:
    """How many slots each place takes, (width, m), of m lists at once; all arrays are transposed, (width, m) or (m,).

    The rule of Pytheas: slot by slot to the highest index, mean + reach / √count, whereupon its count grows by `each`
    with the mean as it is. Feasible places never seen come first, in random order. Lists without a seen place are
    meaningless. The logarithm in `reach` is that before the first slot.

    The place is kept in the lowest bits of its index, so that the maximum (fast, along whole columns) tells who it is;
    a random pattern in these bits lets chance decide ties. That leaves 17 bits and more of a float32's 23.
    """
    width, lists = means.shape
    bits = max(1, (width - 1).bit_length())
    real: Any = np.float32 if bits <= 6 else np.float64
    bare: Any = np.int32 if bits <= 6 else np.int64
    mask = (1 << bits) - 1
    swap = int(rng.integers(mask + 1))
    codes = (np.arange(width, dtype=bare) ^ swap)[:, None]

    score = np.where(seen, means, LOW).astype(real)
    evidence = np.where(seen, counts, 1.0).astype(real)
    reach, each = reach.astype(real), each.astype(real)
    index = np.sqrt(evidence)
    np.divide(reach, index, out=index)
    index += score
    unseen = feasible & ~seen
    if unseen.any():
        index[unseen] = FIRST * (1.0 + rng.random(int(unseen.sum())))
    coded = index.view(bare)
    coded &= ~bare(mask)
    coded |= codes

    flat_index, flat_evidence, flat_score = index.reshape(-1), evidence.reshape(-1), score.reshape(-1)
    lane = np.arange(lists)
    winners = np.empty((slots, lists), np.int64)
    top = np.empty(lists, real)
    for slot in range(slots):
        np.maximum.reduce(index, axis=0, out=top)
        code = top.view(bare) & bare(mask)
        at = np.multiply(code ^ bare(swap), lists, dtype=np.int64)
        at += lane
        winners[slot] = at
        grown = flat_evidence[at]
        grown += each
        flat_evidence[at] = grown
        np.sqrt(grown, out=grown)
        np.divide(reach, grown, out=grown)
        grown += flat_score[at]
        fresh = grown.view(bare)
        fresh &= ~bare(mask)
        fresh |= code
        flat_index[at] = grown
    taken: Ints = np.bincount(winners.reshape(-1), minlength=width * lists).reshape(width, lists)
    return taken
