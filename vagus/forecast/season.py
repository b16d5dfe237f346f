"""What was a period ago: jobs that come every minute, flushes every fifth sample.

The seasonal naive forecast (Hyndman and Athanasopoulos, "Forecasting: Principles and Practice", 5.2), with the period
found on the way: the lag whose own forecast has the least faded absolute error.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from vagus.errors import ConfigError
from vagus.forecast.columns import Array, Columns, Mask, Ring, blocks


class Season(Columns):
    """Predicts the median of what was 1 to `cycles` (1 to 9) periods ago; periods are 1 to `longest` (to 500) values."""

    errors: Array  # float64[longest, n], faded sums
    lags: Array  # float64[longest, n], newest first
    seen: Array
    recent: Ring

    def __init__(self, n: int, longest: int = 24, cycles: int = 1, decay: float = 0.97) -> None:
        if not (isinstance(longest, int) and 1 <= longest <= 500 and isinstance(cycles, int) and 1 <= cycles <= 9):
            raise ConfigError(f"longest={longest}, cycles={cycles} of a season must be from 1 to 500 and from 1 to 9")
        blank = np.zeros(longest)
        super().__init__(n, errors=blank, lags=blank, seen=False, recent=Ring(n, longest * cycles))
        self.cycles = cycles
        self.decay = decay

    def update(self, values: Array, present: Mask) -> None:
        """The next values."""
        first = present & ~self.seen
        if first.any():
            self.seen |= first
            np.copyto(self.lags, values, where=first)
        self.errors *= np.where(present, self.decay, 1.0)
        still = np.logical_and.reduce(self.lags == values)  # neither errors nor lags are other than before
        moving = np.flatnonzero(present & ~still)
        for part in blocks(len(moving), len(self.lags)):
            at = moving[part]
            lags = self.lags[:, at]
            self.errors[:, at] += np.abs(lags - values[at])
            self.lags[1:, at] = lags[:-1]
            self.lags[0, at] = values[at]
        self.recent.push(values, present)

    def predict(self) -> Array:
        """The predictions; where so many periods did not pass yet, the median of those that did."""
        period = self.errors.argmin(axis=0) + 1
        past = np.stack([self.recent.ago(period * cycle - 1) for cycle in range(1, self.cycles + 1)])
        if self.cycles > 1:
            past.sort(axis=0)  # NaN last
            known = np.maximum((~np.isnan(past)).sum(axis=0), 1)
            at = np.arange(self.n)
            middle: Array = past[(known - 1) // 2, at] * 0.5 + past[known // 2, at] * 0.5
            return middle
        return np.where(np.isnan(past[0]), np.where(self.seen, self.lags[0], np.nan), past[0])


median = partial(Season, cycles=5)
