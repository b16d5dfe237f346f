"""How long a member stays suspected: long while one accuses it, shorter with every independent accuser."""

from __future__ import annotations

import math
from collections.abc import Iterable

LEAST_PERIODS = 3.0
"""Lifeguard's alpha: protocol periods, times the logarithm of the members, that everyone has at least to refute."""
MOST_RATIO = 6.0
"""Lifeguard's beta: so many times as long while there is a single accuser."""
CONFIRMATIONS = 3
"""Lifeguard's K: further accusers until the least time is reached."""


def timeout_s(least_s: float, most_s: float, confirmations: int, wanted: int) -> float:
    """max(least, most - (most - least) log(C + 1) / log(K + 1)); least when nobody could confirm.

    Source: Dadgar, Phillips, Currey, Lifeguard (2017), section 3.2.
    """
    if wanted < 1:
        return least_s
    return max(least_s, most_s - (most_s - least_s) * math.log(confirmations + 1) / math.log(wanted + 1))


class Suspicion:
    """Who accuses a member, since when, and when it will count as dead.

    members: how many are alive or suspected, the accusers and the accused included; times are own time, in seconds.
    """

    def __init__(self, now_s: float, period_s: float, members: int, by: Iterable[str]) -> None:
        self.since_s = now_s
        self.least_s = LEAST_PERIODS * max(1.0, math.log10(max(1, members))) * period_s
        self.wanted = min(CONFIRMATIONS, members - 2)
        self.accusers: list[str] = []
        for name in by:
            self.add(name)

    def add(self, name: str) -> bool:
        """Another accuser; False when it is known, or one more than counts."""
        if name in self.accusers or len(self.accusers) > max(0, self.wanted):
            return False
        self.accusers.append(name)
        return True

    @property
    def due_s(self) -> float:
        """When it counts as dead unless it refutes."""
        most_s = MOST_RATIO * self.least_s
        return self.since_s + timeout_s(self.least_s, most_s, max(0, len(self.accusers) - 1), self.wanted)
