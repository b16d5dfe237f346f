"""What every registered forecaster keeps."""

from __future__ import annotations

import numpy as np
import pytest

from vagus.errors import ConfigError
from vagus.forecast import FORECASTERS, Forecaster
from vagus.forecast.columns import Array

NAMES = list(FORECASTERS)
FOLLOWS_SLOWLY = {"mean"}  # all values count, for ever
pytestmark = pytest.mark.parametrize("name", NAMES)


def series(rows: int, n: int, seed: int = 4) -> Array:
    """Walks, noise and spikes side by side."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(rows, n))
    walks = noise.cumsum(axis=0)
    spikes = np.where(rng.random((rows, n)) < 0.1, 100.0 * noise, 0.0)
    return np.where(np.arange(n) % 3 == 0, walks, np.where(np.arange(n) % 3 == 1, noise, spikes))


def feed(forecaster: Forecaster, rows: Array) -> Array:
    """What was predicted after each row; NaN in a row is missing."""
    found = np.empty_like(rows)
    for at, row in enumerate(rows):
        present = ~np.isnan(row)
        forecaster.update(np.where(present, row, 0.0), present)
        found[at] = forecaster.predict()
    return found


def test_nothing_is_predicted_from_nothing(name: str) -> None:
    forecaster = FORECASTERS.make(name, 3)
    assert np.isnan(forecaster.predict()).all()
    forecaster.update(np.zeros(3), np.array([False, False, False]))
    assert np.isnan(forecaster.predict()).all()
    forecaster.update(np.array([0.0, 7.0, 0.0]), np.array([False, True, False]))
    assert np.array_equal(forecaster.predict(), [np.nan, 7.0, np.nan], equal_nan=True)
    assert FORECASTERS.make(name, 0).predict().shape == (0,)


def test_a_constant_series_is_predicted_exactly(name: str) -> None:
    values = np.array([0.0, -3.5, 1e100, -1e100, 0.1])
    found = feed(FORECASTERS.make(name, 5), np.tile(values, (50, 1)))
    assert found == pytest.approx(np.tile(values, (50, 1)), rel=1e-12, abs=0.0)


def test_a_missing_value_changes_nothing(name: str) -> None:
    whole = series(90, 4)
    gaps = np.random.default_rng(1).random(whole.shape) < 0.3
    found = feed(FORECASTERS.make(name, 4), np.where(gaps, np.nan, whole))
    for at in range(4):
        kept = whole[~gaps[:, at], at]
        alone = feed(FORECASTERS.make(name, 1), kept[:, np.newaxis])[:, 0]
        assert found[~gaps[:, at], at] == pytest.approx(alone, rel=1e-9)


def test_series_do_not_touch_each_other(name: str) -> None:
    rows = series(80, 6)
    together = feed(FORECASTERS.make(name, 6), rows)
    apart = np.column_stack([feed(FORECASTERS.make(name, 1), rows[:, [at]])[:, 0] for at in range(6)])
    assert together == pytest.approx(apart, rel=1e-9)


@pytest.mark.parametrize(("scale", "shift"), [(1024.0, 0.0), (2.0**-20, 0.0), (-1.0, 0.0), (1.0, 64.0), (3.7, -21.0)])
def test_predictions_scale_and_shift_with_the_values(name: str, scale: float, shift: float) -> None:
    rows = series(90, 4)
    plain = feed(FORECASTERS.make(name, 4), rows)
    moved = feed(FORECASTERS.make(name, 4), rows * scale + shift)
    assert moved == pytest.approx(plain * scale + shift, rel=1e-6, abs=1e-6 * abs(scale))


def test_huge_values_stay_finite_and_are_forgotten(name: str) -> None:
    huge = np.array([[1e100], [-1e100], [1e100], [0.0]] * 10)
    forecaster = FORECASTERS.make(name, 1)
    assert np.isfinite(feed(forecaster, huge)).all()
    assert np.isfinite(feed(forecaster, np.tile([[1e-300], [1.0]], (100, 1)))).all()
    tiny = np.array([[1e-300], [0.0], [-1e-300], *[[0.0]] * 30, [1.0], [1e100], [1.0]])
    assert np.isfinite(feed(FORECASTERS.make(name, 1), tiny)).all(), "nothing divides by what has almost vanished"


def test_a_new_level_is_followed(name: str) -> None:
    rows = np.repeat([[10.0], [20.0]], 600, axis=0)
    after = feed(FORECASTERS.make(name, 1), rows)[-1, 0]
    assert after == pytest.approx(20.0, abs=5.01 if name in FOLLOWS_SLOWLY else 0.1)


def test_it_grows_shrinks_and_starts_anew(name: str) -> None:
    rows = series(80, 4)
    forecaster = FORECASTERS.make(name, 2)
    feed(forecaster, rows[:40, :2])
    forecaster.resize(4)
    assert np.isnan(forecaster.predict()[2:]).all()
    both = feed(forecaster, rows[40:])
    old = feed(FORECASTERS.make(name, 2), rows[:, :2])[40:]
    new = feed(FORECASTERS.make(name, 2), rows[40:, 2:])
    assert both == pytest.approx(np.column_stack([old, new]), rel=1e-9)
    forecaster.reset(np.array([1]))
    assert list(np.isnan(forecaster.predict())) == [False, True, False, False]
    again = feed(forecaster, rows)
    assert again[:, 1] == pytest.approx(feed(FORECASTERS.make(name, 1), rows[:, [1]])[:, 0], rel=1e-9)
    forecaster.resize(1)
    assert forecaster.predict().shape == (1,)


def test_its_state_can_be_saved(name: str) -> None:
    rows = series(120, 3)
    forecaster, other = FORECASTERS.make(name, 3), FORECASTERS.make(name, 3)
    feed(forecaster, rows[:60])
    saved = {key: array.copy() for key, array in forecaster.arrays().items()}
    after = feed(forecaster, rows[60:])
    other.restore(saved)
    assert np.array_equal(feed(other, rows[60:]), after), "the state is all there is"
    assert all(array.shape[-1] == 3 for array in saved.values())
    for wrong in ({}, {**saved, "more": np.zeros(3)}, {key: array[..., :2] for key, array in saved.items()}):
        with pytest.raises(ConfigError, match="saved state"):
            other.restore(wrong)


def test_memory_is_bounded_and_updates_do_not_touch_what_they_are_given(name: str) -> None:
    forecaster = FORECASTERS.make(name, 2)
    before = sum(array.nbytes for array in forecaster.arrays().values())
    rows = series(300, 2)
    rows.flags.writeable = False
    feed(forecaster, rows)
    assert sum(array.nbytes for array in forecaster.arrays().values()) == before < 10_000
