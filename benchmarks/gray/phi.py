"""The phi-accrual failure detector: how surprising is it that no heartbeat has come?

Hayashibara, Défago, Yared, Katayama: The φ Accrual Failure Detector, SRDS 2004, section 4.2: the distances of the
last `window` heartbeats are taken as normally distributed, and φ = -log10(P(the next one comes later than now)).
"""

from __future__ import annotations

import math
from collections import deque

THRESHOLD = 8.0
"""The usual one, of Akka and Cassandra: a mistake in 10^8 heartbeats if they were normally distributed."""
MAX_PHI = 1000.0


class PhiAccrual:
    """One heart, its beats given by `beat`.

    min_std_s: the least standard deviation, without which regular beats would make any lateness infinite (Akka's
    `min-std-deviation`, 100 ms). first_s: the distance expected before two beats are known.
    """

    def __init__(self, *, window: int = 1000, min_std_s: float = 0.1, first_s: float = 1.0) -> None:
        self._distances: deque[float] = deque(maxlen=window)
        self._min_std_s = min_std_s
        self._first_s = first_s
        self._last_s: float | None = None

    def beat(self, now_s: float) -> None:
        """A heartbeat arrived."""
        if self._last_s is not None:
            self._distances.append(now_s - self._last_s)
        self._last_s = now_s

    def phi(self, now_s: float) -> float:
        """The suspicion at `now_s`, 0 before the first beat, at most 1000."""
        if self._last_s is None:
            return 0.0
        known = self._distances or (self._first_s,)
        mean = sum(known) / len(known)
        variance = sum((distance - mean) ** 2 for distance in known) / len(known)
        std = max(math.sqrt(variance), self._min_std_s)
        later = 0.5 * math.erfc((now_s - self._last_s - mean) / std / math.sqrt(2))
        return min(-math.log10(later), MAX_PHI) if later > 0 else MAX_PHI
