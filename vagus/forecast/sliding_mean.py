"""Sliding mean (Wolski 1998, "Dynamically Forecasting Network Performance Using the Network Weather Service")."""

from __future__ import annotations

from vagus.forecast.columns import Array, Mask
from vagus.forecast.window import SortedWindow


class SlidingMean(SortedWindow):
    """Predicts the mean of the last `window` values (1 to 1000); summed anew each time, so that nothing drifts."""

    def __init__(self, n: int, window: int = 10) -> None:
        super().__init__(n, window)

    def update(self, values: Array, present: Mask) -> None:
        """The next values."""
        self.push(values, present)

    def predict(self) -> Array:
        """The means."""
        return self.mean()
