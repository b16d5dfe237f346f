"""cgroup v1: a hierarchy for each controller (Documentation/admin-guide/cgroup-v1)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from vagus.actuators import Usage, limits_cpu, limits_cpuset, limits_io, limits_memory
from vagus.actuators.cgroup import CgroupActuator
from vagus.actuators.hierarchy import Mount, key_values, number
from vagus.actuators.limits import Limit
from vagus.actuators.process import total
from vagus.errors import ActuateError, Unsupported
from vagus.undo import read_text


class Cgroup1(CgroupActuator):
    """Limits in cgroup v1 hierarchies; each controller may be mounted in a place of its own."""

    name = "cgroup1"
    version = 1
    limits: ClassVar[Mapping[str, Limit]] = {
        "cpu_cores": limits_cpu.CORES1,
        "cpu_burst_s": limits_cpu.BURST1,
        "cpu_weight": limits_cpu.WEIGHT1,
        "memory_bytes": limits_memory.LIMIT1,
        **limits_io.THROTTLE1,
        "cpuset_cpus": limits_cpuset.CPUS1,
    }
    impossible: ClassVar[Mapping[str, str]] = {
        "memory_high_bytes": "version 1 has no limit that slows down instead of refusing; use memory_bytes, or boot with "
        "systemd.unified_cgroup_hierarchy=1",
        "memory_bytes": "version 1 does not move a process' memory with it; name its group, cgroup:PATH",
    }
    resources: tuple[str, ...] = tuple({**limits, **impossible})

    def _place(self, mount: Mount, present: Path, name: str) -> Path:
        # v1 groups may hold processes and groups: below the present one, all limits above keep holding
        return present if present.name == name else present / name

    def counters(self, group: Path) -> Usage:
        stat = key_values(group / "cpu.stat")
        relative = group.relative_to(self.mount("cpu").point)
        return Usage(
            cpu_s=self._cpu_s(group, relative),
            periods=float(stat.get("nr_periods", math.nan)),
            throttled_periods=float(stat.get("nr_throttled", math.nan)),
            throttled_s=stat.get("throttled_time", math.nan) / 1e9,
            memory_bytes=self._memory_bytes(relative),
            period_s=limits_cpu.period_us(group) / 1e6,
        )

    def _cpu_s(self, group: Path, relative: Path) -> float:
        """cpuacct counts exactly, but is often mounted apart: the target's group may be missing there."""
        try:
            used_ns = number(self.mount("cpuacct").point / relative / "cpuacct.usage")
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
            return number(self.mount("memory").point / relative / "memory.usage_in_bytes")
        except ActuateError:
            return math.nan
