"""The bank: all forecasters run side by side, and those with the least error of late speak loudest.

After the Network Weather Service (Wolski, Spring and Hayes 1999), which takes the one with the least error so far; a
softmax over errors that fade did better (systems/ngi-nws.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from vagus.errors import ConfigError
from vagus.forecast import FORECASTERS

MAX_VALUE = 1e150  # squares stay finite


class Forecast(msgspec.Struct, frozen=True, array_like=True):
    """What the bank says after a value: that value, a prediction of the next, and the mean squared error of late.

    mse: of the bank's own predictions, faded; NaN until a prediction could be checked. errors: the same for each
    forecaster; weights: their say in the prediction (sum 1).
    """

    value: float
    prediction: float
    mse: float
    errors: dict[str, float] = {}
    weights: dict[str, float] = {}


class Bank:
    """Forecasters by name (empty: all registered), combined by softmax over their faded squared errors.

    decay: weight of an error after one more value, from 0 up to but not 1; sharpness: a forecaster whose error is k
    times the least one's has e^(-sharpness (k-1)) of its say.
    """

    def __init__(self, names: Sequence[str] = (), *, decay: float = 0.99, sharpness: float = 10.0) -> None:
        if not 0.0 <= decay < 1.0:
            raise ConfigError(f"decay={decay} of a forecaster bank must be from 0 up to, but not, 1")
        if not 0.0 < sharpness < math.inf:
            raise ConfigError(f"sharpness={sharpness} of a forecaster bank must be a finite number above 0")
        self._bank = {name: FORECASTERS.make(name) for name in (names or FORECASTERS)}
        self._decay = decay
        self._sharpness = sharpness
        self._errors = dict.fromkeys(self._bank, 0.0)  # faded sums of squared errors
        self._error = 0.0
        self._count = 0.0  # faded number of errors
        self._forecast = Forecast(math.nan, math.nan, math.nan)

    @property
    def forecast(self) -> Forecast:
        """What the last `update` returned; all NaN before the first."""
        return self._forecast

    def update(self, value: float) -> Forecast:
        """The next value of the series. One that is not finite, or beyond ±1e150, is missing and changes nothing."""
        if not abs(value) <= MAX_VALUE:
            return self._forecast
        if not math.isnan(self._forecast.prediction):
            self._count = self._count * self._decay + 1.0
            self._error = self._error * self._decay + _square(self._forecast.prediction - value)
            for name, forecaster in self._bank.items():
                error = _square(forecaster.predict() - value)
                self._errors[name] = self._errors[name] * self._decay + error
        for forecaster in self._bank.values():
            forecaster.update(value)
        weights = self._weights()
        prediction = math.fsum(weights[name] * forecaster.predict() for name, forecaster in self._bank.items())
        errors = {name: error / self._count if self._count else math.nan for name, error in self._errors.items()}
        mse = self._error / self._count if self._count else math.nan
        self._forecast = Forecast(float(value), prediction, mse, errors, weights)
        return self._forecast

    def _weights(self) -> dict[str, float]:
        least = min(self._errors.values())
        if least > 0.0:
            says = {name: math.exp(-self._sharpness * (error / least - 1.0)) for name, error in self._errors.items()}
        else:  # somebody was never wrong
            says = {name: float(error == 0.0) for name, error in self._errors.items()}
        total = math.fsum(says.values())
        return {name: say / total for name, say in says.items()}


def _square(x: float) -> float:
    return x * x
