"""Simple exponential smoothing (Brown 1956): a level that follows the series with a constant gain."""

from __future__ import annotations

import math

from vagus.errors import ConfigError


class ExponentialSmoothing:
    """Predicts the level; each value moves it by `gain` (above 0, at most 1) of the distance."""

    name = "ses"

    def __init__(self, gain: float = 0.3) -> None:
        if not 0.0 < gain <= 1.0:
            raise ConfigError(f"gain={gain} of exponential smoothing must be above 0 and at most 1")
        self._gain = gain
        self._level = math.nan

    def update(self, value: float) -> None:
        """The next value."""
        # A weighted sum, not level + gain * (value - level): it never leaves the range of the values.
        self._level = value if math.isnan(self._level) else (1.0 - self._gain) * self._level + self._gain * value

    def predict(self) -> float:
        """The level; NaN before the first value."""
        return self._level
