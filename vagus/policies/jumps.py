"""That an arm's worth may jump: how often is learned from the jumps seen, and whether the arms of a row jump together.

Each level jumps with a small chance in a tick (change points: Adams and MacKay 2007, "Bayesian Online Changepoint
Detection"; here with two cases at each reward, jumped since the last one or not, instead of all run lengths). The
chance is not known: with an exponential belief in it, a level has jumped after a ticks with probability x / (1 + x),
x = chance times a. Where an arm is seen to jump, the row's others are doubted by as much as that was right before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from vagus.policies.bank import Floats, Ints
from vagus.policies.rates import LEAST, NEVER, Rates

HAZARD, HEARD = 0.002, 250.0  # jumps of an arm in a tick, as long as nothing is known; worth so many ticks of evidence
ALIKE, ASKED = 0.5, 2.0  # share of jumps that other arms share, likewise; worth so many jumps
MEMORY = 0.998  # of jumps, at each tick with rewards
WIDE = 0.999  # of the widest spread, likewise
WATCHED = 3.0  # ticks: when an arm not seen for longer jumped, nobody knows
SEEN = 0.1  # probability of a jump from which others are doubted
MOST_DOUBT = 3.0


class Jumps(Rates):
    """Columns: per cell the tick last seen, and jumps of others since; per row jumps and in how many ticks of arms,
    of others' jumps how many were asked about and were shared, and the widest variance of rewards.
    """

    cells: ClassVar[Mapping[str, float]] = {"seen": NEVER, "doubt": 0.0}
    whole: ClassVar[Mapping[str, float]] = {
        **Rates.whole,
        "jumps": 0.0,
        "exposed": 0.0,
        "agreed": 0.0,
        "asked": 0.0,
        "wide": 0.0,
    }
    counts: ClassVar[frozenset[str]] = Rates.counts | {"doubt", "jumps", "exposed", "agreed", "asked", "wide"}
    seen: Floats
    doubt: Floats
    jumps: Floats
    exposed: Floats
    agreed: Floats
    asked: Floats
    wide: Floats

    def hazard(self, at: Any) -> Floats:
        """Jumps of an arm in a tick, (m,)."""
        found: Floats = (self.jumps[at] + HAZARD * HEARD) / (self.exposed[at] + HEARD)
        return found

    def alike(self, at: Any) -> Floats:
        """Share of an arm's jumps that another arm shares, (m,)."""
        found: Floats = (self.agreed[at] + ALIKE * ASKED) / (self.asked[at] + ASKED)
        return found

    def size(self, at: Any) -> Floats:
        """Variance of a jump, (m,): the widest that rewards were spread; later most come from one arm."""
        found: Floats = self.wide[at] + LEAST
        return found

    def expected(self, at: Any) -> Floats:
        """Jumps since cells were last seen, (m, width); of cells never seen they mean nothing."""
        found: Floats = self.now - self.seen[at]
        found *= self.hazard(at)[:, np.newaxis]
        found += self.doubt[at] * self.alike(at)[:, np.newaxis]
        return found

    def chances(self, at: Ints, cells: Ints, sizes: Ints, gaps: Floats) -> tuple[Floats, Floats]:
        """Probability that each of the flat `cells` jumped in `gaps` ticks, and how much of it is for others' jumps.

        The first `sizes` cells are of the first of the rows `at`, and so on.
        """
        shared = self.doubt.reshape(-1)[cells] * np.repeat(self.alike(at), sizes)
        both = gaps * np.repeat(self.hazard(at), sizes) + shared
        return both / (1.0 + both), shared / (both + LEAST)

    def widen(self, at: Ints, spread: Floats) -> None:
        """Takes the variance of rewards of the rows `at`."""
        self.wide[at] = np.maximum(self.wide[at] * WIDE, spread)

    def witness(self, at: Ints, heads: Ints, cells: Ints, gaps: Floats, jumped: Floats, shared: Floats) -> None:
        """Learns with which probability cells jumped since they were last seen; those of row i begin at `heads[i]`."""
        doubts = self.doubt.reshape(-1)
        agreed = jumped * shared
        for column, news in (
            ("jumps", jumped - agreed),
            ("exposed", gaps),
            ("agreed", agreed),
            ("asked", doubts[cells]),
        ):
            total = getattr(self, column)
            total[at] = total[at] * MEMORY + np.add.reduceat(news, heads)
        doubts[cells] = 0.0
        shock = np.maximum.reduceat(jumped * (gaps <= WATCHED), heads)
        hit = shock > SEEN
        if hit.any():
            rows = at[hit]
            doubted = np.minimum(self.doubt[rows] + shock[hit, np.newaxis], MOST_DOUBT)
            self.doubt[rows] = np.where(self.seen[rows] > NEVER / 2, doubted, 0.0)

    def absorb_jumps(self, row: int, theirs: Jumps, share: float) -> None:
        """Adds a share of row 0 of another. To be called while `seen` is that of before."""
        ours = self.seen[row, : theirs.width] > NEVER / 2
        doubt = self.doubt[row, : theirs.width]
        new = ~ours & (theirs.seen[0] > NEVER / 2)
        doubt[:] = np.where(new, theirs.doubt[0], doubt)
        for name in ("jumps", "exposed", "agreed", "asked"):
            getattr(self, name)[row] += share * getattr(theirs, name)[0]
        self.wide[row] = max(self.wide[row], theirs.wide[0])
