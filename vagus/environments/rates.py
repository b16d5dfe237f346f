"""Traces of requests per second, made: days, noise, bursts. Files of them have a number a line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vagus.errors import ConfigError


class Rates(NamedTuple):
    """What a trace is like. swing: of the slow sine, up and down, whose period is day_s; noise: standard deviation of an
    autoregressive wander with the time constant wander_s; bursts of so much more (a ratio), burst_s long, every
    `between_s` or so."""

    mean_hz: float = 45.0
    swing: float = 0.4
    day_s: float = 300.0
    noise: float = 0.12
    wander_s: float = 8.0
    burst: float = 0.5
    burst_s: tuple[float, float] = (5.0, 20.0)
    between_s: float = 60.0
    phase: float | None = None  # of the sine, 0 to 1; None: drawn


def made(rates: Rates, length_s: int, seed: int) -> tuple[float, ...]:
    """Requests per second of one second after the other, their mean as asked for. Raises ConfigError."""
    low, high = rates.burst_s
    if not (rates.mean_hz > 0 and 0 <= rates.swing < 1 and rates.noise >= 0 and rates.burst >= 0 and length_s >= 1):
        raise ConfigError(f"no such rates: {rates} for {length_s} s")
    if not (0 < low <= high and rates.between_s > 0 and rates.day_s > 0 and rates.wander_s > 0):
        raise ConfigError(f"no such rates: {rates}: times must be above 0")
    rng = np.random.Generator(np.random.PCG64((seed, 0x7A7E)))
    t_s = np.arange(length_s)
    phase = rng.uniform() if rates.phase is None else rates.phase
    tilt = 1 + 0.05 * np.sin(2 * np.pi * (2 * t_s / rates.day_s + rng.uniform()))  # no day is a pure sine
    level = (1 + rates.swing * np.sin(2 * np.pi * (t_s / rates.day_s + phase))) * tilt
    keep = math.exp(-1.0 / rates.wander_s)
    wander, now = np.empty(length_s), rng.normal() * rates.noise
    for at, shock in enumerate(rng.normal(0.0, rates.noise * math.sqrt(1 - keep * keep), length_s)):
        now = keep * now + shock
        wander[at] = now
    bursts, begin_s = np.ones(length_s), rng.exponential(rates.between_s)
    while rates.burst and begin_s < length_s:
        for_s = rng.uniform(low, high)
        bursts[int(begin_s) : int(begin_s + for_s) + 1] += rates.burst * rng.uniform(0.5, 1.0)
        begin_s += for_s + rng.exponential(rates.between_s)
    found = level * np.exp(wander) * bursts
    return scaled(found.tolist(), rates.mean_hz)


def scaled(trace: Sequence[float], mean_hz: float) -> tuple[float, ...]:
    """The same with this mean. Raises ConfigError."""
    mean = math.fsum(trace) / max(len(trace), 1)
    if not (mean > 0 and math.isfinite(mean) and min(trace) >= 0):
        raise ConfigError("a trace needs numbers that are not negative, and not all 0")
    return tuple(rate * mean_hz / mean for rate in trace)
