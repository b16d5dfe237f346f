"""cpu_cores, cpu_burst_s and cpu_weight in both versions (Documentation/scheduler/sched-bwc.rst, cgroup-v2.rst).

A burst may not exceed its quota, so the order of undoing matters: the burst is lowered first, then the quota set, then
the burst that was. Both limits undo both files, so that the journal, which keeps the first undoing of each, has them
in this order whichever was limited first.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

from vagus.actuators.hierarchy import number
from vagus.actuators.limits import Change, Write, at_most, text_of
from vagus.actuators.machine import Machine
from vagus.errors import Rejected
from vagus.undo import read_text

DEFAULT_PERIOD_US = 100_000
DEFAULT_WEIGHT = 100


class Bandwidth(NamedTuple):
    """A group's quota (None: no limit) in each period, and what it may save up for a burst, in microseconds."""

    quota_us: int | None
    period_us: int
    burst_us: int | None  # None: this kernel has none


class Files(Protocol):
    """Where a version keeps them. Methods raise OSError, ValueError."""

    quota: str
    burst: str

    def read(self, group: Path) -> Bandwidth: ...

    def cores(self, group: Path) -> float | None:
        """quota / period alone; raises OSError also where there is no such file."""

    def text(self, quota_us: int | None, period_us: int) -> str:
        """What to write for a quota."""

    def least_above(self, group: Path) -> tuple[Path, float] | None:
        """The nearest limited group above whose cores no group below may exceed; None where that is allowed."""


class Files1:
    """cpu.cfs_quota_us (-1: none), cpu.cfs_period_us, cpu.cfs_burst_us (since Linux 5.14)."""

    quota = "cpu.cfs_quota_us"
    burst = "cpu.cfs_burst_us"

    def read(self, group: Path) -> Bandwidth:
        quota_us = int(text_of(group, self.quota, "-1"))
        return Bandwidth(None if quota_us < 0 else quota_us, period_us(group), _burst_us(group / self.burst))

    def cores(self, group: Path) -> float | None:
        quota_us = int(read_text(f"{group}/{self.quota}"))
        return None if quota_us < 0 else quota_us / period_us(group)

    def text(self, quota_us: int | None, period_us: int) -> str:
        return "-1" if quota_us is None else str(quota_us)

    def least_above(self, group: Path) -> tuple[Path, float] | None:
        above = group.parent
        while (above.parent / self.quota).exists():  # the hierarchy's own folder has no limit
            quota_us = number(above / self.quota)
            if quota_us > 0:
                return above, quota_us / period_us(above)
            above = above.parent
        return None


class Files2:
    """cpu.max (`QUOTA PERIOD`, `max`: none), cpu.max.burst (since Linux 5.14)."""

    quota = "cpu.max"
    burst = "cpu.max.burst"

    def read(self, group: Path) -> Bandwidth:
        quota, period = text_of(group, self.quota, f"max {DEFAULT_PERIOD_US}").split()
        return Bandwidth(None if quota == "max" else int(quota), int(period), _burst_us(group / self.burst))

    def cores(self, group: Path) -> float | None:
        quota, period = read_text(f"{group}/{self.quota}").split()
        return None if quota == "max" else int(quota) / int(period)

    def text(self, quota_us: int | None, period_us: int) -> str:
        return f"{'max' if quota_us is None else quota_us} {period_us}"

    def least_above(self, group: Path) -> tuple[Path, float] | None:
        return None


class CpuCores:
    """cpu_cores as quota / period; the present period is kept."""

    controller = "cpu"
    tree = True

    def __init__(self, files: Files) -> None:
        self._files = files
        self.file = files.quota

    def read(self, group: Path, part: str, machine: Machine) -> float | None:
        return self._files.cores(group)

    def change(self, group: Path, value: float | None, part: str, machine: Machine) -> Change:
        now = self._files.read(group)
        quota_us = None
        if value is not None:
            if value > machine.cpus_known:
                at_most(group, self.file, value, machine.cpus, "the processors of this machine are")
            above = self._files.least_above(group)
            if above is not None:
                at_most(group, self.file, value, above[1], f"raise it for {above[0]} above first, whose cores are")
            quota_us = round(value * now.period_us)
            if now.burst_us and now.burst_us > quota_us:
                why = f"its burst of {now.burst_us} us is larger: lower cpu_burst_s first"
                raise Rejected(str(group / self.file), str(quota_us), why)
        write = Write(self.file, self._files.text(quota_us, now.period_us))
        return Change((write,), _undo(self._files, now), None if quota_us is None else quota_us / now.period_us)


class CpuBurst:
    """cpu_burst_s: what may be saved up of quotas not used, in seconds of CPU time. None: none may."""

    controller = "cpu"
    tree = True

    def __init__(self, files: Files) -> None:
        self._files = files
        self.file = files.burst

    def read(self, group: Path, part: str, machine: Machine) -> float | None:
        burst_us = int(read_text(str(group / self.file)))
        return burst_us / 1e6 if burst_us else None

    def change(self, group: Path, value: float | None, part: str, machine: Machine) -> Change:
        now = self._files.read(group)
        burst_us = 0 if value is None else round(value * 1e6)
        if now.quota_us is not None and burst_us > now.quota_us:
            why = f"a burst may not exceed the quota, {now.quota_us} us in {now.period_us} us: raise cpu_cores first"
            raise Rejected(str(group / self.file), str(burst_us), why)
        write = Write(self.file, str(burst_us))
        return Change((write,), _undo(self._files, now), burst_us / 1e6 if burst_us else None)


class CpuWeight:
    """cpu_weight: the share among neighbours where all are busy, 1 to 10,000; the kernel gives 100, and None asks for that."""

    controller = "cpu"
    tree = True

    def __init__(self, file: str, of_default: int) -> None:
        self.file = file
        self._scale = of_default / DEFAULT_WEIGHT

    def read(self, group: Path, part: str, machine: Machine) -> float | None:
        return int(read_text(str(group / self.file))) / self._scale

    def change(self, group: Path, value: float | None, part: str, machine: Machine) -> Change:
        wanted = DEFAULT_WEIGHT if value is None else value
        if not 1 <= wanted <= 10_000:
            raise Rejected(str(group / self.file), f"{wanted:g}", "cpu_weight is from 1 to 10000")
        text = str(round(wanted * self._scale))
        before = text_of(group, self.file, str(round(DEFAULT_WEIGHT * self._scale)))
        return Change((Write(self.file, text),), (Write(self.file, before),), int(text) / self._scale)


CORES1, CORES2 = CpuCores(Files1()), CpuCores(Files2())
BURST1, BURST2 = CpuBurst(Files1()), CpuBurst(Files2())
WEIGHT1 = CpuWeight("cpu.shares", 1024)  # 1024 shares weigh as 100 in version 2, to the scheduler itself
WEIGHT2 = CpuWeight("cpu.weight", DEFAULT_WEIGHT)


def period_us(group: Path) -> int:
    """The length of a period in version 1."""
    period = number(group / "cpu.cfs_period_us")
    return int(period) if period > 0 else DEFAULT_PERIOD_US


def _burst_us(file: Path) -> int | None:
    try:
        return int(read_text(str(file)))
    except FileNotFoundError:
        return None


def _undo(files: Files, now: Bandwidth) -> tuple[Write, ...]:
    quota = Write(files.quota, files.text(now.quota_us, now.period_us))
    if now.burst_us is None:
        return (quota,)
    burst = Write(files.burst, str(now.burst_us))
    return (burst, quota) if now.burst_us == 0 else (Write(files.burst, "0", "first"), quota, burst)
