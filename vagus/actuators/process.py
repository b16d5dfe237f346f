"""The processes of a tree and what they use, from ROOT/proc/PID/stat (proc(5))."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from vagus.errors import ActuateError, Unsupported

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Stat(NamedTuple):
    """One process: parent, CPU time of itself and of the children that it waited for, resident memory, when it began."""

    ppid: int
    cpu_s: float
    memory_bytes: float
    start_ticks: int = 0


def parse_stat(text: str) -> Stat:
    """The line of /proc/PID/stat; the name in it may hold spaces and brackets. Raises ValueError, IndexError."""
    fields = text[text.rindex(")") + 2 :].split()
    ticks = int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])
    return Stat(int(fields[1]), ticks * _TICK_S, float(int(fields[21]) * _PAGE_BYTES), int(fields[19]))


def read_stat(root: Path, pid: int) -> Stat | None:
    """A process' figures; None when it has ended."""
    try:
        with open(f"{root}/proc/{pid}/stat", "rb") as file:
            return parse_stat(file.read(4096).decode("utf-8", "replace"))
    except (OSError, ValueError, IndexError):
        return None


def total(root: Path, pids: Iterable[int]) -> tuple[float, float]:
    """CPU seconds (children that ended included) and resident bytes of these processes together."""
    found = [stat for pid in pids if (stat := read_stat(root, pid)) is not None]
    return math.fsum(s.cpu_s for s in found), math.fsum(s.memory_bytes for s in found)


class ProcessTree:
    """A process and all its descendants. Keeps who is in it, so that a look costs only the new processes.

    A process whose parent has ended stays in the tree that it was seen in. Which process is meant is told by when it
    began, from the first look on, or as it is named (`PID:START`): a later one with the same id is another.
    """

    def __init__(self, root: Path, pid: int, start_ticks: int | None = None) -> None:
        self.root = root
        self.pid = pid
        self._start_ticks = start_ticks
        self._inside: dict[int, bool] = {}

    @classmethod
    def named(cls, root: Path, name: str) -> ProcessTree:
        """From a target's name, `PID` or `PID:START` (clock ticks since the boot). Raises Unsupported."""
        pid, colon, start = name.partition(":")
        if not (pid.isdigit() and 0 < int(pid) < 1 << 31) or (colon and not start.isdigit()):
            raise Unsupported(f"target pid:{name[:80]} is not pid:NUMBER")
        return cls(root, int(pid), int(start) if colon else None)

    def check(self) -> None:
        """Raises ActuateError when the process has ended, also when another has its id now."""
        stat = read_stat(self.root, self.pid)
        if stat is None:
            self._inside.clear()
            raise ActuateError(f"process {self.pid} does not exist; name a running one, or a cgroup:PATH")
        if self._start_ticks is None:
            self._start_ticks = stat.start_ticks
        elif stat.start_ticks != self._start_ticks:
            self._inside.clear()
            raise ActuateError(f"process {self.pid} has ended, and another has its id now: name that one anew")

    def pids(self) -> list[int]:
        """Ids of all living members, the first one's included. Raises ActuateError when that one has ended."""
        try:
            present = {int(name) for name in os.listdir(self.root / "proc") if name.isdigit()}
        except OSError as error:
            raise ActuateError(f"cannot list {self.root / 'proc'}: {error.strerror}") from error
        self.check()
        self._inside = {pid: inside for pid, inside in self._inside.items() if pid in present}
        self._inside[self.pid] = True
        parents = {}
        for pid in present - self._inside.keys():
            stat = read_stat(self.root, pid)
            if stat is not None:
                parents[pid] = stat.ppid
        for pid in parents:
            self._place(pid, parents)
        return sorted(pid for pid, inside in self._inside.items() if inside)

    def _place(self, pid: int, parents: dict[int, int]) -> None:
        path = []
        while pid not in self._inside and pid in parents and pid not in path:
            path.append(pid)
            pid = parents[pid]
        inside = self._inside.get(pid, False)
        for member in path:
            self._inside[member] = inside


def read_meminfo_total(root: Path) -> float:
    """Bytes of memory of the machine, from ROOT/proc/meminfo; infinite when unknown."""
    try:
        with open(root / "proc/meminfo") as file:
            for line in file:
                if line.startswith("MemTotal:"):
                    return float(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return math.inf
