"""The Network Weather Service's forecaster bank, for many series at once: each forecaster predicts the next values.

To add one: a file with a class like `Forecaster` (most build on `columns.Columns`), and a line in `FORECASTERS`; the
contract test then runs over it. `trend` names what a series does, `timeouts` sets time-outs from forecasts, `rates`
turns counters into series that can be forecast, `foretell` runs a bank over stored rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from vagus.registry import Registry

if TYPE_CHECKING:
    from vagus.forecast.columns import Array, Indices, Mask


class Forecaster(Protocol):
    """Predicts each of n series one step ahead; made with n. The series are independent of each other.

    Memory per series is bounded. Predictions must scale and shift with the values, as far as arithmetic allows.
    """

    def update(self, values: Array, present: Mask) -> None:
        """The next values, float64[n], finite and within ±1e100; those that are not present are 0 and change nothing."""

    def predict(self) -> Array:
        """The next values as float64[n], NaN before a series' first. The caller does not write into it."""

    def resize(self, n: int) -> None:
        """The first n series stay as they are; further ones start blank."""

    def reset(self, indices: Indices) -> None:
        """These series start anew."""

    def arrays(self) -> Mapping[str, Array]:
        """All state, for saving: arrays whose last axis is the series. `restore` takes the same."""

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """What `arrays` returned, of as many series. Raises ConfigError when they do not fit."""


FORECASTERS: Registry[Forecaster] = Registry(
    "vagus.forecasters",
    {
        "last": "vagus.forecast.last:Last",
        "mean": "vagus.forecast.mean:RunningMean",
        "mean_10": "vagus.forecast.sliding_mean:SlidingMean",
        "mean_adaptive": "vagus.forecast.adaptive:AdaptiveMean",
        "median_5": "vagus.forecast.median:short",
        "median_21": "vagus.forecast.median:SlidingMedian",
        "median_adaptive": "vagus.forecast.adaptive:AdaptiveMedian",
        "trimmed_mean": "vagus.forecast.trimmed:TrimmedMean",
        "ses_05": "vagus.forecast.ses:slow",
        "ses_20": "vagus.forecast.ses:ExponentialSmoothing",
        "ses_50": "vagus.forecast.ses:fast",
        "ses_80": "vagus.forecast.ses:faster",
        "ses_gradient": "vagus.forecast.gradient:GradientSmoothing",
        "ar_5": "vagus.forecast.ar:Autoregressive",
        "ar_16": "vagus.forecast.ar:long",
        "lad_5": "vagus.forecast.lad:LeastAbsolute",
        "lad_12": "vagus.forecast.lad:long",
        "season": "vagus.forecast.season:Season",
        "season_median": "vagus.forecast.season:median",
    },
)

from vagus.forecast.bank import Bank  # noqa: E402  it needs the registry above

__all__ = ["FORECASTERS", "Bank", "Forecaster"]
