"""The client's objective and its verdict: learned from the quiet seconds, slow to change its mind."""

from __future__ import annotations

from collections.abc import Sequence

FACTOR = 2.0
QUANTILE = 0.9
IN_A_ROW = 2


def learn(p95s_ms: Sequence[float], floor_ms: float, warm_up: int = 0) -> float:
    """The limit for p95 in ms: twice the 90th percentile of the quiet seconds' own p95, and at least the floor.

    NaN (nothing measured) does not count; the first `warm_up` seconds do not where at least as many others remain.
    """
    known = [p95 for p95 in p95s_ms if p95 == p95]
    if len(known) >= 2 * warm_up:
        known = known[warm_up:]
    return max(floor_ms, FACTOR * quantile(sorted(known), QUANTILE)) if known else floor_ms


def quantile(ordered: Sequence[float], q: float) -> float:
    """The value at rank `q` of the ordered ones, NaN without any."""
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else float("nan")


class Judge:
    """Says UNHEALTHY after two bad seconds in a row and HEALTHY after two good ones: one alone is the machine's noise.

    A second is bad when p95 exceeds `slo_ms`, or when nothing was answered. While `slo_ms` is NaN none is.
    """

    def __init__(self) -> None:
        self.slo_ms = float("nan")
        self.healthy = True
        self._against = 0

    def verdict(self, p95_ms: float) -> str:
        """The verdict after one more second, whose p95 is NaN when nothing was answered."""
        good = self.slo_ms != self.slo_ms or p95_ms <= self.slo_ms
        self._against = 0 if good == self.healthy else self._against + 1
        if self._against >= IN_A_ROW:
            self.healthy, self._against = good, 0
        return "HEALTHY" if self.healthy else "UNHEALTHY"
