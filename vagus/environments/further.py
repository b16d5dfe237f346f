"""Resources beside the processor, simply: what a service needs of them slows it down where its limit is lower.

A second of a service's processor time needs so much of each (`amounts`): percent of the machine's memory bandwidth and ways
of cache while it runs, bytes read and sent all in all. Of bandwidth and ways the scarcest slows it down; bytes wait for
their turn at the rate of the limit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from vagus.environments.machine import Machine

BANDWIDTH, WAYS = "memory_bandwidth_percent", "llc_ways"
BYTES = ("io_read_bytes_s", "net_bytes_s")
RESOURCES = (BANDWIDTH, WAYS, *BYTES)
MISSES = 1.5  # how much slower it is without any cache
LEAST = 0.02  # of what is needed, where others use all of it


class Further:
    """Those of a service. amounts: what a second of its work needs; limits: what it may use, infinite at first."""

    __slots__ = ("_amounts", "_free_s", "_machine", "_used", "limits", "strained", "work_s")

    def __init__(self, machine: Machine, amounts: Mapping[str, float]) -> None:
        self._machine = machine
        self._amounts = {resource: amounts.get(resource, 0.0) for resource in RESOURCES}
        self.limits = dict.fromkeys(RESOURCES, math.inf)
        self.strained = dict.fromkeys(RESOURCES, 0.0)  # what others take of it
        self._free_s = dict.fromkeys(BYTES, 0.0)  # when all that was asked for will have gone through
        self._used = dict.fromkeys(BYTES, 0.0)
        self.work_s = 0.0  # asked for, before it was slowed down

    def taken(self, work_s: float) -> tuple[float, float]:
        """For a call with so much work: how many times slower that is, and seconds that it waits before."""
        self.work_s += work_s
        bandwidth = _lack(self._amounts[BANDWIDTH], self._left(BANDWIDTH))
        ways = self._amounts[WAYS]
        present = min(self._left(WAYS), ways) / ways if ways else 1.0
        slower = max(bandwidth, 1.0 + MISSES * (1.0 - present))
        now_s, wait_s = self._machine.now_s, 0.0
        for resource in BYTES:
            left = self._left(resource)
            count = self._amounts[resource] * work_s
            self._used[resource] += count
            if left < math.inf and count:
                begin_s = max(self._free_s[resource], now_s)
                self._free_s[resource] = begin_s + count / left
                wait_s = max(wait_s, self._free_s[resource] - now_s)
        return slower, wait_s

    def uses(self, usage_cores: float, elapsed_s: float) -> dict[str, float]:
        """What was used since the last time, by resource, in the unit of its limit."""
        found = {}
        for resource in RESOURCES:
            limit, strained = self.limits[resource], self.strained[resource]
            if resource in BYTES:
                used = self._used[resource] / elapsed_s
                self._used[resource] = 0.0
            elif resource == BANDWIDTH:
                used = self._amounts[resource] * min(usage_cores, 1.0)
            else:
                used = self._amounts[resource] * min(1.0, 4.0 * usage_cores)  # a service that rests loses its lines
            found[resource] = min(used + strained, limit)
        return found

    def _left(self, resource: str) -> float:
        limit = self.limits[resource]
        return max(limit - self.strained[resource], LEAST * limit) if limit < math.inf else limit


def _lack(needed: float, there: float) -> float:
    return max(1.0, needed / there) if there > 0 else 1.0
