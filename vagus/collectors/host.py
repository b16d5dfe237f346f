"""The machine: processors, memory, load, disks, file systems, its clock and sensors, and the kernel's counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vagus.clock import NS
from vagus.collectors.clock_offset import ClockOffset
from vagus.collectors.cpu import Stat
from vagus.collectors.disk import Disks
from vagus.collectors.filesystem import FileSystems
from vagus.collectors.hardware import Hardware, Raid
from vagus.collectors.load import Entropy, FileHandles, Load, Uptime
from vagus.collectors.memory import Memory, Vmstat
from vagus.collectors.parts import Every, Part, read_parts
from vagus.config import CollectSettings
from vagus.model import Event, Sample

SLOW_NS = 5 * NS  # the machine's own sensors, its clock and its arrays say themselves when


class HostCollector:
    """Kinds `host.*`, read from `root`/proc with files kept open; each part fails alone. Raises CollectError."""

    name = "host"

    def __init__(self, node: str, root: Path, settings: CollectSettings) -> None:
        self._parts: tuple[Part, ...] = (
            Stat(node, root),
            Load(node, root),
            Memory(node, root),
            Vmstat(node, root),
            Every(SLOW_NS, Uptime(node, root)),
            Disks(node, root),
            Every(SLOW_NS, FileSystems(node, root)),
            Every(SLOW_NS, FileHandles(node, root)),
            Every(SLOW_NS, Entropy(node, root)),
            Hardware(node, root),
            Raid(node, root),
        )
        if root == Path("/"):  # asked of the running kernel, not read
            self._parts += (ClockOffset(node),)

    def collect(self, t_ns: int) -> Iterator[Sample | Event]:
        """Samples of all parts; the error that names the failing ones comes last."""
        return read_parts(self._parts, t_ns)

    def close(self) -> None:
        """Closes all files. Idempotent."""
        for part in self._parts:
            part.close()
