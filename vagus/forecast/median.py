"""Sliding median (Wolski 1998, "Dynamically Forecasting Network Performance Using the Network Weather Service")."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque

from vagus.errors import ConfigError


class SlidingMedian:
    """Predicts the median of the last `window` values (1 to 10000): spikes pass without a trace."""

    name = "median"

    def __init__(self, window: int = 21) -> None:
        if not (isinstance(window, int) and 1 <= window <= 10_000):
            raise ConfigError(f"window={window} of the sliding median must be a whole number from 1 to 10000")
        self._window = window
        self._values: deque[float] = deque()
        self._sorted: list[float] = []

    def update(self, value: float) -> None:
        """The next value."""
        if len(self._values) == self._window:
            del self._sorted[bisect_left(self._sorted, self._values.popleft())]
        self._values.append(value)
        insort(self._sorted, value)

    def predict(self) -> float:
        """The median; the mean of the middle two for an even number of values; NaN before the first."""
        count = len(self._sorted)
        if not count:
            return math.nan
        middle = self._sorted[count // 2]
        return middle if count % 2 else (self._sorted[count // 2 - 1] / 2 + middle / 2)
