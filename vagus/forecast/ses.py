"""Simple exponential smoothing (Brown 1956): a level that follows the series with a constant gain."""

from __future__ import annotations

from functools import partial

import numpy as np

from vagus.errors import ConfigError
from vagus.forecast.columns import Array, Columns, Mask


class ExponentialSmoothing(Columns):
    """Predicts the level; each value moves it by `gain` (above 0, at most 1) of the distance."""

    level: Array

    def __init__(self, n: int, gain: float = 0.2) -> None:
        if not 0.0 < gain <= 1.0:
            raise ConfigError(f"gain={gain} of exponential smoothing must be above 0 and at most 1")
        super().__init__(n, level=np.nan)
        self.gain = gain

    def update(self, values: Array, present: Mask) -> None:
        """The next values."""
        # A weighted sum, not level + gain * (value - level): it never leaves the range of the values.
        level = (1.0 - self.gain) * self.level + self.gain * values
        np.copyto(self.level, np.where(np.isnan(self.level), values, level), where=present)

    def predict(self) -> Array:
        """The levels."""
        return self.level


slow = partial(ExponentialSmoothing, gain=0.05)
fast = partial(ExponentialSmoothing, gain=0.5)
faster = partial(ExponentialSmoothing, gain=0.8)
