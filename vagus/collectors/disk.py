"""/proc/diskstats: what each whole disk did. Partitions, and devices that never did anything, are left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from operator import mul
from pathlib import Path

from vagus.collectors.parts import FilePart
from vagus.collectors.table import check_range
from vagus.errors import CollectError
from vagus.model import Field, Sample, Stream

SECTOR_BYTES = 512  # of this file on every device, whatever its own sectors are
_PARTITION = re.compile(rb"((sd|hd|vd|xvd)[a-z]+\d+|(nvme\d+n\d+|mmcblk\d+|nbd\d+)p\d+|fd\d+)\Z")


def _count(name: str) -> tuple[Field, int]:
    return Field(name, dtype="u8", counter=True), 1


def _bytes(name: str) -> tuple[Field, int]:
    return Field(name, unit="bytes", dtype="u8", counter=True), SECTOR_BYTES


def _ms(name: str) -> tuple[Field, int]:
    return Field(name, unit="ms", dtype="u8", counter=True), 1


# Documentation/admin-guide/iostats.rst: 11 numbers, 15 since Linux 4.18, 17 since 5.5.
COLUMNS = (
    *(_count("reads"), _count("reads_merged"), _bytes("read_bytes"), _ms("read_ms")),
    *(_count("writes"), _count("writes_merged"), _bytes("write_bytes"), _ms("write_ms")),
    *((Field("in_flight", dtype="u8"), 1), _ms("io_ms"), _ms("weighted_io_ms")),
    *(_count("discards"), _count("discards_merged"), _bytes("discard_bytes"), _ms("discard_ms")),
    *(_count("flushes"), _ms("flush_ms")),
)
_WIDTHS = (17, 15, 11)
_SCALES = tuple(scale for _, scale in COLUMNS)


class Disks(FilePart):
    """`host.disk{dev=}`: counters of reads, writes, discards and flushes, and of time (ms, verbatim)."""

    def __init__(self, node: str, root: Path) -> None:
        super().__init__(root, "proc/diskstats")
        self._node = node
        self._streams: dict[bytes, Stream | None] = {}
        self._lines: dict[bytes, tuple[Stream, tuple[int, ...]] | None] = {}  # of the last reading: most disks are idle

    def read(self, t_ns: int) -> Iterator[Sample]:
        """One sample for each disk."""
        known, self._lines = self._lines, {}
        for line in self._file.read().split(b"\n"):
            found = self._lines[line] = known[line] if line in known else self._parse(line)
            if found is not None:
                yield Sample(found[0], t_ns, found[1])

    def _parse(self, line: bytes) -> tuple[Stream, tuple[int, ...]] | None:
        tokens = line.split()
        stream = self._stream(tokens) if tokens else None
        if stream is None:
            return None
        values = tuple(map(mul, map(int, tokens[3 : 3 + len(stream.fields)]), _SCALES))
        check_range(values)
        return stream, values

    def _stream(self, tokens: list[bytes]) -> Stream | None:
        name = tokens[2] if len(tokens) >= 3 else b""
        width = next((w for w in _WIDTHS if len(tokens) >= 3 + w), 0)
        if not width:
            raise CollectError(
                f"{self.source}: line {b' '.join(tokens)[:80]!r} has {len(tokens) - 3} numbers, fewer than 11"
            )
        if name not in self._streams:
            if _PARTITION.match(name):
                self._streams[name] = None
            elif any(number != b"0" for number in tokens[3:]):
                fields = tuple(field for field, _ in COLUMNS[:width])
                self._streams[name] = Stream(self._node, "host.disk", fields, {"dev": name.decode("utf-8", "replace")})
            else:
                return None  # loop7, ram3: not used so far
        stream = self._streams[name]
        if stream is not None and len(stream.fields) > width:
            raise CollectError(f"{self.source}: the line of {name.decode()} lost columns: it is truncated")
        return stream
