"""How fast the world changes, measured: the discount whose means foretell the next rewards best.

Garivier and Moulines (2011) set gamma = 1 - sqrt(changes / ticks) / 4 from a number of changes that nobody knows.
Here several discounts are followed side by side on a few hundred groups, as forecasters are (prequentially: each
reward is foretold before it is learned, Dawid 1984), and the longest memory whose fading error is near the smallest is
used for all.
"""

from __future__ import annotations

import numpy as np

from vagus.policies.bank import Bools, Floats, Ints

GAMMAS = (0.93, 0.96, 0.98, 0.99, 0.995)  # a shorter memory foretells rough ground, but explores too much on it
FIRST = 0.98  # until there is evidence
WATCHED = 256  # groups at most: those that came first
CELLS = 4096  # of them and their arms
MIN_HEARD = 5.0  # rewards of a group before its errors count
MAX_BATCH = 2048  # rewards of one call that are looked at
MEMORY = 0.998  # of errors, per tick
PRIOR = 30.0  # rewards heard before another discount is used
AS_GOOD = 1.02  # as the least error: then a longer memory is better, since with it less needs to be explored


class Discount:
    """Follows `GAMMAS` on the first groups. Cost: bounded, whatever the number of groups and rewards."""

    def __init__(self) -> None:
        self.gammas = np.array(GAMMAS)
        self.errors: Floats = np.zeros(len(GAMMAS))
        self.rows = self.width = 0
        self._count = np.zeros((len(GAMMAS), 0, 0))
        self._mean = np.zeros((len(GAMMAS), 0, 0))
        self._wrong = np.zeros(0)  # by row: squared errors, and of how many rewards
        self._heard = np.zeros(0)
        self._used = GAMMAS.index(FIRST)

    @property
    def gamma(self) -> float:
        """The best so far."""
        return GAMMAS[self._used]

    def resize(self, rows: int, width: int) -> None:
        """At least so many rows and places; what is there stays."""
        rows = min(rows, WATCHED, max(1, CELLS // max(1, width)))
        kept = min(rows, self.rows)
        for name in ("_count", "_mean"):
            grown = np.zeros((len(GAMMAS), rows, width))
            grown[:, :kept, : self.width] = getattr(self, name)[:, :kept]
            setattr(self, name, grown)
        for name in ("_wrong", "_heard"):
            setattr(self, name, np.append(getattr(self, name)[:kept], np.zeros(rows - kept)))
        self.rows, self.width = rows, width

    def learn(self, rows: Ints, places: Ints, rewards: Floats) -> None:
        """Foretells each reward of a watched group by each discount, then learns them."""
        watched = np.flatnonzero(rows < self.rows)[:MAX_BATCH]
        if not len(watched):
            return
        at = rows[watched] * self.width + places[watched]
        found = rewards[watched]
        count, mean = (column.reshape(len(GAMMAS), -1) for column in (self._count, self._mean))
        fresh = at[count[-1, at] == 0.0]
        if len(fresh):
            mean[:, fresh] = found[count[-1, at] == 0.0]
        before = mean[:, at]
        off = found - before
        self._compare(rows[watched], off, count[-1, at] >= 1.0)
        count += np.bincount(at, minlength=count.shape[1])
        for which in range(len(GAMMAS)):
            step = np.bincount(at, off[which], count.shape[1])
            mean[which, at] = before[which] + step[at] / count[which, at]

    def _compare(self, rows: Ints, off: Floats, old: Bools) -> None:
        """Squared errors, in units of what the row's were before this call: groups of any scale are heard alike."""
        rows, wrong = rows[old], off[:, old] ** 2
        usual = np.divide(self._wrong, self._heard, out=np.zeros(self.rows), where=self._heard >= MIN_HEARD)[rows]
        scaled = usual > 0.0
        self.errors += (wrong[:, scaled] / usual[scaled]).sum(axis=1)
        np.add.at(self._wrong, rows, wrong.mean(axis=0))
        np.add.at(self._heard, rows, 1.0)

    def tick(self) -> None:
        """All fade; then the longest memory that foretells about as well as the best is used."""
        self._count *= self.gammas[:, None, None]
        self.errors *= MEMORY
        self._wrong *= MEMORY
        self._heard *= MEMORY
        if self.errors.min() > PRIOR:
            self._used = int(np.flatnonzero(self.errors <= self.errors.min() * AS_GOOD)[-1])

    def clear(self, row: int) -> None:
        """Forgets a row."""
        if row < self.rows:
            self._count[:, row] = self._mean[:, row] = 0.0
            self._wrong[row] = self._heard[row] = 0.0
