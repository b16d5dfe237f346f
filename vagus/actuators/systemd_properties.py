"""Which property of a unit limits a resource, what to assign, and how what `systemctl show` prints is assigned again."""

from __future__ import annotations

import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from vagus.actuators.limits import Write
from vagus.errors import ActuateError

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|min|h|d|w|month|y)")
_SPAN_S = {
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1,
    "min": 60,
    "h": 3600,
    "d": 86400,
    "w": 604800,
    "month": 2629800,
    "y": 31557600,
}
_UNSET = ("infinity", "[not set]", "")


class Property(ABC):
    """name: as it is assigned; shown: as `systemctl show` calls it; only_2: systemd has it with cgroup v2 only."""

    def __init__(self, name: str, shown: str = "", only_2: bool = False) -> None:
        self.name = name
        self.shown = shown or name
        self.only_2 = only_2

    def rounded(self, value: float) -> float:
        """As systemd can keep it."""
        return value

    @abstractmethod
    def assign(self, value: float | None, writes: Sequence[Write], before: Sequence[str]) -> tuple[str, ...]:
        """Assignments for a value; writes: what the group's files would be written directly."""

    @abstractmethod
    def restore(self, before: Sequence[str]) -> tuple[str, ...]:
        """Assignments for what was shown before. Raises ActuateError when it cannot be understood."""


class Number(Property):
    """A number; `infinity` or nothing where it is unset."""

    def assign(self, value: float | None, writes: Sequence[Write], before: Sequence[str]) -> tuple[str, ...]:
        return (f"{self.name}={'' if value is None else round(value)}",)

    def restore(self, before: Sequence[str]) -> tuple[str, ...]:
        value = "".join(before)
        return (f"{self.name}={'' if value in _UNSET else value}",)


class Bytes(Number):
    """A number of bytes, rounded down."""

    def assign(self, value: float | None, writes: Sequence[Write], before: Sequence[str]) -> tuple[str, ...]:
        return (f"{self.name}={'infinity' if value is None else int(value)}",)

    def restore(self, before: Sequence[str]) -> tuple[str, ...]:
        value = "".join(before)
        return (f"{self.name}={'infinity' if value in _UNSET else value}",)


class Quota(Property):
    """CPUQuota in whole per cent of a processor: systemd takes more digits, but a reload forgets them."""

    def rounded(self, value: float) -> float:
        return max(1, round(value * 100)) / 100

    def assign(self, value: float | None, writes: Sequence[Write], before: Sequence[str]) -> tuple[str, ...]:
        return (f"{self.name}={'' if value is None else f'{round(value * 100)}%'}",)

    def restore(self, before: Sequence[str]) -> tuple[str, ...]:
        value = "".join(before)
        if value in _UNSET:
            return (f"{self.name}=",)
        return (f"{self.name}={round(seconds(value) * 100, 2):g}%",)


class Cpus(Property):
    """AllowedCPUs, those that the group's file would be written."""

    def assign(self, value: float | None, writes: Sequence[Write], before: Sequence[str]) -> tuple[str, ...]:
        cpus = "" if value is None else next(w.text for w in writes if w.file == "cpuset.cpus")
        return (f"{self.name}={cpus}",)

    def restore(self, before: Sequence[str]) -> tuple[str, ...]:
        return (f"{self.name}={''.join(before)}",)


class Disks(Property):
    """`DEVICE VALUE` for each disk: assigning one leaves the others, assigning nothing forgets all."""

    def assign(self, value: float | None, writes: Sequence[Write], before: Sequence[str]) -> tuple[str, ...]:
        called = {disk: path for path in (entry.split()[0] for entry in before if entry) if (disk := _disk(path))}
        told = "infinity" if value is None else str(int(value))
        disks = [write.part.split()[0] for write in writes]
        return tuple(f"{self.name}={called.get(disk, f'/dev/block/{disk}')} {told}" for disk in disks)

    def restore(self, before: Sequence[str]) -> tuple[str, ...]:
        return (f"{self.name}=", *(f"{self.name}={entry}" for entry in before if entry))


PROPERTIES: Mapping[str, Property] = {
    "cpu_cores": Quota("CPUQuota", "CPUQuotaPerSecUSec"),
    "cpu_weight": Number("CPUWeight"),
    "memory_bytes": Bytes("MemoryMax"),
    "memory_high_bytes": Bytes("MemoryHigh", only_2=True),
    "io_read_bytes_s": Disks("IOReadBandwidthMax"),
    "io_write_bytes_s": Disks("IOWriteBandwidthMax"),
    "io_read_ops_s": Disks("IOReadIOPSMax"),
    "io_write_ops_s": Disks("IOWriteIOPSMax"),
    "cpuset_cpus": Cpus("AllowedCPUs", only_2=True),
}


def seconds(span: str) -> float:
    """systemd's `1min 30s`, `502.500ms`. Raises ActuateError."""
    parts = span.split()
    found = [_SPAN.fullmatch(part) for part in parts]
    if not parts or None in found:
        raise ActuateError(f"systemd shows a time as {span[:40]!r}, which is not understood")
    return sum(float(match[1]) * _SPAN_S[match[2]] for match in found if match)


def _disk(path: str) -> str:
    """MAJ:MIN of a device's path, empty for anything else."""
    try:
        found = os.stat(path)
    except OSError:
        return ""
    return f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}" if stat.S_ISBLK(found.st_mode) else ""
