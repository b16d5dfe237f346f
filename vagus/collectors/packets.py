"""Where packets wait or are lost inside the kernel: softnet, and the table of tracked connections."""

from __future__ import annotations

from pathlib import Path

from vagus.collectors.files import KernelFile
from vagus.collectors.parts import FilePart
from vagus.collectors.table import check_range
from vagus.errors import CollectError
from vagus.model import Field, Sample, Stream

SOFTNET_FIELDS = tuple(Field(name, dtype="u8", counter=True) for name in ("processed", "dropped", "time_squeeze"))
CONNTRACK_FIELDS = (Field("entries", dtype="u8"), Field("max", dtype="u8"))


class Softnet(FilePart):
    """`net.softnet`: packets taken from the cores' backlogs, dropped there, and times when work was left over.

    The kernel counts each core in 32 bits; the sums here go on when one wraps.
    """

    def __init__(self, node: str, root: Path) -> None:
        super().__init__(root, "proc/net/softnet_stat")
        self._stream = Stream(node, "net.softnet", SOFTNET_FIELDS)
        self._cores: list[tuple[int, int, int]] = []
        self._sums = [0, 0, 0]

    def read(self, t_ns: int) -> list[Sample]:
        """One sample, or none where the kernel has no such file."""
        cores = []
        for line in self._file.read_if_there().split(b"\n"):
            words = line.split(None, 3)
            if words:
                if len(words) < 3:
                    raise CollectError(f"{self.source}: {line[:60]!r} has fewer than three numbers: it is truncated")
                counts = (int(words[0], 16), int(words[1], 16), int(words[2], 16))
                check_range(counts)
                cores.append(counts)
        if not cores:
            return []
        if len(cores) != len(self._cores):  # a core came or went: begin anew, as after a reset
            self._sums = [sum(column) for column in zip(*cores, strict=True)]
        else:
            for now, before in zip(cores, self._cores, strict=True):
                for i in range(3):
                    self._sums[i] += (now[i] - before[i]) & 0xFFFFFFFF
        self._cores = cores
        return [Sample(self._stream, t_ns, tuple(self._sums))]


class Conntrack:
    """`net.conntrack`: connections in the table and the most it holds; nothing without the kernel's module."""

    def __init__(self, node: str, root: Path) -> None:
        folder = "proc/sys/net/netfilter"
        self._files = tuple(KernelFile(root, f"{folder}/nf_conntrack_{name}", whole=True) for name in ("count", "max"))
        self._stream = Stream(node, "net.conntrack", CONNTRACK_FIELDS)
        self.source = self._files[0].path

    def read(self, t_ns: int) -> list[Sample]:
        """One sample, or none."""
        contents = [file.read_if_there() for file in self._files]
        if not all(contents):
            return []
        values = tuple([int(content) for content in contents])
        check_range(values)
        return [Sample(self._stream, t_ns, values)]

    def close(self) -> None:
        """Closes both files. Idempotent."""
        for file in self._files:
            file.close()
