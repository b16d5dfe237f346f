"""Whether requests are as fast as their service level objective wants, by entry operation. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from vagus.traces import Graph

MAX_ENTRIES = 200
MAX_REQUESTS = 2000  # of one, the newest
SHARE = 0.99


class Entry(NamedTuple):
    """An operation that requests begin with: how many were in the window, and the 99th percentile of their latency."""

    service: str
    operation: str
    requests: int
    p99_ms: float
    violated: bool

    @property
    def subject(self) -> str:
        return f"entry:{self.service} {self.operation}"


class Entries:
    """Latencies of the window. slo_ms 0: there is no objective, nothing is kept."""

    def __init__(self, slo_ms: float, window_ns: int, least: int) -> None:
        self._slo_ms = slo_ms
        self._window_ns = window_ns
        self._least = least
        self._seen: dict[tuple[str, str], deque[tuple[int, int]]] = {}

    def add(self, graphs: Iterable[Graph], now_ns: int) -> None:
        """Requests that are joined now."""
        if self._slo_ms <= 0:
            return
        for graph in graphs:
            root = graph.spans[graph.root]
            key = (root.service, root.operation)
            seen = self._seen.get(key)
            if seen is None:
                if len(self._seen) >= MAX_ENTRIES:
                    continue
                seen = self._seen[key] = deque(maxlen=MAX_REQUESTS)
            seen.append((now_ns, graph.latency_ns))

    def judged(self, now_ns: int) -> list[Entry]:
        """Every entry with enough requests in the window; the others are not judged."""
        found = []
        for (service, operation), seen in list(self._seen.items()):
            while seen and not 0 <= now_ns - seen[0][0] <= self._window_ns:
                seen.popleft()
            if not seen:
                del self._seen[service, operation]
            elif len(seen) >= self._least:
                latencies = sorted(latency for _, latency in seen)
                p99_ms = latencies[max(0, math.ceil(SHARE * len(latencies)) - 1)] / 1e6
                found.append(Entry(service, operation, len(seen), p99_ms, p99_ms > self._slo_ms))
        return found
