"""Last value: nothing beats it on a random walk."""

from __future__ import annotations

import numpy as np

from vagus.forecast.columns import Array, Columns, Mask


class Last(Columns):
    """Predicts the value seen last."""

    value: Array

    def __init__(self, n: int) -> None:
        super().__init__(n, value=np.nan)

    def update(self, values: Array, present: Mask) -> None:
        """The next values."""
        np.copyto(self.value, values, where=present)

    def predict(self) -> Array:
        """The values seen last."""
        return self.value
