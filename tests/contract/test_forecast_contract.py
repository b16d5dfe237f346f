"""What every registered forecaster keeps."""

from __future__ import annotations

import math
from random import Random

import pytest

from vagus.forecast import FORECASTERS

NAMES = list(FORECASTERS)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_predicted_from_nothing(name: str) -> None:
    forecaster = FORECASTERS.make(name)
    assert forecaster.name == name
    assert math.isnan(forecaster.predict())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.0, -3.5, 1e150, -1e150])
def test_a_constant_series_is_predicted_exactly(name: str, value: float) -> None:
    forecaster = FORECASTERS.make(name)
    for _ in range(50):
        forecaster.update(value)
        assert forecaster.predict() == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_predictions_stay_within_the_values_seen_and_do_not_change_them(name: str) -> None:
    forecaster, rng = FORECASTERS.make(name), Random(4)
    seen: list[float] = []
    for _ in range(300):
        seen.append(rng.gauss(5.0, 100.0))
        forecaster.update(seen[-1])
        assert min(seen) <= forecaster.predict() <= max(seen)
        assert forecaster.predict() == forecaster.predict()


@pytest.mark.parametrize("name", NAMES)
def test_a_new_level_is_followed(name: str) -> None:
    forecaster = FORECASTERS.make(name)
    for value in [10.0] * 100 + [20.0] * 100:
        forecaster.update(value)
    assert forecaster.predict() == pytest.approx(20.0, rel=1e-6)
