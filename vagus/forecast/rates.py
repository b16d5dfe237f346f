"""Counters as rates, so that they can be forecast: a counter that grows steadily is a trend, its rate is a level."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vagus.errors import ConfigError
from vagus.forecast.columns import Array, Columns, Mask


class Rates(Columns):
    """Turns n series as they come in into series that can be forecast: counters into their change per second.

    After a reset (a counter that fell: its process or device started anew) and before a counter's second value the
    rate is NaN, that is missing. Series that are not counters pass unchanged. counter: bool[n], or one for all.
    """

    counter: Mask
    before: Array  # the value seen last, NaN before the first
    at_ns: npt.NDArray[np.int64]  # and when

    def __init__(self, n_series: int, counter: npt.ArrayLike = True) -> None:
        super().__init__(n_series, counter=False, before=np.nan, at_ns=np.int64(0))
        self.counter[:] = counter

    def update(self, t_ns: int | npt.NDArray[np.int64], values: npt.ArrayLike) -> Array:
        """Values, float[n], NaN where missing, read at t_ns (nanoseconds, int64[n] or one for all); as rates, float64[n].

        Rates are in 1/s. Over a gap the rate is the mean rate since the value before. Raises ConfigError when there are not n values.
        """
        now = np.asarray(values, dtype=np.float64)
        if now.shape != (self.n,):
            raise ConfigError(f"there are {self.n} series, and values of shape {now.shape} were given")
        known = np.isfinite(now)
        elapsed_s: Array = (t_ns - self.at_ns) / 1e9
        grown = known & (now >= self.before) & (elapsed_s > 0)
        change = np.subtract(now, self.before, out=np.full(self.n, np.nan), where=grown)
        np.divide(change, elapsed_s, out=change, where=grown)
        np.copyto(self.before, now, where=known)
        np.copyto(self.at_ns, t_ns, where=known)
        return np.where(self.counter, change, now)


def rates(t_ns: npt.NDArray[np.int64], columns: npt.ArrayLike) -> Array:
    """Stored counters, float[rows, n] read at t_ns[rows], as their change per second, float64[rows, n].

    The first row, rows after a reset and missing values are NaN. A row after missing ones is NaN as well.
    Raises ConfigError when the shapes do not fit.
    """
    values = np.asarray(columns, dtype=np.float64)
    times = np.asarray(t_ns, dtype=np.int64)
    if values.ndim != 2 or times.shape != values.shape[:1]:
        raise ConfigError(
            f"counters of shape {values.shape} at times of shape {times.shape}: rows by series are needed"
        )
    found = np.full(values.shape, np.nan)
    if len(values) > 1:
        with np.errstate(invalid="ignore"):  # inf - inf
            change = np.diff(values, axis=0)
        elapsed_s = np.diff(times)[:, np.newaxis] / 1e9
        np.divide(change, elapsed_s, out=found[1:], where=np.isfinite(change) & (change >= 0) & (elapsed_s > 0))
    return found
