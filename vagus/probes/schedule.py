"""What to probe next, and how much probing a clique may do at most, whatever its number of nodes.

n nodes have n·(n-1) directed pairs. A clique makes at most LATENCY_PER_S latency probes and sends at most
BANDWIDTH_BYTES_S for bandwidth: once the pairs need more than that, their periods stretch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

LATENCY_PER_S = 20.0
"""Latency probes of a whole clique; one is some 3 kB on the wire."""
BANDWIDTH_BYTES_S = float(1 << 20)
"""Bytes that a whole clique sends for bandwidth, on average."""
MAX_STRETCH = 8.0
"""A pair that keeps failing is tried this much more seldom at last."""
LATENCY = "latency"
BANDWIDTH = "bandwidth"


class Periods(NamedTuple):
    """Seconds between two probes of the same pair; 0: never. round_s: of the token's way around the ring."""

    latency_s: float
    bandwidth_s: float
    round_s: float


def periods(nodes: int, latency_every_s: float, bandwidth_every_s: float, bandwidth_bytes: int) -> Periods:
    """The settings' periods, stretched for a clique of so many nodes."""
    pairs = max(0, nodes * (nodes - 1))
    latency_s = max(latency_every_s, pairs / LATENCY_PER_S) if latency_every_s else 0.0
    bandwidth_s = max(bandwidth_every_s, pairs * bandwidth_bytes / BANDWIDTH_BYTES_S) if bandwidth_every_s else 0.0
    return Periods(latency_s, bandwidth_s, min([p for p in (latency_s, bandwidth_s) if p], default=0.0))


class Schedule:
    """When each destination is due, for one node in one clique."""

    def __init__(self, periods: Periods) -> None:
        self.periods = periods
        self._due: dict[str, dict[str, float]] = {LATENCY: {}, BANDWIDTH: {}}
        self._failures: dict[tuple[str, str], int] = {}
        self._quota = 0

    def nodes(self, names: Iterable[str], periods: Periods, now_s: float) -> None:
        """Sets the destinations and their periods; new ones are due now."""
        wanted = sorted(names)
        self.periods = periods
        for kind, due in self._due.items():
            period_s = self._period_s(kind)
            latest_s = now_s + period_s * MAX_STRETCH
            self._due[kind] = {node: min(due.get(node, now_s), latest_s) for node in wanted} if period_s else {}
        self._failures = {key: n for key, n in self._failures.items() if key[1] in wanted}

    def visit(self) -> None:
        """The token came. So many bandwidth probes a visit keep up with their period, and no burst exceeds it."""
        nodes = len(self._due[BANDWIDTH])
        self._quota = math.ceil(nodes * self.periods.round_s / self.periods.bandwidth_s) if nodes else 0

    def next(self, now_s: float) -> tuple[str, str] | None:
        """Kind and destination of the probe that has been due for longest, latency first; None when none is due.

        A little before its time is due as well, else a visit of the token that comes early would skip a period.
        """
        early_s = now_s + self.periods.round_s / 2
        for kind, due in self._due.items():
            ready = [(due_s, node) for node, due_s in due.items() if due_s <= early_s]
            if ready and (kind == LATENCY or self._quota > 0):
                return kind, min(ready)[1]
        return None

    def done(self, kind: str, node: str, now_s: float, *, ok: bool) -> None:
        """The next one is due a period later; after failures in a row later still."""
        if kind == BANDWIDTH:
            self._quota -= 1
        if node in self._due[kind]:
            failures = self._failures[kind, node] = 0 if ok else self._failures.get((kind, node), 0) + 1
            # the second try comes as soon as after a success: one failure may be chance
            stretch = min(MAX_STRETCH, 2.0 ** max(0, failures - 2))
            self._due[kind][node] = now_s + self._period_s(kind) * stretch

    def _period_s(self, kind: str) -> float:
        return self.periods.latency_s if kind == LATENCY else self.periods.bandwidth_s
