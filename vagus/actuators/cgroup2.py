"""cgroup v2: one hierarchy for all controllers (Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from vagus.actuators import Usage, limits_cpu, limits_cpuset, limits_io, limits_memory
from vagus.actuators.cgroup import CgroupActuator
from vagus.actuators.hierarchy import Mount, key_values, number
from vagus.actuators.limits import Limit
from vagus.errors import Unsupported
from vagus.undo import read_text


class Cgroup2(CgroupActuator):
    """Limits in the unified hierarchy."""

    name = "cgroup2"
    version = 2
    limits: ClassVar[Mapping[str, Limit]] = {
        "cpu_cores": limits_cpu.CORES2,
        "cpu_burst_s": limits_cpu.BURST2,
        "cpu_weight": limits_cpu.WEIGHT2,
        "memory_bytes": limits_memory.MAX2,
        "memory_high_bytes": limits_memory.HIGH2,
        **limits_io.MAX2,
        "cpuset_cpus": limits_cpuset.CPUS2,
    }
    resources: tuple[str, ...] = tuple(limits)

    def _place(self, mount: Mount, present: Path, name: str) -> Path:
        # only the root may hold processes and limited groups: elsewhere the new group stands beside the present one
        if present.name == name:
            return present
        return (present if present == mount.point else present.parent) / name

    def _can_hold_limits(self, mount: Mount, parent: Path, controller: str) -> None:
        try:
            enabled = read_text(str(parent / "cgroup.subtree_control")).split()
        except OSError:
            enabled = []
        if controller not in enabled:
            raise Unsupported(
                f"the {controller} controller is not enabled below {parent}; "
                f"as root: echo +{controller} > {parent}/cgroup.subtree_control (with systemd: Delegate=yes in the unit)"
            )

    def counters(self, group: Path) -> Usage:
        stat = key_values(group / "cpu.stat")
        try:
            period_us = limits_cpu.Files2().read(group).period_us
        except (OSError, ValueError):
            period_us = limits_cpu.DEFAULT_PERIOD_US
        return Usage(
            cpu_s=stat.get("usage_usec", math.nan) / 1e6,
            periods=float(stat.get("nr_periods", math.nan)),
            throttled_periods=float(stat.get("nr_throttled", math.nan)),
            throttled_s=stat.get("throttled_usec", math.nan) / 1e6,
            memory_bytes=number(group / "memory.current"),
            period_s=period_us / 1e6,
        )
