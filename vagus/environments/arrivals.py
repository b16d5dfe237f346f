"""When requests come, of which type they are and how much each costs: whoever steers, a seed is the same load.

A Poisson process whose rate is that of the present second; behind its end a trace begins anew. A type's weight sways as a
slow sine with a phase of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from vagus.environments.applications import SimulatedApplication
from vagus.environments.calls import Request

BLOCK_S = 20  # drawn at once
SWAY_S = (90.0, 240.0)  # how long a weight takes to rise and fall
_TIMES, _TYPES, _SWAY, _WORK = range(4)


def generator(seed: int, what: int) -> np.random.Generator:
    """One stream of random numbers of several that do not depend on each other."""
    return np.random.Generator(np.random.PCG64((seed, what)))


class Arrivals:
    """trace: requests per second; once: none come behind its end."""

    def __init__(
        self, application: SimulatedApplication, trace: Sequence[float], seed: int, once: bool = False
    ) -> None:
        self._trace = np.asarray(trace, np.float64)
        self._once = once
        self._times, self._types, self._work = (generator(seed, what) for what in (_TIMES, _TYPES, _WORK))
        sway = generator(seed, _SWAY)
        self._weights = [(r.weight, r.sway, sway.uniform(*SWAY_S), sway.uniform()) for r in application.requests]
        self._calls = [sum(1 for _ in request.call.all()) for request in application.requests]
        self._spread = application.spread
        self._second = 0
        self._count = 0
        self._block: deque[Request] = deque()

    def next(self) -> Request | None:
        """The next one; None: no more come."""
        while not self._block:
            if self._once and self._second >= len(self._trace):
                return None
            self._draw()
        return self._block.popleft()

    def _draw(self) -> None:
        seconds = np.arange(self._second, self._second + BLOCK_S)
        rates = self._trace[seconds % len(self._trace)]
        if self._once:
            rates = np.where(seconds < len(self._trace), rates, 0.0)
        self._second += BLOCK_S
        counts = self._times.poisson(rates)
        due_s = np.repeat(seconds, counts) + self._times.uniform(size=int(counts.sum()))
        due_s.sort()
        columns = [w * (1 + sway * np.sin(2 * np.pi * (due_s / s + phase))) for w, sway, s, phase in self._weights]
        reached = np.cumsum(np.stack(columns, axis=1), axis=1)
        drawn = self._types.uniform(size=len(due_s)) * reached[:, -1]
        types = np.minimum((reached <= drawn[:, None]).sum(axis=1), len(columns) - 1).tolist()
        ends = np.cumsum([self._calls[type_] for type_ in types], dtype=np.int64).tolist()
        spread = self._spread
        factors = np.exp(spread * self._work.standard_normal(ends[-1] if ends else 0) - spread**2 / 2).tolist()
        begin = 0
        for type_, t_s, end in zip(types, due_s.tolist(), ends, strict=True):
            self._block.append(Request(self._count, type_, t_s, factors[begin:end]))
            self._count += 1
            begin = end
