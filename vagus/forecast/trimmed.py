"""Trimmed mean (Wolski 1998, "Dynamically Forecasting Network Performance Using the Network Weather Service")."""

from __future__ import annotations

from vagus.errors import ConfigError
from vagus.forecast.columns import Array, Mask
from vagus.forecast.window import SortedWindow


class TrimmedMean(SortedWindow):
    """Predicts the mean of the last `window` values (1 to 1000) without the share `trim` at either end."""

    def __init__(self, n: int, window: int = 31, trim: float = 0.3) -> None:
        if not 0.0 <= trim < 0.5:
            raise ConfigError(f"trim={trim} of the trimmed mean must be from 0 up to, but not, 0.5")
        super().__init__(n, window)
        self.trim = trim

    def update(self, values: Array, present: Mask) -> None:
        """The next values."""
        self.push(values, present)

    def predict(self) -> Array:
        """The trimmed means."""
        return self.mean(self.trim)
