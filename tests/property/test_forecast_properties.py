"""The bank on arbitrary series: finite, within what was seen, the same after a restart."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vagus.forecast import Bank
from vagus.forecast.bank import MAX_VALUE
from vagus.forecast.trend import LABELS, Trend

values = st.one_of(
    st.floats(-100.0, 100.0),
    st.sampled_from([0.0, -0.0, 1.0, 1e100, -1e100, 1e-300, 5e-324]),
    st.sampled_from([math.nan, math.inf, -math.inf, 1e308]),
    st.floats(),
)
tables = st.integers(1, 3).flatmap(lambda n: st.lists(st.lists(values, min_size=n, max_size=n), max_size=40))


@settings(deadline=None, max_examples=40)
@given(tables, st.integers(0, 40))
@example([[0.0] * 3, [11.0, 0.0, 0.0], [234.0, 0.0, 0.0], [4.828996412220874e16, 0.0, math.nan], [4.7e15, 0.0, 0.0]], 3)
def test_any_series(rows: list[list[float]], cut: int) -> None:
    n = len(rows[0]) if rows else 1
    bank, restarted = Bank(n), Bank(n)
    low, high = np.full(n, math.inf), np.full(n, -math.inf)
    for at, row in enumerate(rows):
        bank.update(row)
        restarted.update(row)
        if at == cut:
            restarted = Bank.load(restarted.dump())
        seen = np.array([value if abs(value) <= MAX_VALUE else math.nan for value in row])
        low, high = np.fmin(low, seen), np.fmax(high, seen)
        known = low <= high
        said, mse = bank.predict(), bank.mse()
        assert np.array_equal(np.isnan(said), ~known)
        assert ((said >= low) & (said <= high))[known].all()
        assert not np.isinf(mse).any()
        assert not (mse < 0).any()
        assert np.array_equal(restarted.predict(), said, equal_nan=True)
        assert set(bank.chosen()) <= set(bank.names)


@settings(deadline=None, max_examples=40)
@given(st.lists(values, min_size=1, max_size=80))
def test_every_series_has_a_word(series: list[float]) -> None:
    trend, known = Trend(1, window=24, every=1), 0
    for value in series:
        trend.update([value])
        known += abs(value) <= MAX_VALUE
        assert (trend.labels()[0] != "") == (known >= 24)
        assert trend.labels()[0] in LABELS
