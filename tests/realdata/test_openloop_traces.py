"""The open-loop load along the request-rate traces that are given out with Autothrottle."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from vagus.cli.openloop.arrivals import due_s
from vagus.cli.openloop.plan import Plan
from vagus.cli.openloop.trace import read_trace
from vagus.config import RequestSettings

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "autothrottle"

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is absent: real data is not part of the project"),
]


@pytest.mark.parametrize("name", ["diurnal.txt", "noisy.txt"])
def test_arrivals_follow_the_trace_through_its_hour(name: str) -> None:
    rates = read_trace(DATA / name, 0.0, 3600.0, 50.0)
    assert len(rates) == 3600
    assert math.fsum(rates) == pytest.approx(3600 * 50.0)
    numbers = np.loadtxt(DATA / name)
    np.testing.assert_allclose(np.array(rates) / numbers, 50.0 / numbers.mean())
    request = RequestSettings(name="a", path="/")
    due = due_s(Plan(name="a", requests=(request,), rates_hz=rates, urls=("http://127.0.0.1:1",), seed=1))
    assert len(due) == pytest.approx(180_000, abs=4 * math.sqrt(180_000))
    minutes, expected = np.bincount((due // 60).astype(int)), np.array(rates).reshape(60, 60).sum(axis=1)
    assert np.abs(minutes - expected).max() < 5 * np.sqrt(expected.max()), "minute by minute"
