"""The Network Weather Service's forecaster bank: each forecaster predicts the next value from those so far.

To add one: a file with a class like `Forecaster`, and a line in `FORECASTERS`.
"""

from __future__ import annotations

from typing import Protocol

from vagus.registry import Registry


class Forecaster(Protocol):
    """Predicts one step ahead. `predict` is NaN before the first `update`; both take constant time."""

    name: str

    def update(self, value: float) -> None: ...

    def predict(self) -> float: ...


FORECASTERS: Registry[Forecaster] = Registry(
    "vagus.forecasters",
    {
        "last": "vagus.forecast.last:Last",
        "ses": "vagus.forecast.ses:ExponentialSmoothing",
        "median": "vagus.forecast.median:SlidingMedian",
    },
)
