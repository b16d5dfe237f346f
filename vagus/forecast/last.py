"""Last value: nothing beats it on a random walk."""

from __future__ import annotations

import math


class Last:
    """Predicts the value seen last."""

    name = "last"

    def __init__(self) -> None:
        self._value = math.nan

    def update(self, value: float) -> None:
        """The next value."""
        self._value = value

    def predict(self) -> float:
        """The value seen last; NaN before the first."""
        return self._value
