"""cgroup v2: cpu.max, memory.max (Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from vagus.actuators import Usage
from vagus.actuators.cgroup import DEFAULT_PERIOD_US, CgroupActuator, Limit
from vagus.actuators.hierarchy import Mount, key_values, number
from vagus.errors import Unsupported
from vagus.undo import read_text


class CpuMax:
    """cpu_cores as `QUOTA PERIOD`; the present period is kept, `max` is no limit."""

    controller = "cpu"
    file = "cpu.max"

    def read(self, group: Path) -> float | None:
        quota, period_us = _cpu_max(group)
        return None if quota == "max" else int(quota) / period_us

    def text(self, group: Path, value: float | None) -> str:
        period_us = _cpu_max(group)[1] if (group / self.file).exists() else DEFAULT_PERIOD_US
        return f"{'max' if value is None else round(value * period_us)} {period_us}"


class MemoryMax:
    """memory_bytes; `max` is no limit. The kernel rounds down to pages."""

    controller = "memory"
    file = "memory.max"

    def read(self, group: Path) -> float | None:
        limit = read_text(str(group / self.file))
        return None if limit == "max" else float(int(limit))

    def text(self, group: Path, value: float | None) -> str:
        return "max" if value is None else str(int(value))


class Cgroup2(CgroupActuator):
    """Limits in the unified hierarchy."""

    name = "cgroup2"
    version = 2
    limits: ClassVar[Mapping[str, Limit]] = {"cpu_cores": CpuMax(), "memory_bytes": MemoryMax()}

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

    def _counters(self, group: Path) -> Usage:
        stat = key_values(group / "cpu.stat")
        try:
            period_us = _cpu_max(group)[1]
        except (OSError, ValueError):
            period_us = DEFAULT_PERIOD_US
        return Usage(
            cpu_s=stat.get("usage_usec", math.nan) / 1e6,
            periods=float(stat.get("nr_periods", math.nan)),
            throttled_periods=float(stat.get("nr_throttled", math.nan)),
            throttled_s=stat.get("throttled_usec", math.nan) / 1e6,
            memory_bytes=number(group / "memory.current"),
            period_s=period_us / 1e6,
        )


def _cpu_max(group: Path) -> tuple[str, int]:
    quota, period_us = read_text(str(group / "cpu.max")).split()
    return quota, int(period_us)
