"""Exponential smoothing whose gain follows the stochastic gradient of its own error.

The Network Weather Service's stochastic gradient predictor (Wolski 1998), by real-time recursive learning: the
level's derivative by the gain is carried along. Only the sign of the error counts, and the derivative is taken in
units of its own size, so that neither scale nor spikes matter.
"""

from __future__ import annotations

import numpy as np

from vagus.forecast.columns import Array, Columns, Mask

FADE = 0.95  # of the derivative's mean square
LEAST_GAIN, FIRST_GAIN = 0.02, 0.3


class GradientSmoothing(Columns):
    """Predicts the level; `rate` (above 0) is the most that the gain moves at one value, about."""

    level: Array
    gain: Array
    slope: Array  # d level / d gain
    power: Array  # its faded mean square

    def __init__(self, n: int, rate: float = 0.005) -> None:
        super().__init__(n, level=np.nan, gain=FIRST_GAIN, slope=0.0, power=0.0)
        self.rate = rate

    def update(self, values: Array, present: Mask) -> None:
        """The next values."""
        blank = np.isnan(self.level)
        error = np.where(blank, 0.0, values - self.level)
        power = FADE * self.power + (1.0 - FADE) * self.slope * self.slope
        unit = np.divide(self.slope, np.sqrt(power), out=np.zeros(self.n), where=power > 0)
        gain = np.clip(self.gain + self.rate * np.sign(error) * unit, LEAST_GAIN, 1.0)
        np.copyto(self.power, power, where=present)
        np.copyto(self.gain, gain, where=present)
        np.copyto(self.slope, (1.0 - gain) * self.slope + error, where=present)
        np.copyto(self.level, np.where(blank, values, (1.0 - gain) * self.level + gain * values), where=present)

    def predict(self) -> Array:
        """The levels."""
        return self.level
