"""The default: arms are tried again as their worth drifts, as often as it pays; drift and noise are learned.

What is known of arms are drifting levels (levels.py). The arm with the best mean is played. Any other is worth a try
when what may be gained (the knowledge gradient of Frazier, Powell and Dayanik 2008, here of learning its worth
exactly) by the sessions that would profit is more than the try costs, its distance from the best. Who profits: as many
sessions as made the arm as uncertain as it is, for about as long will the answer hold, and at most as many as there
ever were. Without drift that is the logarithmic exploration of Lai and Robbins (1985); with drift, an arm is tried the
less often the further it is behind. Nothing is sampled: the same evidence gives the same weights.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from vagus.policies.bank import Bools, Floats, Ints, even
from vagus.policies.levels import LEAST, NEVER, Levels
from vagus.policies.options import number

HORIZON = 0.2  # of the sessions since an arm was well known, those that profit from a try
LAG = 10.0  # ticks: a try is shared by the sessions until its outcome is known
MOST = 0.5  # of all sessions try other arms than the best; more only while many arms are new
FAR = 60.0  # deviations behind the best, at which all chance is 0
CELLS = 1 << 14  # worked on at once: what fits a core's cache


class Auto(Levels):
    """One configuration for stationary and drifting arms, any scale of rewards, any traffic.

    floor: share of decisions spread evenly, so that each of n arms keeps a probability of at least floor / n. Costs: a
    tick about 0.5 µs for each reward since the last; weights about 0.1 µs a place, in closed form.
    """

    name: ClassVar[str] = "auto"

    def __init__(self, rng: np.random.Generator, *, floor: float = 0.005) -> None:
        super().__init__(rng)
        self.floor = number(self.name, "floor", floor, 0.0, 1.0)

    def weights(self, rows: Ints, feasible: Bools) -> Floats:
        """Shares of tries, the rest for the best, the floor mixed in. Groups of which nothing is known: evenly."""
        self.fold()
        found = np.empty(feasible.shape)
        size = max(16, CELLS // max(1, self.width))
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            straight = bool((part[1:] - part[:-1] == 1).all())  # neighbours are read in place
            at: Any = slice(int(part[0]), int(part[-1]) + 1) if straight else part
            found[start : start + size] = self._shares(at, feasible[start : start + size])
        return found

    def _shares(self, at: Any, feasible: Bools) -> Floats:
        mean, variance, drift = self.beliefs(at)
        seen = self.seen[at] > NEVER / 2
        seen &= feasible
        lines = np.arange(len(mean))
        mean[~seen] = -np.inf
        best = mean.argmax(axis=1)
        gap = mean[lines, best][:, np.newaxis] - np.where(seen, mean, 0.0)
        rate = self.rate(at)
        shares = self._worth_trying(gap, variance, drift, rate, at)
        shares *= shares
        share = 1.0 / np.maximum(rate * LAG, 1.0)
        shares *= share[:, np.newaxis]
        shares[~seen] = 0.0
        shares[lines, best] = 0.0
        most = np.full(len(shares), MOST)
        sets = feasible.sum(axis=1)
        if not np.array_equal(seen, feasible):
            new = feasible & ~seen
            shares += new * np.maximum(share, 1.0 / sets)[:, np.newaxis]
            np.maximum(most, new.sum(axis=1) / sets, out=most)
        tried = shares.sum(axis=1)
        shares *= ((1.0 - self.floor) * np.minimum(1.0, most / np.maximum(tried, LEAST)))[:, np.newaxis]
        tried = shares.sum(axis=1)
        known = seen.any(axis=1)
        shares[lines, best] = 1.0 - self.floor - tried
        if not known.all():
            shares[~known] = (1.0 - self.floor) * even(feasible[~known])
        shares += feasible * (self.floor / sets)[:, np.newaxis]
        return shares

    def _worth_trying(self, gap: Floats, variance: Floats, drift: Floats, rate: Floats, at: Any) -> Floats:
        """What may be gained by tries, in what they cost: 0 to 1, (m, width)."""
        np.maximum(variance, LEAST, out=variance)
        np.maximum(gap, LEAST, out=gap)
        gained = variance * (HORIZON * rate / np.maximum(drift, LEAST))[:, np.newaxis]
        np.minimum(gained, np.maximum(self.rewards[at], 1.0)[:, np.newaxis], out=gained)
        np.sqrt(variance, out=variance)
        gained *= variance
        behind = gap / variance
        np.minimum(behind, FAR, out=behind)
        # The expected gain φ(z) - z Φ(-z), in deviations, within 10 %.
        rest = behind * 0.7
        rest += 1.2533
        rest *= behind
        rest += 1.0
        gained /= rest
        behind *= behind
        behind *= -0.5
        np.exp(behind, out=behind)
        behind *= 0.398942
        gained *= behind
        np.minimum(gained, gap, out=gained)
        gained /= gap
        return gained

    def explain(self, row: int, places: int) -> list[dict[str, float]]:
        """Means, evidence as the rewards that would tell as much, `deviation` now, and the row's `drift` in a tick."""
        self.fold()
        at = slice(row, row + 1)
        mean, variance, drift = self.beliefs(at)
        noise = max(float(self.inner(at)[0]), LEAST)
        return [
            {
                "mean": float(mean[0, place]),
                "evidence": float(noise / max(variance[0, place], noise * 1e-9)),
                "deviation": float(np.sqrt(max(variance[0, place], 0.0))),
                "drift": float(np.sqrt(max(drift[0], 0.0))),
            }
            if self.seen[row, place] > NEVER / 2
            else {"mean": 0.0, "evidence": 0.0, "deviation": 0.0, "drift": 0.0}
            for place in range(places)
        ]
