"""The forecaster bank, and what is particular of its members."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from vagus.errors import ConfigError
from vagus.forecast import FORECASTERS, Bank
from vagus.forecast.columns import Array
from vagus.forecast.score import score


def run(bank: Bank, rows: Any) -> Array:
    """What was predicted after each row."""
    found = []
    for row in np.asarray(rows, dtype=float):
        bank.update(row)
        found.append(bank.predict())
    return np.array(found)


def column(name: str, values: list[float], **options: Any) -> list[float]:
    """What one forecaster says after each value."""
    forecaster, said = FORECASTERS.make(name, 1, **options), []
    for value in values:
        forecaster.update(np.array([value]), np.array([True]))
        said.append(float(forecaster.predict()[0]))
    return said


# --- the members -----------------------------------------------------------------------------------------------------


def test_smoothing_is_the_geometric_sum() -> None:
    assert column("ses_50", [8.0, 0.0, 4.0])[-1] == 0.25 * 8 + 0.25 * 0 + 0.5 * 4


def test_the_median_slides_and_ignores_spikes() -> None:
    assert column("median_21", [1.0, 2.0, 1000.0, 3.0, 4.0], window=3) == [1.0, 1.5, 2.0, 3.0, 4.0]


def test_windows_agree_with_sorting() -> None:
    values = list(np.random.default_rng(2).integers(-5, 5, size=200).astype(float))  # many equal ones
    for name, window in (("median_5", 5), ("median_21", 21), ("mean_10", 10)):
        plain = np.mean if name == "mean_10" else np.median
        assert column(name, values) == pytest.approx(
            [plain(values[max(0, at - window + 1) : at + 1]) for at in range(200)]
        )
    trimmed = column("trimmed_mean", values, window=10, trim=0.2)
    assert trimmed[9:] == pytest.approx([np.mean(sorted(values[at - 9 : at + 1])[2:8]) for at in range(9, 200)])


def test_adaptive_windows_shorten_when_the_level_moves() -> None:
    noise = np.random.default_rng(3).normal(size=400)
    values = list(np.concatenate([noise[:200], noise[200:] + 20.0]))
    for name, fixed in (("mean_adaptive", "mean_10"), ("median_adaptive", "median_21")):
        adaptive, other = np.array(column(name, values)), np.array(column(fixed, values, window=50))
        assert abs(adaptive[225] - 20.0) < 2.0, "the window forgot the old level"
        assert abs(other[220] - 20.0) > 8.0, "a fixed window of the same length did not"
        quiet = slice(100, 199)
        assert np.std(adaptive[quiet]) < 0.5, "and it is long where nothing moves"


def test_autoregression_finds_its_model_and_never_blows_up() -> None:
    rng = np.random.default_rng(5)
    values = [0.0, 0.0]
    for step in rng.normal(size=2000):
        values.append(0.5 * values[-1] - 0.6 * values[-2] + step)
    rows = np.array(values)
    for name in ("ar_5", "lad_5"):
        error = np.abs(np.array(column(name, values))[500:-1] - rows[501:]).mean()
        assert error < 1.1 * math.sqrt(2 / math.pi), f"{name}: near the noise's own mean deviation"
    assert np.abs(np.diff(rows)).mean() > 1.2
    impulses = [1e6 if at % 97 == 0 else 0.0 for at in range(1000)]
    assert max(map(abs, column("ar_16", impulses))) < 1e7


def test_the_season_is_found() -> None:
    values = [50.0 if at % 7 == 3 else at % 7 for at in range(100)]
    assert column("season", values)[40:-1] == values[41:]
    values[80] = 1000.0  # one cycle was odd: the median of five does not care
    values[87 - 1] = -1000.0
    assert column("season_median", values)[86:93] == [50.0 if at % 7 == 3 else at % 7 for at in range(87, 94)]


def test_the_gain_follows_what_the_series_needs() -> None:
    rng = np.random.default_rng(6)
    gains = []
    for values in (rng.normal(size=2000), rng.normal(size=2000).cumsum()):
        forecaster: Any = FORECASTERS.make("ses_gradient", 1)
        for value in values:
            forecaster.update(np.array([value]), np.array([True]))
        gains.append(forecaster.gain[0])
    assert gains[0] < 0.15
    assert gains[1] > 0.7


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ses_20", {"gain": 0.0}),
        ("ses_20", {"gain": math.nan}),
        ("median_21", {"window": 0}),
        ("median_21", {"window": 20_000}),
        ("trimmed_mean", {"trim": 0.5}),
        ("ar_5", {"order": 0}),
        ("ar_5", {"decay": 1.0}),
        ("lad_5", {"order": 1000}),
        ("season", {"longest": 0}),
        ("season", {"cycles": 10}),
        ("last", {"gain": 1.0}),
    ],
)
def test_wrong_options_of_a_forecaster_are_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        FORECASTERS.make(name, 2, **options)


# --- the bank --------------------------------------------------------------------------------------------------------


def test_the_first_value_is_all_there_is() -> None:
    bank = Bank(2, forecasters=["last", "ses_20"])
    assert np.isnan(bank.predict()).all()
    bank.update([3.0, math.nan])
    assert np.array_equal(bank.predict(), [3.0, math.nan], equal_nan=True)
    assert np.isnan(bank.mse()).all()
    assert bank.weights()[:, 0] == pytest.approx([100 / 101, 1 / 101]), "last value has a head start"
    even = Bank(1, forecasters=["ses_20", "last"], head_start=1.0)
    even.update([3.0])
    assert even.weights().tolist() == [[0.5], [0.5]]
    assert bank.predict().dtype == bank.mse().dtype == np.float64


def test_errors_are_faded_means_of_squares() -> None:
    bank = Bank(1, forecasters=["last"], decay=0.5)
    run(bank, [[0.0], [1.0], [4.0]])  # errors 1 and 3
    assert bank.mse()[0] == pytest.approx((0.5 * 1 + 9) / 1.5)
    assert bank.chosen() == ["last"]


def test_who_is_right_of_late_speaks_loudest() -> None:
    noise = np.random.default_rng(1)
    walk = noise.normal(size=400).cumsum()
    bank = Bank(1, forecasters=["last", "mean_10", "median_21"])
    run(bank, walk[:, np.newaxis])
    assert bank.chosen() == ["last"]
    run(bank, walk[-1] + noise.normal(size=(400, 1)))
    assert bank.chosen()[0] in ("mean_10", "median_21")
    assert bank.weights()[0, 0] < 0.05
    assert bank.weights().sum(axis=0) == pytest.approx(1.0)
    assert bank.predictions().shape == (3, 1)


def test_no_worse_than_last_on_walks_and_better_on_noise() -> None:
    noise = np.random.default_rng(3).normal(size=(400, 10))
    spikes = np.where((np.arange(400) % 17 == 0)[:, np.newaxis], 100.0, 10.0 + noise)
    ratio = score(np.hstack([noise.cumsum(axis=0), 10.0 + noise, spikes])).ratio
    assert ratio[:10].max() <= 1.02
    assert ratio[10:20].max() < 0.8
    assert ratio[20:].max() < 0.5, "they come every 17th value: foreseen"


@pytest.mark.parametrize("missing", [math.nan, math.inf, -math.inf, 1e200, -1e101])
def test_a_missing_value_changes_nothing(missing: float) -> None:
    bank = Bank(2)
    run(bank, np.random.default_rng(1).normal(size=(30, 2)))
    before = (bank.predict(), bank.mse(), bank.weights(), bank.dump())
    bank.update([missing, missing])
    after = (bank.predict(), bank.mse(), bank.weights(), bank.dump())
    assert all(np.array_equal(x, y) for x, y in zip(before[:3], after[:3], strict=True))
    assert before[3] == after[3]


def test_predictions_stay_within_what_was_seen() -> None:
    bank, rng = Bank(3), np.random.default_rng(4)
    rows = np.abs(rng.normal(size=(250, 3))) * 10.0 ** rng.integers(0, 8, size=(250, 3))
    found = run(bank, rows)
    assert (found >= np.minimum.accumulate(rows)).all(), "bytes per second are never below 0"
    assert (found <= np.maximum.accumulate(rows)).all()


def test_huge_and_constant_values_stay_finite() -> None:
    bank = Bank(2)
    assert np.isfinite(run(bank, [[1e100, 5.0], [-1e100, 5.0], [1e100, 5.0], *[[0.0, 5.0]] * 300])).all()
    assert np.isfinite(bank.mse()).all()
    assert (bank.predict()[1], bank.mse()[1]) == (5.0, 0.0)


def test_series_do_not_touch_each_other_and_none_is_fine() -> None:
    rows = np.random.default_rng(8).normal(size=(120, 5)).cumsum(axis=0)
    together = run(Bank(5), rows)
    assert together[:, 3] == pytest.approx(run(Bank(1), rows[:, [3]])[:, 0], rel=1e-9)
    empty = Bank(0)
    empty.update([])
    assert (empty.predict().shape, empty.chosen()) == ((0,), [])


def test_series_come_and_go() -> None:
    rows = np.random.default_rng(9).normal(size=(200, 3)).cumsum(axis=0)
    bank = Bank(1)
    run(bank, rows[:100, :1])
    bank.resize(3)
    assert np.isnan(bank.predict()[1:]).all()
    assert run(bank, rows[100:])[:, 2] == pytest.approx(run(Bank(1), rows[100:, [2]])[:, 0], rel=1e-9)
    bank.reset([0, 2])
    assert list(np.isnan(bank.predict())) == [True, False, True]
    assert run(bank, rows)[:, 0] == pytest.approx(run(Bank(1), rows[:, [0]])[:, 0], rel=1e-9)
    bank.reset(1)
    bank.resize(2)
    assert list(np.isnan(bank.predict())) == [False, True]
    with pytest.raises(ConfigError, match="negative"):
        bank.resize(-1)


def test_a_restart_goes_on_where_it_was() -> None:
    rows = np.random.default_rng(10).normal(size=(160, 4)).cumsum(axis=0)
    rows[::7, 2] = math.nan
    bank = Bank(4, decay=0.97, sharpness=12.0, head_start=3.0)
    run(bank, rows[:80])
    again = Bank.load(bank.dump())
    assert (again.names, again.decay, again.sharpness, again.head_start, again.n) == (bank.names, 0.97, 12.0, 3.0, 4)
    assert np.array_equal(again.predict(), bank.predict())
    assert np.array_equal(run(again, rows[80:]), run(bank, rows[80:]))
    assert np.array_equal(again.mse(), bank.mse())
    assert len(bank.dump()) < 4 * bank.bytes_per_series + 60_000


def test_a_damaged_state_is_refused() -> None:
    bank = Bank(2, forecasters=["last", "ses_20"])
    bank.update([1.0, 2.0])
    whole = bank.dump()
    broken = bytearray(whole)
    broken[len(whole) // 2] ^= 0xFF
    strange = Bank(2, forecasters=["mean"])
    strange.names = ("oracle",)
    for wrong in (b"", b"not an archive", whole[:-40], bytes(broken), strange.dump()):
        with pytest.raises(ConfigError, match=r"start a new one|oracle"):
            Bank.load(wrong)


def test_wrong_values_and_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="3 series"):
        Bank(3).update([1.0, 2.0])
    with pytest.raises(ConfigError, match="oracle"):
        Bank(1, forecasters=["oracle"])
    for options in ({"decay": 1.0}, {"decay": -0.1}, {"sharpness": 0.0}, {"sharpness": math.inf}, {"head_start": 0.0}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            Bank(1, **options)  # type: ignore[arg-type]
    for n in (-1, 10**9):
        with pytest.raises(ConfigError, match="n_series"):
            Bank(n)
