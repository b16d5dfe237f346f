"""The forecaster bank on real series meets its bars: MAE to last value's, after a warm-up of 50."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vagus.cli.forecast import read_column
from vagus.forecast.columns import Array
from vagus.forecast.score import score

DATA = Path(__file__).parents[2].parent / "shared" / "data"

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not (DATA / "nab").is_dir(), reason=f"no series at {DATA}"),
]


def ratios(pattern: str, column: str = "", warm_up: int = 50) -> Array:
    series = [np.array(read_column(file, column)[1]) for file in sorted(DATA.glob(pattern))]
    columns = np.full((max(map(len, series)), len(series)), np.nan)
    for at, values in enumerate(series):
        columns[: len(values), at] = values
    return score(columns, warm_up=warm_up).ratio


@pytest.mark.system  # seconds: ten series of thousands of values
def test_aws_series() -> None:
    found = ratios("nab/*.csv")
    assert len(found) == 10
    assert np.exp(np.log(found).mean()) <= 0.60
    assert found.max() <= 1.02


@pytest.mark.parametrize("warm_up", [25, 50])
def test_bandwidth_is_a_walk_and_hardly_worse_than_the_last_value(warm_up: int) -> None:
    found = ratios("bandwidth/norway*", "2", warm_up)
    assert len(found) == 7
    assert np.exp(np.log(found).mean()) <= 1.0
    assert found.max() <= 1.01, "of no file"
    fixed = ratios("bandwidth/fcc*", "2", warm_up)
    assert np.exp(np.log(fixed).mean()) <= 0.82
