"""Autoregression by Burg's lattice with fading memory.

Makhoul 1977, "Stable and efficient lattice methods for linear prediction": each stage's reflection coefficient is
2 E[f b] / E[f² + b²] of the forward and backward errors that reach it, never beyond ±1. So the model is stable
whatever the series does, which neither recursive least squares nor Levinson's recursion over faded covariances is:
both blew up on constant and on spiky series.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from vagus.errors import ConfigError
from vagus.forecast.columns import Array, Columns, Mask

TINY = 1e-300  # no power at all: what it divides is 0


class Autoregressive(Columns):
    """Predicts by AR(`order`), 1 to 100, around a fading mean; `decay` of the past at each value, above 0, below 1."""

    weight: Array  # faded number of values
    level: Array
    reflection: Array  # float64[order, n]
    backward: Array  # float64[order, n], of each stage, one value ago
    cross: Array  # float64[order, n], faded sums of 2 f b
    power: Array  # float64[order, n], faded sums of f² + b²

    def __init__(self, n: int, order: int = 5, decay: float = 0.99) -> None:
        if not (isinstance(order, int) and 1 <= order <= 100):
            raise ConfigError(f"order={order} of the autoregression must be a whole number from 1 to 100")
        if not 0.0 < decay < 1.0:
            raise ConfigError(f"decay={decay} of the autoregression must be above 0 and below 1")
        zeros = np.zeros(order)
        super().__init__(n, weight=0.0, level=0.0, reflection=zeros, backward=zeros, cross=zeros, power=zeros)
        self.order = order
        self.decay = decay

    def update(self, values: Array, present: Mask) -> None:
        """The next values."""
        fade = np.where(present, self.decay, 1.0)
        self.weight *= fade
        self.weight += present
        step = np.divide(values - self.level, self.weight, out=np.zeros(self.n), where=present)
        self.level += step
        forward = np.where(present, values - self.level, 0.0)
        self.cross *= fade
        self.power *= fade
        error = forward  # the stage's own backward error now
        for stage in range(self.order):
            before = np.where(present, self.backward[stage], 0.0)  # with forward, 0 where a value is missing
            power, cross, reflection = self.power[stage], self.cross[stage], self.reflection[stage]
            power += before * before
            cross += 2.0 * forward * before
            power += forward * forward
            np.divide(cross, np.maximum(power, TINY), out=reflection)
            np.copyto(self.backward[stage], error, where=present)
            error = before - reflection * forward
            forward = forward - reflection * before

    def predict(self) -> Array:
        """The predictions."""
        return np.where(self.weight > 0, self.level + np.einsum("pn,pn->n", self.reflection, self.backward), np.nan)


long = partial(Autoregressive, order=16, decay=0.995)
