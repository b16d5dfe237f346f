"""Where requests come in: how long they take, as the load generator tells it: windows every half second over the last two.

Who waits counts with its age, who failed as if answered when one gives up.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

from vagus.environments.arrivals import Arrivals
from vagus.environments.calls import Place, Request
from vagus.environments.machine import Machine

WINDOW_S, EVERY_S = 2.0, 0.5
GIVEN_UP_S = 10.0


class Window(NamedTuple):
    """p99_s: NaN where there was none."""

    t_s: float
    p99_s: float
    rate_hz: float
    types_hz: tuple[float, ...]


class Ingress:
    """Sends requests, and notes what becomes of them. slo_s: later is a violation, as is a failure."""

    def __init__(self, machine: Machine, arrivals: Arrivals, types: int, slo_s: float) -> None:
        self._machine = machine
        self._arrivals = arrivals
        self._slo_s = slo_s
        self._types = types
        self._recent: deque[Request] = deque()  # due within the window
        self._waiting: dict[int, Request] = {}
        self._roots: list[Place] = []
        self.windows: deque[Window] = deque(maxlen=20)
        self.log: list[Request] | None = None  # all requests in the order in which they end, where asked for
        self.came = self.ended = self.violations = self.failures = 0

    def begin(self, roots: list[Place]) -> None:
        """From now on requests come."""
        self._roots = roots
        for root in roots:
            root.answered, root.failed = self.answered, self.failed
        self._next()
        self._machine.at(self._machine.now_s + EVERY_S, self._look)

    @property
    def waiting(self) -> int:
        """Requests that have not been answered."""
        return len(self._waiting)

    def _next(self) -> None:
        request = self._arrivals.next()
        if request is not None:
            self._machine.at(request.due_s, self._send, request)

    def _send(self, request: Request) -> None:
        self.came += 1
        self._recent.append(request)
        self._waiting[request.number] = request
        self._roots[request.type].call(request, None)
        self._next()

    def answered(self, request: Request) -> None:
        """The root of a request's tree has answered."""
        if not request.dead:
            self._end(request, self._machine.now_s - request.due_s)

    def failed(self, request: Request) -> None:
        """It was refused, or given up."""
        request.dead = True
        self.failures += 1
        self._end(request, math.inf)

    def _end(self, request: Request, latency_s: float) -> None:
        request.latency_s = latency_s
        del self._waiting[request.number]
        self.ended += 1
        self.violations += latency_s > self._slo_s
        if self.log is not None:
            self.log.append(request)

    def _look(self, _: None) -> None:
        now_s, recent = self._machine.now_s, self._recent
        self._machine.at(now_s + EVERY_S, self._look)
        while self._waiting and now_s - (oldest := next(iter(self._waiting.values()))).due_s >= GIVEN_UP_S:
            self.failed(oldest)
        while recent and recent[0].due_s <= now_s - WINDOW_S:
            recent.popleft()
        took = []
        for request in self._waiting.values():
            if request.due_s > now_s - WINDOW_S:
                break
            took.append(now_s - request.due_s)
        counts = [0] * self._types
        for request in recent:
            counts[request.type] += 1
            latency_s = request.latency_s
            took.append(min(latency_s, GIVEN_UP_S) if latency_s >= 0 else now_s - request.due_s)
        took.sort()
        p99_s = took[math.ceil(0.99 * len(took)) - 1] if took else math.nan
        lasted_s = min(WINDOW_S, now_s)
        types_hz = tuple(count / lasted_s for count in counts)
        self.windows.append(Window(now_s, p99_s, len(recent) / lasted_s, types_hz))
