"""The default: arms are tried again as their worth drifts or jumps, as often as it pays; all else is learned.

What is known of arms are levels that drift (levels.py) and jump (jumps.py). The arm with the best mean is played. Any other is worth a try
when what may be gained (the knowledge gradient of Frazier, Powell and Dayanik 2008, here of learning its worth
exactly) by the sessions that would profit is more than the try costs, its distance from the best. Who profits: as many
sessions as made the arm as uncertain as it is, for about as long will the answer hold, and at most as many as there
ever were. What pays is tried the faster the more a session may gain by it: waiting costs what could be gained,
haste the tries made while no outcome is known, and their sum is least at √(gain / cost / sessions until then). Without
drift that is the logarithmic exploration of Lai and Robbins (1985); with drift, an arm is tried the
less often the further it is behind. Nothing is sampled: the same evidence gives the same weights.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from vagus.policies.bank import Bools, Floats, Ints, even
from vagus.policies.levels import Levels
from vagus.policies.options import number
from vagus.policies.rates import LEAST, NEVER

HORIZON = 0.2  # of the sessions since an arm was well known, those that profit from a try
LAG = 7.0  # ticks until a try's outcome is known
MOST = 0.3  # of all sessions try other arms than the best; more only while many arms are new
FAR = 60.0  # deviations behind the best, at which all chance is 0
PEAK = 0.398942  # of the normal density
LONG = 1e105  # times a variance is finite
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
        share = 1.0 / np.maximum(rate * LAG, 1.0)
        shares = self._worth_trying(gap, variance, drift, rate, at)
        shares *= np.sqrt(share)[:, np.newaxis]
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
        """The square of what may be gained by tries in what they cost, times the root of a session's part of it, with
        each at most 1, (m, width).
        """
        np.maximum(variance, LEAST, out=variance)
        np.maximum(gap, LEAST, out=gap)
        most = np.maximum(self.rewards[at], 1.0)[:, np.newaxis]
        # If it jumped: by a normal jump of the row's size, at some time since it was last seen.
        jumps = self.expected(at)
        leap = self.size(at)[:, np.newaxis] + variance
        np.sqrt(leap, out=leap)
        gains = _gain(gap, leap)
        gains *= jumps
        gained = np.minimum(jumps, 1.0)
        gained *= (HORIZON * rate / self.hazard(at))[:, np.newaxis]
        np.minimum(gained, most, out=gained)
        jumps += 1.0
        gains /= jumps
        gained *= gains
        # If it drifted.
        held = variance * np.minimum(HORIZON * rate / np.maximum(drift, LEAST), LONG)[:, np.newaxis]
        np.minimum(held, most, out=held)
        np.sqrt(variance, out=variance)
        gain = _gain(gap, variance)
        gains += gain
        gain *= held
        gained += gain
        for found in (gained, gains):
            np.minimum(found, gap, out=found)
            found /= gap
        np.sqrt(gains, out=gains)
        gained *= gained
        gained *= gains
        return gained

    def explain(self, row: int, places: int) -> list[dict[str, float]]:
        """Means, evidence as the rewards that would tell as much, `deviation` now; the row's `drift` and jumps
        (`hazard`) in a tick.
        """
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
                "hazard": float(self.hazard(at)[0]),
            }
            if self.seen[row, place] > NEVER / 2
            else {"mean": 0.0, "evidence": 0.0, "deviation": 0.0, "drift": 0.0, "hazard": 0.0}
            for place in range(places)
        ]


def _gain(gap: Floats, deviation: Floats) -> Floats:
    """What a level may exceed another by, that is `gap` above its mean: σ (φ(z) - z Φ(-z)), within 10 %."""
    behind: Floats = gap / deviation
    np.minimum(behind, FAR, out=behind)
    rest = behind * 0.7
    rest += 1.2533
    rest *= behind
    rest += 1.0
    behind *= behind
    behind *= -0.5
    np.exp(behind, out=behind)
    behind *= PEAK
    behind *= deviation
    behind /= rest
    return behind
