"""Discrete events of one machine: timed ones, and pieces of work that end when they have had their processor time.

All that runs gets the same rate: 1, or its share of the cores where more wants to run than there are. So pieces of work are
kept by a clock that only advances at that rate, and nothing is put in order anew when the rate changes.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Any, Protocol

_LOST = 1e-12


class Working(Protocol):
    """What has work under way. version: changes when an end that was told is no longer right."""

    version: int

    def due(self) -> None:
        """The work has been done."""


class Machine:
    """now_s: real time; work_s: processor time that anything which ran all along has had."""

    __slots__ = ("_serial", "_timed", "_works", "cores", "events", "now_s", "rate", "running", "work_s")

    def __init__(self, cores: float) -> None:
        self.cores = cores
        self.now_s = self.work_s = self.running = 0.0
        self.rate = 1.0
        self.events = 0
        self._serial = 0
        self._timed: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._works: list[tuple[float, int, Working, int]] = []

    def at(self, t_s: float, do: Callable[[Any], None], what: Any = None) -> None:
        """Calls do(what) at a time, after what was asked for the same time before."""
        self._serial += 1
        heapq.heappush(self._timed, (t_s, self._serial, do, what))

    def ends(self, work_s: float, working: Working, version: int) -> None:
        """Calls `working.due()` when `work_s` is reached, unless its version has changed by then."""
        self._serial += 1
        heapq.heappush(self._works, (work_s, self._serial, working, version))

    def runs(self, more: float) -> None:
        """So many more want to run: processes, or parts of one; negative: fewer."""
        running = self.running = self.running + more
        self.rate = 1.0 if running <= self.cores + _LOST else self.cores / running

    def advance(self, end_s: float) -> None:
        """Lets time pass. What is due at end_s is left for later."""
        timed, works, pop = self._timed, self._works, heapq.heappop
        while True:
            while works and works[0][3] != works[0][2].version:
                pop(works)
            at_s = timed[0][0] if timed else math.inf
            if works:
                due_s = self.now_s + (works[0][0] - self.work_s) / self.rate
                if due_s <= at_s and due_s < end_s:
                    work_s, _, working, _ = pop(works)
                    if work_s > self.work_s:
                        self.work_s = work_s
                        self.now_s = due_s
                    self.events += 1
                    working.due()
                    continue
            if at_s >= end_s:
                break
            _, _, do, what = pop(timed)
            self.work_s += (at_s - self.now_s) * self.rate
            self.now_s = at_s
            self.events += 1
            do(what)
        self.work_s += (end_s - self.now_s) * self.rate
        self.now_s = end_s
