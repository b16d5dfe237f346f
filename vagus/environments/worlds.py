"""Simulated worlds, drawn within the ranges of train.yaml: another load, objective and trouble with every seed."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np

from vagus.config import RangeSettings, WorldSettings, seconds
from vagus.environments import World
from vagus.environments.applications import APPLICATIONS, SimulatedApplication, read_demands
from vagus.environments.rates import Rates, made
from vagus.environments.simulated import CORES, Injection, SimulatedWorld
from vagus.environments.training import Maker
from vagus.errors import ConfigError

TRACE_S = 900
HOG_S = (8.0, 25.0)


def simulated(settings: WorldSettings) -> Maker:
    """Makes the world of a seed. Raises ConfigError for an application that there is not."""
    build = APPLICATIONS.get(settings.application)
    if build is None:
        known = ", ".join(sorted(APPLICATIONS))
        raise ConfigError(f"world.application: there is no {settings.application!r} to simulate; there are: {known}")
    application = build()
    if settings.demands:
        application = application._replace(demands_ms=read_demands(Path(settings.demands).expanduser())).check()
    return partial(_drawn, settings, application)


def _drawn(settings: WorldSettings, application: SimulatedApplication, seed: int) -> World:
    rng = np.random.default_rng((seed, 0x301D))
    rates = Rates(
        mean_hz=_within(settings.rate_hz, rng),
        swing=_within(settings.swing, rng),
        day_s=float(rng.uniform(120.0, 400.0)),
        noise=_within(settings.noise, rng),
    )
    demand, slo_s = _within(settings.demand_ratio, rng), _within(settings.slo, rng)
    return SimulatedWorld(
        application.scaled(demand),
        made(rates, TRACE_S, int(rng.integers(2**31))),
        period_s=seconds(settings.period),
        slo_s=slo_s,
        bounds={CORES: (settings.min_cores, settings.max_cores)},
        start=settings.start_cores,
        cores=_within(settings.cores, rng),
        noise=settings.blur,
        injections=_hogs(settings, application, rng),
    )


def _hogs(settings: WorldSettings, application: SimulatedApplication, rng: np.random.Generator) -> list[Injection]:
    """One after the other, in any service's group, at a mean distance."""
    found: list[Injection] = []
    between_s = 60.0 / _within(settings.hogs_per_minute, rng)
    t_s = float(rng.exponential(between_s))
    while t_s < TRACE_S:
        service = application.services[int(rng.integers(len(application.services)))].name
        for_s = float(rng.uniform(*HOG_S))
        found.append(Injection(t_s, for_s, service, _within(settings.hog_cores, rng)))
        t_s += for_s + float(rng.exponential(between_s))
    return found


def _within(given: RangeSettings, rng: np.random.Generator) -> float:
    return math.exp(rng.uniform(math.log(given.low), math.log(given.high)))
