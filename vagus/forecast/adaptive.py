"""Mean and median over windows whose length adapts.

The Network Weather Service (Wolski 1998) tries a window one shorter and one longer at each value. Here the window
grows by one at each value, and shrinks by two while the errors of late are on one side, which tells a level that
moved (Trigg 1964, "Monitoring a Forecasting System"): one window is kept instead of three.
"""

from __future__ import annotations

import numpy as np

from vagus.forecast.columns import Array, Mask
from vagus.forecast.window import SortedWindow

SHRINK = 2  # values


class _AdaptiveWindow(SortedWindow):
    """A window of at most `window` values (1 to 1000) that shrinks once `run` errors in a row have the same sign."""

    signs: Array  # how many errors in a row were positive (above 0) or negative (below 0)

    def __init__(self, n: int, window: int = 50, run: int = 4) -> None:
        super().__init__(n, window)
        self.add(signs=0.0)
        self.run = run

    def update(self, values: Array, present: Mask) -> None:
        """The next values."""
        checked = present & (self.length > 0)
        sign = np.sign(values - self.predict(), where=checked, out=np.zeros(self.n))
        np.copyto(self.signs, np.where(sign * self.signs > 0, self.signs + sign, sign), where=checked)
        moved = present & (np.abs(self.signs) >= self.run)
        self.push(values, present)
        for _ in range(1 + SHRINK):  # the value that came made it longer by one
            self.drop(moved & (self.length > 1))

    def predict(self) -> Array:
        raise NotImplementedError


class AdaptiveMean(_AdaptiveWindow):
    """Predicts the mean of an adaptive window."""

    def predict(self) -> Array:
        """The means."""
        return self.mean()


class AdaptiveMedian(_AdaptiveWindow):
    """Predicts the median of an adaptive window."""

    def predict(self) -> Array:
        """The medians."""
        return self.median()
