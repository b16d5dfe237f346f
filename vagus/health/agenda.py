"""What is to be done when: a core's own timers, performed by whoever ticks it."""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any


class Agenda:
    """Steps by the time at which they are due, those of the same time in the order in which they came."""

    def __init__(self) -> None:
        self._steps: list[tuple[float, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, due_s: float, step: Callable[..., Any], *args: Any) -> None:
        """`step(*args)`, once `run` is called at `due_s` or later."""
        self._count += 1
        heappush(self._steps, (due_s, self._count, step, args))

    def run(self, now_s: float) -> None:
        """Performs what is due, what that adds included."""
        while self._steps and self._steps[0][0] <= now_s:
            _, _, step, args = heappop(self._steps)
            step(*args)

    def clear(self) -> None:
        """Nothing more is to be done."""
        self._steps.clear()

    @property
    def due_s(self) -> float:
        """When the next step is due; infinite without any."""
        return self._steps[0][0] if self._steps else math.inf
