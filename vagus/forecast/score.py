"""How well the bank forecasts stored series, one step ahead, against the last value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vagus.errors import ConfigError
from vagus.forecast.bank import MAX_VALUE, Bank
from vagus.forecast.columns import Array

WARM_UP = 50


@dataclass(frozen=True)
class Score:
    """Mean absolute errors of each of n series over the values that count.

    counted: int64[n]; mae, mae_last: float64[n], NaN where nothing counted; mae_each: float64[forecasters, n];
    spoke: float64[forecasters, n], the share of the counted values at which the forecaster had the largest say;
    bank: as it stands after the last row.
    """

    counted: Array
    mae: Array
    mae_last: Array
    mae_each: Array
    spoke: Array
    bank: Bank

    @property
    def ratio(self) -> Array:
        """mae over mae_last, float64[n]: 1 where both are 0, NaN where nothing counted."""
        both = (self.mae == 0) & (self.mae_last == 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(both, 1.0, self.mae / self.mae_last)


def score(
    columns: npt.ArrayLike, *, warm_up: int = WARM_UP, forecasters: Sequence[str] = (), **options: float
) -> Score:
    """Runs a fresh bank (made with `options`) over float[rows, n]; missing values (NaN) neither count nor warm up.

    The first `warm_up` values of a series (at least 1) are shown to the bank and not counted; each later one is, with
    what was predicted for it before it was shown. Raises ConfigError.
    """
    values = np.asarray(columns, dtype=np.float64)
    if values.ndim != 2:
        raise ConfigError(f"columns of shape {values.shape}: rows by series are needed")
    if warm_up < 1:
        raise ConfigError(f"warm_up={warm_up}: the first value cannot be predicted, at least 1 is needed")
    n = values.shape[1]
    bank = Bank(n, forecasters=forecasters, **options)
    shown, last = np.zeros(n, dtype=np.int64), np.full(n, math.nan)
    own, lasts = np.zeros(n), np.zeros(n)
    each, spoke = np.zeros((len(bank.names), n)), np.zeros((len(bank.names), n))
    for seen in values:
        present = np.abs(seen) <= MAX_VALUE
        counts = present & (shown >= warm_up)
        if counts.any():
            own += np.where(counts, np.abs(bank.predict() - seen), 0.0)
            lasts += np.where(counts, np.abs(last - seen), 0.0)
            each += np.where(counts, np.abs(bank.predictions() - seen), 0.0)
            spoke[bank.leaders()[counts], np.flatnonzero(counts)] += 1
        shown += present
        last = np.where(present, seen, last)
        bank.update(seen)
    counted = np.maximum(shown - warm_up, 0)
    number = np.where(counted > 0, counted, np.nan)
    return Score(counted, own / number, lasts / number, each / number, spoke / number, bank)
