"""Sliding median (Wolski 1998, "Dynamically Forecasting Network Performance Using the Network Weather Service")."""

from __future__ import annotations

from functools import partial

from vagus.forecast.columns import Array, Mask
from vagus.forecast.window import SortedWindow


class SlidingMedian(SortedWindow):
    """Predicts the median of the last `window` values (1 to 1000): spikes pass without a trace."""

    def __init__(self, n: int, window: int = 21) -> None:
        super().__init__(n, window)

    def update(self, values: Array, present: Mask) -> None:
        """The next values."""
        self.push(values, present)

    def predict(self) -> Array:
        """The medians; the mean of the middle two for an even number of values."""
        return self.median()


short = partial(SlidingMedian, window=5)
