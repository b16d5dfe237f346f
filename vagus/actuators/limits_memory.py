"""memory_bytes and memory_high_bytes (cgroup-v1/memory.rst, cgroup-v2.rst). The kernel rounds down to pages."""

from __future__ import annotations

import math
import os
from pathlib import Path

from vagus.actuators.hierarchy import key_values, number
from vagus.actuators.limits import Change, Write, at_most, text_of
from vagus.actuators.machine import Machine
from vagus.errors import ActuateError, Rejected
from vagus.undo import read_text

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_UNLIMITED_BYTES = 1 << 62  # version 1 shows the largest multiple of a page
_GIVEN_BACK = ("active_file", "inactive_file", "slab_reclaimable")


class Memory:
    """A file with bytes; `unlimited` is what is written for none."""

    controller = "memory"

    def __init__(self, file: str, unlimited: str, tree: bool) -> None:
        self.file = file
        self.tree = tree
        self._unlimited = unlimited

    def read(self, group: Path, part: str, machine: Machine) -> float | None:
        limit = read_text(str(group / self.file))
        return None if limit == "max" or not 0 <= int(limit) < _UNLIMITED_BYTES else float(int(limit))

    def change(self, group: Path, value: float | None, part: str, machine: Machine) -> Change:
        before = Write(self.file, text_of(group, self.file, self._unlimited))
        if value is None:
            return Change((Write(self.file, self._unlimited),), (before,), None)
        at_most(group, self.file, value, machine.memory_bytes, "the bytes of this machine are")
        self._check(group, value)
        pages = float(int(value) // _PAGE_BYTES * _PAGE_BYTES)
        return Change((Write(self.file, str(int(value))),), (before,), pages)

    def _check(self, group: Path, value: float) -> None:
        """Raises Rejected for what would do harm: version 1 refuses itself what it cannot reclaim (EBUSY)."""


class MemoryMax(Memory):
    """memory.max: below what a group cannot give back, the kernel would kill its processes instead of refusing."""

    def _check(self, group: Path, value: float) -> None:
        used = number(group / "memory.current")
        if math.isnan(used) or value >= used:
            return
        try:
            stat = key_values(group / "memory.stat")
        except ActuateError:
            stat = {}
        kept = used - sum(stat.get(key, 0) for key in _GIVEN_BACK)
        if value < kept:
            raise Rejected(
                str(group / self.file),
                str(int(value)),
                f"it uses {used:.0f} bytes and can give back only {used - kept:.0f}: the kernel would end its processes; "
                "lower memory_high_bytes first, which only slows them down",
            )


LIMIT1 = Memory("memory.limit_in_bytes", "-1", tree=False)  # what is used already stays with the group of before
MAX2 = MemoryMax("memory.max", "max", tree=True)
HIGH2 = Memory("memory.high", "max", tree=True)
