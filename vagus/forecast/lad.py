"""Autoregression by stochastic gradient on the absolute error.

Least absolute deviation instead of least squares: the sign of the error moves the coefficients (sign-error LMS,
Gersho 1984, "Adaptive filtering with binary reinforcement"; normalised), so that spikes count no more than ordinary
errors do. Values are taken around a running median (sign steps) in units of a running mean deviation, both robust.
It starts as the last value does.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from vagus.errors import ConfigError
from vagus.forecast.columns import Array, Columns, Mask, blocks

MOST_UNITS = 6.0  # a lag counts at most so many deviations
MOST_WEIGHT = 2.0
LEAST_DEVIATION = 1e-150
MEMORY = 0.02  # of the deviation at each value
STEP = 0.1  # of the median at each value, in deviations
SOFT = 0.1  # errors below so many deviations count in proportion, the others by their sign
FLOOR = 1e-3  # of the lags' mean square


class LeastAbsolute(Columns):
    """Predicts from the last `order` values (1 to 100); `rate` (above 0) is how fast the coefficients learn."""

    seen: Array
    median: Array
    deviation: Array
    lags: Array  # float64[order, n], newest first
    weights: Array  # float64[order, n]
    units: Array  # float64[order, n], the lags as the weights see them
    predicted: Array

    def __init__(self, n: int, order: int = 5, rate: float = 0.01) -> None:
        if not (isinstance(order, int) and 1 <= order <= 100):
            raise ConfigError(f"order={order} of the least absolute deviation must be a whole number from 1 to 100")
        first = np.zeros(order)
        first[0] = 1.0
        super().__init__(n, seen=False, median=0.0, deviation=0.0, lags=np.zeros(order), weights=first)
        self.add(units=np.zeros(order), predicted=np.nan)
        self.rate = rate

    def update(self, values: Array, present: Mask) -> None:
        """The next values."""
        first = present & ~self.seen
        if first.any():
            self.seen |= first
            np.copyto(self.median, values, where=first)
            np.copyto(self.lags, values, where=first)
            np.copyto(self.predicted, values, where=first)
        deviation = np.where(self.deviation > LEAST_DEVIATION, self.deviation, 1.0)
        pull = np.clip((values - self.predicted) / (SOFT * deviation), -1.0, 1.0)
        power = np.einsum("pn,pn->n", self.units, self.units) / len(self.units) + FLOOR
        move = np.where(present & (self.deviation > LEAST_DEVIATION), self.rate * pull / np.sqrt(power), 0.0)
        for at in blocks(self.n, len(self.weights)):
            weights = self.weights[:, at]
            weights += move[at] * self.units[:, at]
            np.clip(weights, -MOST_WEIGHT, MOST_WEIGHT, out=weights)

        away = values - self.median
        size = np.abs(away)
        grown = (1.0 - MEMORY) * self.deviation + MEMORY * np.minimum(size, 8.0 * self.deviation)
        # A deviation that faded to next to nothing is none: quotients stay finite.
        np.copyto(self.deviation, np.where(self.deviation > LEAST_DEVIATION, grown, size), where=present)
        self.median += np.where(present, np.clip(away, -STEP * self.deviation, STEP * self.deviation), 0.0)
        for at in blocks(self.n, len(self.lags)):
            np.copyto(self.lags[1:, at], self.lags[:-1, at], where=present[at])  # numpy minds the overlap
        np.copyto(self.lags[0], values, where=present)
        self._look()

    def _look(self) -> None:
        deviation = np.where(self.deviation > LEAST_DEVIATION, self.deviation, 1.0)
        np.subtract(self.lags, self.median, out=self.units)
        self.units /= deviation
        np.clip(self.units, -MOST_UNITS, MOST_UNITS, out=self.units)
        ahead = self.median + self.deviation * np.einsum("pn,pn->n", self.weights, self.units)
        np.copyto(self.predicted, ahead, where=self.seen)

    def predict(self) -> Array:
        """The predictions."""
        return self.predicted


long = partial(LeastAbsolute, order=12, rate=0.005)
