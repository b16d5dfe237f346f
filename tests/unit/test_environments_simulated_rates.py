"""Traces that are made."""

from __future__ import annotations

import numpy as np
import pytest

from vagus.environments.rates import Rates, made, scaled
from vagus.errors import ConfigError


def test_a_seed_is_a_trace_with_the_mean_that_was_asked_for() -> None:
    trace = made(Rates(mean_hz=45.0), 600, 1)
    assert trace == made(Rates(mean_hz=45.0), 600, 1) != made(Rates(mean_hz=45.0), 600, 2)
    assert len(trace) == 600
    assert min(trace) > 0
    assert np.mean(trace) == pytest.approx(45.0)


def test_it_swings_with_the_day() -> None:
    calm = Rates(mean_hz=10.0, swing=0.5, day_s=200.0, noise=0.0, burst=0.0, phase=0.0)
    trace = np.array(made(calm, 400, 1))
    assert trace[50] == pytest.approx(15.0, rel=0.1)
    assert trace[150] == pytest.approx(5.0, rel=0.15)
    flat = made(calm._replace(swing=0.0), 400, 1)
    assert max(flat) / min(flat) < 1.2


def test_noise_wanders_and_bursts_burst() -> None:
    noisy = np.log(made(Rates(swing=0.0, noise=0.2, wander_s=10.0, burst=0.0), 20_000, 3))
    assert np.std(noisy) == pytest.approx(0.2, rel=0.1)
    assert np.corrcoef(noisy[:-10], noisy[10:])[0, 1] == pytest.approx(np.exp(-1), abs=0.1)
    bursty = np.array(made(Rates(swing=0.0, noise=0.0, burst=1.0, between_s=50.0), 20_000, 3))
    share = float((bursty > 1.3 * np.median(bursty)).mean())
    assert share == pytest.approx(12.5 / 62.5, rel=0.3)


@pytest.mark.parametrize(
    "rates",
    [
        Rates(mean_hz=0.0),
        Rates(mean_hz=float("nan")),
        Rates(swing=1.0),
        Rates(noise=-1.0),
        Rates(burst_s=(5.0, 1.0)),
        Rates(between_s=0.0),
        Rates(day_s=0.0),
    ],
)
def test_rates_that_cannot_be_are_refused(rates: Rates) -> None:
    with pytest.raises(ConfigError):
        made(rates, 100, 0)


def test_scaled() -> None:
    assert scaled([1.0, 3.0], 10.0) == (5.0, 15.0)
    for trace in ([], [0.0], [1.0, -1.0], [float("nan")]):
        with pytest.raises(ConfigError):
            scaled(trace, 10.0)
