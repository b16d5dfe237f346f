"""Forecasts of stored series, as they would have been made when each value was still to come."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vagus.errors import ConfigError
from vagus.forecast.bank import Bank
from vagus.forecast.columns import Array, Mask
from vagus.forecast.rates import rates


def foretell(
    t_ns: npt.NDArray[np.int64],
    columns: npt.ArrayLike,
    counter: Sequence[bool] | Mask | bool = False,
    *,
    forecasters: Sequence[str] = (),
) -> tuple[Array, Array]:
    """A fresh bank over rows: what was predicted for each value before it was seen, and the error estimate then.

    t_ns: int64[rows], nanoseconds, ascending; columns: float[rows, n], NaN where missing; counter: bool[n] or one for
    all, counters are forecast as rates in 1/s. Returns (forecast, mse), float64[rows, n] each: row k was known before
    row k was seen, so it compares with row k's value (or rate). NaN in a series' first row, mse in its first two.
    Costs about half a millisecond of CPU a row, up to hundreds of series. Raises ConfigError when shapes do not fit.
    """
    values = np.asarray(columns, dtype=np.float64)
    if values.ndim != 2 or np.shape(t_ns) != values.shape[:1]:
        raise ConfigError(
            f"columns of shape {values.shape} at times of shape {np.shape(t_ns)}: rows by series are needed"
        )
    counters = np.broadcast_to(np.asarray(counter, dtype=bool), values.shape[1:])
    if counters.any():
        values = np.where(counters, rates(t_ns, values), values)
    bank = Bank(values.shape[1], forecasters=forecasters)
    forecast, mse = np.empty_like(values), np.empty_like(values)
    for row, seen in enumerate(values):
        forecast[row], mse[row] = bank.predict(), bank.mse()
        bank.update(seen)
    return forecast, mse
