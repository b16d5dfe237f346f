"""cgroup v1: cpu.cfs_quota_us, memory.limit_in_bytes (Documentation/scheduler/sched-bwc.rst, cgroup-v1/memory.rst)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from vagus.actuators import Usage
from vagus.actuators.cgroup import DEFAULT_PERIOD_US, CgroupActuator, Limit
from vagus.actuators.hierarchy import Mount, key_values, number
from vagus.actuators.process import total
from vagus.errors import ActuateError, Unsupported
from vagus.undo import read_text

_UNLIMITED_BYTES = 1 << 62  # an unset limit reads as the largest multiple of a page


class CpuQuota:
    """cpu_cores as quota / period; the present period is kept, -1 is no limit."""

    controller = "cpu"
    file = "cpu.cfs_quota_us"

    def read(self, group: Path) -> float | None:
        quota = int(read_text(str(group / self.file)))
        return None if quota < 0 else quota / _period_us(group)

    def text(self, group: Path, value: float | None) -> str:
        return "-1" if value is None else str(round(value * _period_us(group)))


class MemoryLimit:
    """memory_bytes; -1 is no limit. The kernel rounds down to pages."""

    controller = "memory"
    file = "memory.limit_in_bytes"

    def read(self, group: Path) -> float | None:
        limit = int(read_text(str(group / self.file)))
        return float(limit) if 0 <= limit < _UNLIMITED_BYTES else None

    def text(self, group: Path, value: float | None) -> str:
        return "-1" if value is None else str(int(value))


class Cgroup1(CgroupActuator):
    """Limits in cgroup v1 hierarchies; each controller may be mounted in a place of its own."""

    name = "cgroup1"
    version = 1
    limits: ClassVar[Mapping[str, Limit]] = {"cpu_cores": CpuQuota(), "memory_bytes": MemoryLimit()}

    def _place(self, mount: Mount, present: Path, name: str) -> Path:
        # v1 groups may hold processes and groups: below the present one, all limits above keep holding
        return present if present.name == name else present / name

    def _counters(self, group: Path) -> Usage:
        stat = key_values(group / "cpu.stat")
        relative = group.relative_to(self._mount("cpu").point)
        return Usage(
            cpu_s=self._cpu_s(group, relative),
            periods=float(stat.get("nr_periods", math.nan)),
            throttled_periods=float(stat.get("nr_throttled", math.nan)),
            throttled_s=stat.get("throttled_time", math.nan) / 1e9,
            memory_bytes=self._memory_bytes(relative),
            period_s=_period_us(group) / 1e6,
        )

    def _cpu_s(self, group: Path, relative: Path) -> float:
        """cpuacct counts exactly, but is often mounted apart: the target's group may be missing there."""
        try:
            used_ns = number(self._mount("cpuacct").point / relative / "cpuacct.usage")
        except Unsupported:
            used_ns = math.nan
        if not math.isnan(used_ns):
            return used_ns / 1e9
        pids: set[int] = set()
        for procs in (group / "cgroup.procs", *group.glob("**/cgroup.procs")):
            try:
                pids.update(int(pid) for pid in read_text(str(procs)).split())
            except (OSError, ValueError):
                continue  # a group that has just gone
        return total(self.root, pids)[0]

    def _memory_bytes(self, relative: Path) -> float:
        try:
            return number(self._mount("memory").point / relative / "memory.usage_in_bytes")
        except ActuateError:
            return math.nan


def _period_us(group: Path) -> float:
    period = number(group / "cpu.cfs_period_us")
    return period if period > 0 else DEFAULT_PERIOD_US
