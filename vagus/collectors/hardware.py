"""What the machine's own sensors say, where it has them: temperatures, fans, energy, memory errors, RAID.

All of it is in sysfs and /proc/mdstat. A chip behind a slow bus takes milliseconds to answer, and none of it changes
in a second: so it is read every 10 s, and devices are looked for every minute.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from vagus.clock import NS
from vagus.collectors.parts import FilePart
from vagus.collectors.table import check_range
from vagus.model import MAX_LABEL_VALUE, Event, Field, Sample, Stream

READ_NS = 10 * NS
SCAN_NS = 60 * NS
MAX_DEVICES = 500
MAX_FILE_BYTES = 256
_ARRAY = re.compile(r"^(md\S*) : (\w+)(?: \(\S+\))?(.*)\n.*?\[(\d+)/(\d+)\]", re.MULTILINE)


class _Kind(NamedTuple):
    """Files that hold one number each, by glob below the root; the folder is the device."""

    kind: str
    pattern: str
    field: Field
    scale: float  # of the file's number, to the field's unit; divided by


KINDS = (
    _Kind("host.temperature", "sys/class/hwmon/hwmon*/temp*_input", Field("celsius", unit="celsius"), 1000.0),
    _Kind("host.temperature", "sys/class/thermal/thermal_zone*/temp", Field("celsius", unit="celsius"), 1000.0),
    _Kind("host.fan", "sys/class/hwmon/hwmon*/fan*_input", Field("rpm", unit="1/min"), 1.0),
    _Kind("host.energy", "sys/class/powercap/intel-rapl*/energy_uj", Field("joules", unit="J", counter=True), 1e6),
    _Kind("host.memory_errors", "sys/devices/system/edac/mc/mc*/ce_count", Field("corrected", counter=True), 1.0),
    _Kind("host.memory_errors", "sys/devices/system/edac/mc/mc*/ue_count", Field("uncorrected", counter=True), 1.0),
)


class Hardware:
    """`host.temperature`, `host.fan`, `host.energy`, `host.memory_errors`, each with a label sensor. Nothing where
    there is none. A sensor that does not answer is left out: they come and go with power states.
    """

    def __init__(self, node: str, root: Path) -> None:
        self._node = node
        self._root = root
        self.source = str(root / "sys")
        self._found: list[tuple[Path, Stream, float]] = []
        self._streams: dict[str, Stream] = {}
        self._read_at_ns = self._scan_at_ns = 0

    def read(self, t_ns: int) -> Iterator[Sample | Event]:
        """One sample for each sensor that answers, every 10 s."""
        if 0 < self._read_at_ns - t_ns <= READ_NS:
            return
        self._read_at_ns = t_ns + READ_NS
        if not 0 < self._scan_at_ns - t_ns <= SCAN_NS:
            self._scan_at_ns = t_ns + SCAN_NS
            self._scan()
        for path, stream, scale in self._found:
            try:
                with open(path, "rb", buffering=0) as file:
                    number = int(file.read(MAX_FILE_BYTES))
            except (OSError, ValueError):
                continue
            yield Sample(stream, t_ns, (number / scale,))

    def _scan(self) -> None:
        found = []
        for kind, pattern, field, scale in KINDS:
            for path in sorted(self._root.glob(pattern))[:MAX_DEVICES]:
                labels = {"sensor": _name(path)}
                if kind == "host.memory_errors":
                    labels["errors"] = field.name
                stream = Stream(self._node, kind, (field,), labels)
                found.append((path, self._streams.setdefault(stream.key, stream), scale))
        self._found = found
        self._streams = {stream.key: stream for _, stream, _ in found}

    def close(self) -> None:
        """Nothing is open."""


def _name(path: Path) -> str:
    """`hwmon2 coretemp Package id 0`, `thermal_zone0 x86_pkg_temp`, `intel-rapl:0 package-0`, `mc0`."""
    device = path.parent
    stem = path.name.rpartition("_")[0]
    words = [device.name, _text(device / "name") or _text(device / "type")]
    if path.name.endswith("_input"):
        words.append(_text(device / f"{stem}_label") or stem)
    return " ".join(word for word in words if word)[:MAX_LABEL_VALUE]


def _text(path: Path) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(MAX_FILE_BYTES).decode("utf-8", "replace").strip()
    except OSError:
        return ""


class Raid(FilePart):
    """`host.raid{array=}`: disks that the array should have and has, and whether it is active (0 or 1)."""

    def __init__(self, node: str, root: Path) -> None:
        super().__init__(root, "proc/mdstat")
        self._node = node
        self._streams: dict[str, Stream] = {}
        self._read_at_ns = 0

    def read(self, t_ns: int) -> Iterator[Sample | Event]:
        """One sample for each array, every 10 s; nothing without the kernel's module."""
        if 0 < self._read_at_ns - t_ns <= READ_NS:
            return
        self._read_at_ns = t_ns + READ_NS
        for array, state, _, disks, there in _ARRAY.findall(self._file.read_if_there().decode("utf-8", "replace")):
            stream = self._streams.get(array)
            if stream is None:
                if len(self._streams) >= MAX_DEVICES:
                    continue
                fields = (Field("disks", dtype="u8"), Field("disks_active", dtype="u8"), Field("active", dtype="u4"))
                stream = Stream(self._node, "host.raid", fields, {"array": array[:MAX_LABEL_VALUE]})
                self._streams[array] = stream
            values = (int(disks), int(there), int(state == "active"))
            check_range(values)
            yield Sample(stream, t_ns, values)
