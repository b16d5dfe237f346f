"""Running mean: the best there is for noise around a level that never moves."""

from __future__ import annotations

import numpy as np

from vagus.forecast.columns import Array, Columns, Mask


class RunningMean(Columns):
    """Predicts the mean of all values so far (Welford 1962: a running sum would lose what large values hide)."""

    count: Array
    level: Array

    def __init__(self, n: int) -> None:
        super().__init__(n, count=0.0, level=0.0)

    def update(self, values: Array, present: Mask) -> None:
        """The next values."""
        self.count += present
        step = (values - self.level) / np.maximum(self.count, 1.0)
        self.level += np.where(present, step, 0.0)

    def predict(self) -> Array:
        """The means."""
        return np.where(self.count > 0, self.level, np.nan)
