"""io_{read,write}_{bytes,ops}_s: what a group may read and write, in lines for each disk.

`@MAJ:MIN` names one disk (a partition means its disk: the kernel limits whole ones), without it all are meant that
hold mounted file systems. Version 1 limits what goes to the disk at once; writes through the page cache are nobody's
there. (Documentation/admin-guide/cgroup-v1/blkio-controller.rst, cgroup-v2.rst)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from vagus.actuators.limits import Change, Write, text_of, whole
from vagus.actuators.machine import Machine
from vagus.errors import Unsupported
from vagus.undo import read_text


class _Disks(ABC):
    controller = "blkio"
    file = ""
    tree = True

    def read(self, group: Path, part: str, machine: Machine) -> float | None:
        """The least of the disks' limits; None where none has one."""
        now = self._lines(read_text(str(group / self.file)))
        found = [now[disk] for disk in self._of(part, machine) if disk in now]
        return float(min(found)) if found else None

    def change(self, group: Path, value: float | None, part: str, machine: Machine) -> Change:
        disks = self._of(part, machine)
        wanted = None if value is None else whole(group, self.file, value)
        now = self._lines(text_of(group, self.file, ""))
        return Change(
            tuple(self._write(disk, wanted) for disk in disks),
            tuple(self._write(disk, now.get(disk)) for disk in disks),
            None if wanted is None else float(wanted),
        )

    def _of(self, part: str, machine: Machine) -> tuple[str, ...]:
        disks = (machine.disk(part),) if part else machine.disks()
        if not disks:
            raise Unsupported(
                "no disk of this machine holds a mounted file system (only memory and network file systems do); "
                "name one as in io_read_bytes_s@8:0"
            )
        return disks

    @abstractmethod
    def _lines(self, text: str) -> dict[str, int]:
        """The limits by disk. Raises ValueError."""

    @abstractmethod
    def _write(self, disk: str, value: int | None) -> Write: ...


class Throttle1(_Disks):
    """blkio.throttle.*_device: `MAJ:MIN N`; 0 removes the line."""

    def __init__(self, way: str, unit: str) -> None:
        self.file = f"blkio.throttle.{way}_{unit}_device"

    def _lines(self, text: str) -> dict[str, int]:
        return {words[0]: int(words[1]) for line in text.splitlines() if len(words := line.split()) == 2}

    def _write(self, disk: str, value: int | None) -> Write:
        return Write(self.file, f"{disk} {value or 0}", disk)


class Max2(_Disks):
    """io.max: `MAJ:MIN rbps=N wbps=max riops=max wiops=max`; a line without any limit vanishes."""

    controller = "io"
    file = "io.max"

    def __init__(self, key: str) -> None:
        self._key = key

    def _lines(self, text: str) -> dict[str, int]:
        found = {}
        for disk, *pairs in map(str.split, filter(None, text.splitlines())):
            value = dict(pair.split("=", 1) for pair in pairs).get(self._key, "max")
            if value != "max":
                found[disk] = int(value)
        return found

    def _write(self, disk: str, value: int | None) -> Write:
        return Write(self.file, f"{disk} {self._key}={'max' if value is None else value}", f"{disk} {self._key}")


THROTTLE1 = {
    "io_read_bytes_s": Throttle1("read", "bps"),
    "io_write_bytes_s": Throttle1("write", "bps"),
    "io_read_ops_s": Throttle1("read", "iops"),
    "io_write_ops_s": Throttle1("write", "iops"),
}
MAX2 = {
    "io_read_bytes_s": Max2("rbps"),
    "io_write_bytes_s": Max2("wbps"),
    "io_read_ops_s": Max2("riops"),
    "io_write_ops_s": Max2("wiops"),
}
