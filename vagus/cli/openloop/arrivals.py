"""When requests are due, and of which types they are. Pure: the same seed is the same load."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vagus.cli.openloop.plan import Plan
from vagus.config import RequestSettings

Floats = npt.NDArray[np.float64]
SWAY_S = (90.0, 240.0)
"""How long a type's weight takes to rise and fall: evenly drawn between these."""
_TIMES, _TYPES, _SWAY = range(3)


def generator(seed: int, what: int) -> np.random.Generator:
    """One stream of random numbers of several that do not depend on each other."""
    return np.random.Generator(np.random.PCG64((seed, what)))


def due_s(plan: Plan) -> Floats:
    """When each request is due, (n,) float64 in order: a Poisson process with the rate of the present second.

    Arrivals of rate 1 are put where the integral of the rates has reached them (time change: Çinlar, Introduction to
    Stochastic Processes, 4.7).
    """
    run_s = plan.for_s
    edges = np.minimum(np.arange(len(plan.rates_hz) + 1, dtype=np.float64), run_s)
    rates = np.asarray(plan.rates_hz)
    if plan.warm_s:
        edges, mean = np.concatenate([[-plan.warm_s], edges]), np.diff(edges) @ rates / run_s
        rates = np.concatenate([[mean], rates])
    reached = np.concatenate([[0.0], np.cumsum(np.diff(edges) * rates)])
    total, rng = float(reached[-1]), generator(plan.seed, _TIMES)
    at = np.zeros(0)
    while not len(at) or at[-1] < total:
        more = rng.exponential(size=max(64, int(1.1 * total) + 1 - len(at)))
        at = np.concatenate([at, (at[-1] if len(at) else 0.0) + np.cumsum(more)])
    return np.interp(at[at < total], reached, edges)


def weights(requests: Sequence[RequestSettings], t_s: Floats, seed: int) -> Floats:
    """The weight of each type at each time, (n, types): it sways by `sway` as a slow sine with a phase of its own."""
    rng = generator(seed, _SWAY)
    columns = []
    for request in requests:
        period_s, phase = rng.uniform(*SWAY_S), rng.uniform()
        columns.append(request.weight * (1 + request.sway * np.sin(2 * np.pi * (t_s / period_s + phase))))
    return np.stack(columns, axis=1)


def types(requests: Sequence[RequestSettings], t_s: Floats, seed: int) -> npt.NDArray[np.int64]:
    """The type of each request, (n,): its place in `requests`, drawn by the weights of its time."""
    reached = np.cumsum(weights(requests, t_s, seed), axis=1)
    drawn = generator(seed, _TYPES).uniform(size=len(t_s)) * reached[:, -1]
    place = (reached <= drawn[:, None]).sum(axis=1)
    found: npt.NDArray[np.int64] = np.minimum(place, len(requests) - 1).astype(np.int64)
    return found
