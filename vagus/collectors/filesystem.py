"""How full the file systems are that lie on a device of this machine.

Network file systems are never asked: statvfs on one whose server is gone does not return.
"""

from __future__ import annotations

import os
import re
import select
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from vagus.collectors.parts import FilePart
from vagus.model import Event, Field, Level, Sample, Stream

LOCAL_TYPES = frozenset(
    {
        *("ext2", "ext3", "ext4", "xfs", "btrfs", "bcachefs", "zfs", "f2fs", "jfs", "reiserfs", "nilfs2"),
        *("vfat", "exfat", "msdos", "ntfs", "ntfs3", "hfsplus", "ufs"),
    }
)
MAX_MOUNTS = 200
_OCTAL = re.compile(r"\\([0-7]{3})")

FIELDS = (
    Field("size_bytes", unit="bytes", dtype="u8"),
    Field("free_bytes", unit="bytes", dtype="u8"),
    Field("avail_bytes", unit="bytes", dtype="u8"),
    Field("inodes", dtype="u8"),
    Field("inodes_free", dtype="u8"),
    Field("readonly", dtype="u4"),
)


class Mount(NamedTuple):
    """One line of /proc/mounts that counts."""

    dev: str
    path: str
    fstype: str


def parse_mounts(data: bytes) -> list[Mount]:
    """Local file systems, each device once, under its shortest path; the root file system also when an overlay.

    At most 200 of them, in the order of their paths.
    """
    found: dict[str, Mount] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        words = line.split(" ")
        if len(words) < 3:
            continue
        dev, path, fstype = (_OCTAL.sub(lambda code: chr(int(code[1], 8)), word) for word in words[:3])
        if fstype not in LOCAL_TYPES and not (fstype == "overlay" and path == "/"):
            continue
        if len(path) > 400 or len(dev) > 400:
            continue  # a label holds no more
        known = found.get(dev)
        if known is None or len(path) < len(known.path):
            found[dev] = Mount(dev, path, fstype)
    return sorted(found.values(), key=lambda mount: mount.path)[:MAX_MOUNTS]


class FileSystems(FilePart):
    """`host.filesystem{mount=,fstype=,dev=}`: sizes in bytes, inodes, and whether it is read-only (0 or 1).

    One that cannot be asked is an event when that begins and when it ends.
    """

    def __init__(self, node: str, root: Path) -> None:
        super().__init__(root, "proc/mounts")
        self._node = node
        self._root = root
        self._mounts = b""
        self._watch: select.poll | None = None  # tells when mounts changed: reading them costs more than asking
        self._streams: list[tuple[str, Stream]] = []
        self._failing: set[str] = set()

    def read(self, t_ns: int) -> Iterator[Sample | Event]:
        """One sample for each file system."""
        if self._watch is None or self._watch.poll(0):
            self._watch = None
            data = self._file.read()
            self._watch = self._file.watch()
            if data != self._mounts:
                self._remount(data)
        for path, stream in self._streams:
            mount = stream.labels["mount"]
            try:
                s = os.statvfs(path)
            except OSError as error:
                if mount not in self._failing:
                    self._failing.add(mount)
                    text = f"cannot ask the file system at {mount}: {error.strerror}"
                    yield self._event(t_ns, "host.filesystem.unreadable", Level.WARNING, mount, text)
                continue
            if mount in self._failing:
                self._failing.discard(mount)
                yield self._event(t_ns, "host.filesystem.readable", Level.INFO, mount, "answers again")
            unit = s.f_frsize
            readonly = 1 if s.f_flag & os.ST_RDONLY else 0
            values = (s.f_blocks * unit, s.f_bfree * unit, s.f_bavail * unit, s.f_files, s.f_ffree, readonly)
            yield Sample(stream, t_ns, values)

    def close(self) -> None:
        """Closes the file. Idempotent."""
        self._watch = None
        super().close()

    def _remount(self, data: bytes) -> None:
        known = {stream.key: stream for _, stream in self._streams}
        self._streams = []
        for dev, path, fstype in parse_mounts(data):
            stream = Stream(self._node, "host.filesystem", FIELDS, {"mount": path, "fstype": fstype, "dev": dev})
            self._streams.append((str(self._root / path.lstrip("/")), known.get(stream.key, stream)))
        self._mounts = data
        self._failing &= {stream.labels["mount"] for _, stream in self._streams}

    def _event(self, t_ns: int, name: str, level: Level, mount: str, text: str) -> Event:
        return Event(t_ns, name, self._node, level, "host", {"mount": mount, "text": text})
