"""Words for what series do; counters as rates; forecasts of stored rows."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from vagus.errors import ConfigError
from vagus.forecast import Bank
from vagus.forecast.columns import Array
from vagus.forecast.foretell import foretell
from vagus.forecast.rates import Rates, rates
from vagus.forecast.trend import LABELS, Trend, classify

N = 400
T = np.arange(60)[:, np.newaxis]
NOISE = np.random.default_rng(1).normal(size=(60, N))
SECOND = 10**9

KINDS: dict[str, tuple[str, Array]] = {
    "noise": ("steady", NOISE),
    "constant": ("steady", np.full((60, N), 3.3)),
    "one spike": ("steady", 0.1 * NOISE + 50.0 * (T == 30)),
    "coin": ("steady", (NOISE > 0) * 1.0),
    "heavy tail": ("steady", np.exp(1.5 * NOISE)),
    "ramp": ("rising", NOISE + T / 10),
    "clean ramp": ("rising", 0 * NOISE + 1e6 + T / 1e3),
    "fall": ("falling", NOISE - T / 10),
    "step up": ("level_shift", NOISE + 3.5 * (T > 30)),
    "late step down": ("level_shift", NOISE - 4.0 * (T > 50)),
    "clean step": ("level_shift", 0 * NOISE + (T > 20)),
    "alternating": ("oscillating", 0.5 * NOISE + 2.0 * (T % 2)),
    "sine": ("oscillating", NOISE + 2.0 * np.sin(T / 10 * 2 * np.pi)),
    "slow sine": ("oscillating", 0.7 * NOISE + 2.0 * np.sin(T / 20 * 2 * np.pi)),
    "pulses": ("oscillating", 0.3 * NOISE + 3.0 * (T % 7 == 0)),
    "sine on a ramp": ("oscillating", 0.3 * NOISE + 2.0 * np.sin(T / 6 * 2 * np.pi) + T / 30),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e90, 0.0), (1e-12, 0.0), (-1.0, 7.0)])
def test_each_kind_is_named_whatever_its_scale(kind: str, scale: float, shift: float) -> None:
    label, rows = KINDS[kind]
    if scale < 0:
        label = {"rising": "falling", "falling": "rising"}.get(label, label)
    found = Counter(LABELS[at] for at in classify(rows * scale + shift))
    assert found[label] >= 0.94 * N, found


def test_nothing_is_known_of_a_series_before_its_window_is_full() -> None:
    trend = Trend(2, window=24, every=4)
    for at in range(30):
        trend.update([float(at), float(at) if at % 2 else np.nan])
        assert (trend.labels()[0] == "") == (at < 23)
    assert trend.labels() == ["rising", ""]


def test_a_level_shift_passes_and_is_steady_again() -> None:
    noise = np.random.default_rng(2).normal(size=(400, 50))
    trend = Trend(50)
    at = {}
    for row in range(400):
        trend.update(noise[row] + (6.0 if row >= 150 else 0.0))
        at[row] = Counter(trend.labels())
    assert at[149]["steady"] >= 48
    assert at[180]["level_shift"] >= 48
    assert at[399]["steady"] >= 48


def test_labels_do_not_flap() -> None:
    """A slope at the edge of what is told from noise: without hysteresis it would come and go."""
    rows = np.random.default_rng(3).normal(size=(1000, 100)) + np.arange(1000)[:, np.newaxis] * 0.06
    held = Trend(100, every=10)
    changes = Counter[str]()
    before, plain = held.labels(), None
    for row in range(1000):
        held.update(rows[row])
        if row >= 60 and row % 10 == 9:
            changes["held"] += sum(x != y for x, y in zip(held.labels(), before, strict=True))
            found = classify(rows[row - 59 : row + 1])
            changes["free"] += 0 if plain is None else int((found != plain).sum())
            plain = found
        before = held.labels()
    assert changes["held"] < changes["free"] / 2, changes


def test_counters_rise_and_their_rates_are_steady() -> None:
    rng = np.random.default_rng(4)
    raw, both = Trend(20), Rates(20)
    of_rates = Trend(20)
    total = np.zeros(20)
    for tick in range(140):
        total += rng.poisson(1000, size=20)
        if tick == 100:
            total[:10] = 0.0  # restarted
        raw.update(total)
        of_rates.update(both.update(tick * SECOND, total))
        if tick == 99:
            assert set(raw.labels()) == {"rising"}
    assert Counter(of_rates.labels())["steady"] >= 19


def test_missing_values_and_gone_series() -> None:
    trend = Trend(2, window=24, every=1)
    for at in range(30):
        trend.update([float(at), float(-at)])
        trend.update([np.nan, np.inf])
    assert trend.labels() == ["rising", "falling"]
    trend.reset([0])
    trend.resize(3)
    assert trend.labels() == ["", "falling", ""]


def test_wrong_options_of_a_trend_are_refused() -> None:
    for options in ({"window": 10}, {"window": 5000}, {"every": 0}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            Trend(1, **options)
    with pytest.raises(ConfigError, match="2 series"):
        Trend(2).update([1.0])


# --- counters --------------------------------------------------------------------------------------------------------


def test_counters_become_rates_and_resets_are_missing() -> None:
    made = Rates(3, [True, True, False])
    seen = [
        made.update(0, [10.0, 100.0, 5.0]),
        made.update(2 * SECOND, [30.0, 40.0, 6.0]),  # the second one started anew
        made.update(3 * SECOND, [np.nan, 50.0, np.nan]),
        made.update(5 * SECOND, [60.0, 50.0, 4.0]),
        made.update(5 * SECOND, [61.0, 51.0, 4.0]),  # no time passed
    ]
    nan = np.nan
    expected = [[nan, nan, 5.0], [10.0, nan, 6.0], [nan, 10.0, nan], [10.0, 0.0, 4.0], [nan, nan, 4.0]]
    assert np.array_equal(seen, expected, equal_nan=True)
    at_ns = np.array([6, 7, 0]) * SECOND  # series that were read at different times
    assert np.array_equal(made.update(at_ns, [71.0, 71.0, nan]), [10.0, 10.0, nan], equal_nan=True)
    with pytest.raises(ConfigError, match="3 series"):
        made.update(0, [1.0])


def test_stored_counters_become_rates() -> None:
    t_ns = np.array([0, 1, 3, 4, 4]) * SECOND
    found = rates(t_ns, np.array([[5.0, 1.0], [7.0, np.nan], [11.0, 9.0], [0.0, 9.5], [1.0, 9.5]]))
    nan = np.nan
    assert np.array_equal(found, [[nan, nan], [2.0, nan], [2.0, nan], [nan, 0.5], [nan, nan]], equal_nan=True)
    assert rates(t_ns[:0], np.zeros((0, 2))).shape == (0, 2)
    with pytest.raises(ConfigError, match="rows by series"):
        rates(t_ns, np.zeros((4, 2)))


# --- stored rows -----------------------------------------------------------------------------------------------------


def test_a_stored_forecast_stands_beside_the_value_it_was_made_for() -> None:
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(90, 2)).cumsum(axis=0)
    rows[40:45, 1] = np.nan
    t_ns = np.arange(90) * SECOND
    forecast, mse = foretell(t_ns, rows)
    bank = Bank(2)
    for row in range(90):
        assert np.array_equal(forecast[row], bank.predict(), equal_nan=True), "known before the row was seen"
        assert np.array_equal(mse[row], bank.mse(), equal_nan=True)
        bank.update(rows[row])
    assert np.isnan(forecast[0]).all()
    assert forecast[1] == pytest.approx(rows[0])
    assert np.isfinite(mse[2:]).all()


def test_stored_counters_are_foretold_as_rates() -> None:
    t_ns = np.arange(30) * 2 * SECOND
    counter = np.arange(30) * 50.0
    forecast, mse = foretell(t_ns, np.column_stack([counter, counter]), [True, False], forecasters=["last"])
    assert np.array_equal(forecast[2:, 0], [25.0] * 28)
    assert np.array_equal(forecast[1:, 1], counter[:-1])
    assert (mse[3:, 0] == 0).all()
    empty = foretell(t_ns[:0], np.zeros((0, 3)))
    assert empty[0].shape == empty[1].shape == (0, 3)
    with pytest.raises(ConfigError, match="rows by series"):
        foretell(t_ns, counter)
