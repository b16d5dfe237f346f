"""What the machine has to give, from ROOT/proc and ROOT/sys: processors and their nodes, memory, disks."""

from __future__ import annotations

import math
import os
from pathlib import Path

from vagus.actuators.process import read_meminfo_total
from vagus.errors import Unsupported
from vagus.undo import read_text

_MAX_MOUNTINFO = 1 << 20
_NO_DISKS = (1, 7, 11)  # ram disks, loops over files of other disks, optical drives


class Machine:
    """Asked anew each time, but for the amount of memory: processors go on and off, disks come and go."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._memory_bytes = 0.0
        self.cpus_known = 0.0  # so many there were when it was last asked

    @property
    def memory_bytes(self) -> float:
        """Infinite when unknown."""
        self._memory_bytes = self._memory_bytes or read_meminfo_total(self.root)
        return self._memory_bytes

    @property
    def cpus(self) -> float:
        """How many processors are online; infinite when unknown."""
        self.cpus_known = float(len(self.online)) or math.inf
        return self.cpus_known

    @property
    def online(self) -> frozenset[int]:
        """Empty when unknown."""
        return self._list(self.root / "sys/devices/system/cpu/online")

    def nodes(self) -> list[frozenset[int]]:
        """The processors of each NUMA node; empty when unknown."""
        folder = self.root / "sys/devices/system/node"
        try:
            names = sorted(name for name in os.listdir(folder) if name[:4] == "node" and name[4:].isdigit())
        except OSError:
            return []
        return [cpus for name in names if (cpus := self._list(folder / name / "cpulist"))]

    def _list(self, path: Path) -> frozenset[int]:
        try:
            return parse_list(read_text(str(path)))
        except (OSError, ValueError):
            return frozenset()

    # --- disks -----------------------------------------------------------------------------------------------------

    def disk(self, device: str) -> str:
        """MAJ:MIN of the whole disk that device MAJ:MIN is, or is a part of. Raises Unsupported, saying which there are."""
        major, colon, minor = device.partition(":")
        folder = self.root / "sys/dev/block" / device
        if not (colon and major.isdigit() and minor.isdigit() and folder.exists()):
            there = ", ".join(self.disks()) or "none that holds a file system"
            raise Unsupported(f"{device[:40]!r} is no block device of this machine, by MAJ:MIN; its disks are {there}")
        whole = folder.resolve()
        if (whole / "partition").exists():
            whole = whole.parent
        try:
            return read_text(str(whole / "dev"))
        except OSError:
            return device

    def disks(self) -> tuple[str, ...]:
        """MAJ:MIN of every whole disk that holds a mounted file system."""
        try:
            with open(self.root / "proc/self/mountinfo", "rb") as file:
                lines = file.read(_MAX_MOUNTINFO).decode("utf-8", "surrogateescape").splitlines()
        except OSError:
            return ()
        found = set()
        for line in lines:
            left, _, right = line.partition(" - ")
            fields, kind = left.split(), right.split()
            if len(fields) < 6 or len(kind) < 2:
                continue
            device = fields[2] if not fields[2].startswith("0:") else self._device(kind[1])
            if (
                device
                and int(device.split(":")[0]) not in _NO_DISKS
                and (self.root / "sys/dev/block" / device).exists()
            ):
                found.add(self.disk(device))
        return tuple(sorted(found, key=lambda disk: [int(part) for part in disk.split(":")]))

    def _device(self, source: str) -> str:
        """MAJ:MIN of a file system that hides it behind a number of its own, as btrfs does."""
        if not source.startswith("/dev/"):
            return ""
        name = os.path.basename(os.path.realpath(self.root / source[1:]))
        try:
            return read_text(str(self.root / "sys/class/block" / name / "dev"))
        except OSError:
            return ""


def parse_list(text: str) -> frozenset[int]:
    """The kernel's `0-3,8`. Raises ValueError."""
    found: set[int] = set()
    for part in text.split(","):
        if part.strip():
            first, dash, last = part.partition("-")
            found.update(range(int(first), int(last if dash else first) + 1))
    return frozenset(found)


def list_text(numbers: frozenset[int]) -> str:
    """Numbers as the kernel writes them: `0-3,8`."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
