"""/proc/meminfo in bytes, and every counter of /proc/vmstat."""

from __future__ import annotations

import re
from pathlib import Path

from vagus.collectors.parts import FilePart
from vagus.collectors.table import Column, Table
from vagus.errors import CollectError
from vagus.model import Field, Sample

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
# nr_* of vmstat are amounts, but for these, which only grow.
_GROWING = re.compile(r"nr_(dirtied|written|vmscan_\w+|foll_pin_\w+|throttled_written|tlb_\w+)\Z")


def snake(name: str) -> str:
    """`MemTotal` → `mem_total`, `Active(anon)` → `active_anon`, `HugePages_Free` → `huge_pages_free`."""
    return _CAMEL.sub("_", name.replace("(", "_").replace(")", "")).lower()


def meminfo_layout(tokens: list[bytes]) -> list[Column]:
    """`MemTotal: 123 kB` and `HugePages_Free: 0`; kB is 1024 bytes."""
    columns = []
    for i, token in enumerate(tokens[:-1]):
        if token.endswith(b":"):
            name = snake(token[:-1].decode("ascii"))
            if tokens[i + 2 : i + 3] == [b"kB"]:
                columns.append(Column(i + 1, Field(name, unit="bytes", dtype="u8"), 1024))
            else:
                columns.append(Column(i + 1, Field(name, dtype="u8")))
    return columns


def vmstat_layout(tokens: list[bytes]) -> list[Column]:
    """`pgfault 123`: all of them; `nr_*` are amounts of pages, the rest counters."""
    if len(tokens) % 2:
        raise ValueError(f"{tokens[-1]!r} is not followed by a number: it is truncated")
    columns = []
    for i in range(0, len(tokens), 2):
        name = tokens[i].decode("ascii")
        counter = not name.startswith("nr_") or _GROWING.match(name) is not None
        columns.append(Column(i + 1, Field(name, dtype="u8", counter=counter)))
    return columns


class Memory(FilePart):
    """`host.memory`: the lines of meminfo, in bytes (huge pages: a number of pages)."""

    def __init__(self, node: str, root: Path) -> None:
        super().__init__(root, "proc/meminfo", whole=True)
        self._table = Table(node, "host.memory", meminfo_layout)

    def read(self, t_ns: int) -> list[Sample]:
        """One sample."""
        return [_one(self._table.sample(self._file.read(), t_ns), self.source)]


class Vmstat(FilePart):
    """`host.vmstat`: all lines of vmstat, names verbatim."""

    def __init__(self, node: str, root: Path) -> None:
        super().__init__(root, "proc/vmstat")
        self._table = Table(node, "host.vmstat", vmstat_layout)

    def read(self, t_ns: int) -> list[Sample]:
        """One sample."""
        return [_one(self._table.sample(self._file.read(), t_ns), self.source)]


def _one(sample: Sample | None, source: str) -> Sample:
    if sample is None:
        raise CollectError(f"{source} is empty")
    return sample
