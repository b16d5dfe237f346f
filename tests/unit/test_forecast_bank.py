"""The forecaster bank and its members."""

from __future__ import annotations

import math
from random import Random

import pytest

from vagus.errors import ConfigError
from vagus.forecast import FORECASTERS
from vagus.forecast.bank import Bank
from vagus.forecast.median import SlidingMedian
from vagus.forecast.ses import ExponentialSmoothing


def _relative_error(series: list[float]) -> float:
    """One-step mean absolute error of the bank over that of the last value."""
    bank = Bank()
    ours, lasts, last, prediction = 0.0, 0.0, math.nan, math.nan
    for value in series:
        if not math.isnan(last):
            ours += abs(prediction - value)
            lasts += abs(last - value)
        prediction, last = bank.update(value).prediction, value
    return ours / lasts


def test_smoothing_is_the_geometric_sum() -> None:
    forecaster = ExponentialSmoothing(gain=0.5)
    for value in (8.0, 0.0, 4.0):
        forecaster.update(value)
    assert forecaster.predict() == 0.25 * 8 + 0.25 * 0 + 0.5 * 4


def test_the_median_slides_and_ignores_spikes() -> None:
    forecaster = SlidingMedian(window=3)
    seen = []
    for value in (1.0, 2.0, 1000.0, 3.0, 4.0):
        forecaster.update(value)
        seen.append(forecaster.predict())
    assert seen == [1.0, 1.5, 2.0, 3.0, 4.0]


def test_the_first_value_is_all_there_is() -> None:
    bank = Bank(["last", "ses"])
    assert math.isnan(bank.forecast.prediction)
    forecast = bank.update(3.0)
    assert (forecast.value, forecast.prediction) == (3.0, 3.0)
    assert math.isnan(forecast.mse)
    assert forecast.weights == {"last": 0.5, "ses": 0.5}


def test_errors_are_faded_means_of_squares() -> None:
    bank = Bank(["last"], decay=0.5)
    for value in (0.0, 1.0, 4.0):  # errors 1 and 3
        forecast = bank.update(value)
    assert forecast.mse == pytest.approx((0.5 * 1 + 9) / 1.5)
    assert forecast.errors == {"last": forecast.mse}


def test_who_is_right_of_late_speaks_loudest() -> None:
    noise = Random(1)
    walk, level = [0.0], [noise.gauss(0, 1) for _ in range(300)]
    for _ in range(300):
        walk.append(walk[-1] + noise.gauss(0, 1))
    bank = Bank()
    for value in walk:
        forecast = bank.update(value)
    assert max(forecast.weights, key=forecast.weights.__getitem__) == "last"
    for value in [walk[-1] + step for step in level]:
        forecast = bank.update(value)
    assert forecast.weights["last"] < 0.05
    assert math.fsum(forecast.weights.values()) == pytest.approx(1.0)


def test_no_worse_than_last_on_a_walk_and_better_on_noise() -> None:
    noise = Random(3)
    walk = [0.0]
    for _ in range(1500):
        walk.append(walk[-1] + noise.gauss(0, 1))
    assert _relative_error(walk) <= 1.02
    assert _relative_error([noise.gauss(10, 1) for _ in range(1500)]) < 0.8
    spikes = [100.0 if at % 17 == 0 else noise.gauss(10, 0.5) for at in range(1500)]
    assert _relative_error(spikes) < 0.75


@pytest.mark.parametrize("missing", [math.nan, math.inf, -math.inf, 1e200])
def test_a_missing_value_changes_nothing(missing: float) -> None:
    bank = Bank()
    for value in (1.0, 2.0, 3.0):
        before = bank.update(value)
    assert bank.update(missing) == before
    assert bank.forecast == before


def test_huge_and_constant_values_stay_finite() -> None:
    bank = Bank()
    for value in (1e150, -1e150, 1e150, 0.0, 0.0, 0.0):
        forecast = bank.update(value)
        assert math.isfinite(forecast.prediction)
    quiet = Bank()
    for _ in range(10):
        forecast = quiet.update(5.0)
    assert (forecast.prediction, forecast.mse) == (5.0, 0.0)


def test_an_unknown_forecaster_is_named() -> None:
    with pytest.raises(ConfigError, match="oracle"):
        Bank(["oracle"])
    assert set(Bank().update(1.0).weights) == set(FORECASTERS)


@pytest.mark.parametrize("options", [{"decay": 1.0}, {"decay": -0.1}, {"sharpness": 0.0}, {"sharpness": math.inf}])
def test_wrong_options_of_a_bank_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Bank(**options)


@pytest.mark.parametrize("gain", [0.0, 1.5, math.nan])
def test_wrong_gain_is_refused(gain: float) -> None:
    with pytest.raises(ConfigError, match="gain"):
        ExponentialSmoothing(gain)


@pytest.mark.parametrize("window", [0, -1, 20_000])
def test_wrong_window_is_refused(window: int) -> None:
    with pytest.raises(ConfigError, match="window"):
        SlidingMedian(window)
