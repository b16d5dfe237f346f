"""Small files of a few numbers: load, uptime, open files, entropy."""

from __future__ import annotations

from pathlib import Path

from vagus.collectors.parts import FilePart
from vagus.collectors.table import check_range
from vagus.model import Field, Sample, Stream


class Load(FilePart):
    """`host.load`: load averages over 1, 5 and 15 minutes, runnable and all scheduling entities."""

    def __init__(self, node: str, root: Path) -> None:
        super().__init__(root, "proc/loadavg", whole=True)
        fields = (
            *(Field(name) for name in ("load1", "load5", "load15")),
            *(Field(name, dtype="u8") for name in ("running", "threads")),
        )
        self._stream = Stream(node, "host.load", fields)

    def read(self, t_ns: int) -> list[Sample]:
        """One sample of a line such as `0.20 0.18 0.12 1/80 11206`."""
        one, five, fifteen, tasks, _ = self._file.read().split()
        running, threads = tasks.split(b"/")
        values = (float(one), float(five), float(fifteen), int(running), int(threads))
        check_range(values)
        return [Sample(self._stream, t_ns, values)]


class Uptime(FilePart):
    """`host.uptime`: seconds since boot, and idle seconds summed over cores."""

    def __init__(self, node: str, root: Path) -> None:
        super().__init__(root, "proc/uptime", whole=True)
        self._stream = Stream(
            node, "host.uptime", (Field("uptime_s", unit="s"), Field("idle_s", unit="s", counter=True))
        )

    def read(self, t_ns: int) -> list[Sample]:
        """One sample."""
        uptime, idle = self._file.read().split()
        return [Sample(self._stream, t_ns, (float(uptime), float(idle)))]


class FileHandles(FilePart):
    """`host.filehandles`: allocated, allocated but free, and the most there may be."""

    def __init__(self, node: str, root: Path) -> None:
        super().__init__(root, "proc/sys/fs/file-nr", whole=True)
        names = ("allocated", "free", "max")
        self._stream = Stream(node, "host.filehandles", tuple(Field(name, dtype="u8") for name in names))

    def read(self, t_ns: int) -> list[Sample]:
        """One sample."""
        allocated, free, most = map(int, self._file.read().split())
        check_range((allocated, free, most))
        return [Sample(self._stream, t_ns, (allocated, free, most))]


class Entropy(FilePart):
    """`host.entropy`: bits in the kernel's pool; nothing where the kernel has no such file."""

    def __init__(self, node: str, root: Path) -> None:
        super().__init__(root, "proc/sys/kernel/random/entropy_avail", whole=True)
        self._stream = Stream(node, "host.entropy", (Field("available", unit="bits", dtype="u8"),))

    def read(self, t_ns: int) -> list[Sample]:
        """One sample, or none."""
        data = self._file.read_if_there()
        if not data:
            return []
        bits = int(data)
        check_range((bits,))
        return [Sample(self._stream, t_ns, (bits,))]
