"""Log files: each new line is an event, whatever rotates or truncates the files meanwhile.

Files are known by device and inode, so that a renamed file is neither read twice nor left before its end.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from vagus.clock import NS
from vagus.collectors.follow import MAX_LINE_BYTES, MAX_READ_BYTES, Follower, Place
from vagus.config import CollectSettings
from vagus.errors import CollectError
from vagus.model import MAX_LABEL_VALUE, Event, Field, Sample, Stream

MAX_FILES = 200
MAX_LINES = 1000  # events of all files in one tick; the quieter files come first
MAX_TICK_BYTES = 16 << 20
SCAN_NS = 10 * NS  # how often patterns are matched anew
LINGER_NS = 10 * NS  # a file without a name is read until nothing was written to it for so long

# What rotation leaves behind is not matched by a pattern; a plain path names what it names.
_ROTATED = re.compile(r"(\.\d+|[-.]\d{8,}|\.gz|\.xz|\.bz2|\.zst|\.old|~)\Z")
_MAGIC = re.compile(r"[*?\[]")
_Key = tuple[int, int]

FIELDS = (
    Field("lines", dtype="u8", counter=True),
    Field("bytes", unit="bytes", dtype="u8", counter=True),
    Field("dropped", dtype="u8", counter=True),  # lines beyond the limit of a tick: counted, not sent
    Field("skipped_bytes", unit="bytes", dtype="u8", counter=True),  # jumped over when too far behind
    Field("rotations", dtype="u8", counter=True),
)


class _LogFile:
    """The counts of one path."""

    def __init__(self, node: str, path: str) -> None:
        self.path = path
        self.source = os.fsencode(path).decode("utf-8", "replace")
        self.stream = Stream(node, "log.file", FIELDS, {"path": self.source[-MAX_LABEL_VALUE:]})
        self.key: _Key | None = None
        self.lines = self.bytes = self.dropped = self.skipped_bytes = self.rotations = 0

    def values(self) -> tuple[int, ...]:
        return self.lines, self.bytes, self.dropped, self.skipped_bytes, self.rotations


class _Reader:
    """A file that is open, under the path by which it was found."""

    def __init__(self, follower: Follower, file: _LogFile, key: _Key, t_ns: int) -> None:
        self.follower = follower
        self.key = key
        self.file = file
        self.quiet_since_ns = t_ns


class _State(msgspec.Struct, array_like=True):
    """What outlives a restart: the settings it was for, and where each file was left."""

    patterns: tuple[str, ...]
    places: dict[str, Place]


class LogsCollector:
    """Events `log.line` and kind `log.file{path=}` for the paths and glob patterns in `settings.logs`.

    A file that is there at the first call is read from its end, one that appears later from its begin. With the state
    of an earlier life, files go on where they were left: what was written meanwhile is read, also the end of a file
    that was renamed (of the last 64 MiB, 1000 lines a tick). Raises CollectError at the end, with the files that
    cannot be read.
    """

    name = "logs"

    def __init__(self, node: str, root: Path, settings: CollectSettings) -> None:
        self._node = node
        paths = [log if isinstance(log, str) else log.path for log in settings.logs]
        self._plain = tuple(p for p in paths if not _MAGIC.search(p))
        self._patterns = tuple(p for p in paths if _MAGIC.search(p))
        self._files: dict[str, _LogFile] = {}
        self._readers: dict[_Key, _Reader] = {}
        self._refused: set[str] = set()  # there at the first call, but not readable so far
        self._scan_at_ns = 0
        self._first = True
        self._left: dict[str, Place] | None = None  # of an earlier life with the same settings
        self._changed = False

    def restore(self, state: bytes) -> None:
        """Where files were left, before the first `collect`. State that is damaged or of other settings is ignored."""
        try:
            found = msgspec.msgpack.decode(state, type=_State)
        except msgspec.DecodeError:
            return
        if found.patterns == self._plain + self._patterns:
            self._left = found.places

    def state(self) -> bytes | None:
        """Where files are left, for `restore`; None while nothing changed."""
        if not self._changed:
            return None
        self._changed = False
        places = dict(self._left or {})
        for reader in self._readers.values():
            # of a renamed file and its successor the one that has the name counts, when there is only one place left
            if reader.file.path not in places or reader.file.key == reader.key:
                try:
                    places[reader.file.path] = reader.follower.place()
                except OSError:
                    continue
        return msgspec.msgpack.encode(_State(self._plain + self._patterns, places))

    def collect(self, t_ns: int) -> Iterator[Sample | Event]:
        """New lines of all files, then one sample for each path that has existed."""
        if not (self._plain or self._patterns):
            return
        problems: list[str] = []
        named = self._find(t_ns, problems)
        self._first = False
        yield from self._read(t_ns, problems)
        self._forget(t_ns, named)
        for file in self._files.values():
            yield Sample(file.stream, t_ns, file.values())
        if problems:
            raise CollectError("; ".join(problems[:10]))

    def _find(self, t_ns: int, problems: list[str]) -> set[_Key]:
        """Opens what is new; returns what still has a name."""
        paths: Iterable[str] = dict.fromkeys((*self._plain, *self._files))
        if self._patterns and (self._first or t_ns >= self._scan_at_ns or t_ns < self._scan_at_ns - SCAN_NS):
            self._scan_at_ns = t_ns + SCAN_NS
            matches = (p for pattern in self._patterns for p in sorted(glob.glob(pattern)) if not _ROTATED.search(p))
            paths = dict.fromkeys((*paths, *matches))
        named = set()
        for path in paths:
            try:
                found = os.stat(path)
                key = (found.st_dev, found.st_ino)
                if key in self._readers:
                    named.add(key)
                    self._name(path, key)
                elif not stat.S_ISREG(found.st_mode):
                    problems.append(f"{path} is not a regular file and cannot be followed")
                elif len(self._readers) >= MAX_FILES:
                    problems.append(f"{path} is not followed: {MAX_FILES} log files are the most; narrow collect.logs")
                else:
                    self._open(path, key, t_ns)
                    named.add(key)
            except FileNotFoundError:
                continue  # may appear, or appear again
            except OSError as error:
                if self._first:
                    self._refused.add(path)
                problems.append(f"cannot follow {path}: {error.strerror}")
        return named

    def _open(self, path: str, key: _Key, t_ns: int) -> None:
        left = self._left.pop(path, None) if self._left else None
        if left is not None and left.inode != key[1]:
            self._open_renamed(path, left, t_ns)
        place = left if left is not None and left.inode == key[1] else None
        at_end = path in self._refused or (self._first and self._left is None)
        follower = Follower(path, at_end, place)
        self._refused.discard(path)
        file = self._name(path, key)
        file.rotations += place is not None and not follower.resumed
        self._readers[key] = _Reader(follower, file, key, t_ns)
        self._changed = True

    def _open_renamed(self, path: str, left: Place, t_ns: int) -> None:
        """The file that had this path in an earlier life, for its end, if it is still beside the new one."""
        try:
            with os.scandir(os.path.dirname(path) or ".") as entries:
                beside = [entry.path for entry in entries if entry.inode() == left.inode]
            for name in beside:
                found = os.stat(name)
                follower = Follower(name, place=left)
                if follower.resumed and stat.S_ISREG(found.st_mode):
                    key = (found.st_dev, found.st_ino)
                    self._readers[key] = _Reader(follower, self._name(path, key), key, t_ns)
                else:
                    follower.close()
        except OSError:
            return  # gone meanwhile

    def _name(self, path: str, key: _Key) -> _LogFile:
        file = self._files.get(path)
        if file is None:
            file = self._files[path] = _LogFile(self._node, path)
        if file.key != key:
            file.rotations += file.key is not None
            file.key = key
        return file

    def _read(self, t_ns: int, problems: list[str]) -> Iterator[Event]:
        waiting = []
        for reader in self._readers.values():
            pending = reader.follower.pending_bytes()
            if pending:
                waiting.append((abs(pending), reader))
        waiting.sort(key=lambda item: item[0])
        lines_left, bytes_left = MAX_LINES, MAX_TICK_BYTES
        for i, (_, reader) in enumerate(waiting):
            share = lines_left // (len(waiting) - i)
            try:
                got = reader.follower.read(share, min(MAX_READ_BYTES, bytes_left))
            except OSError as error:
                problems.append(f"cannot read {reader.file.source}: {error.strerror}")
                continue
            reader.quiet_since_ns = t_ns
            self._changed = True
            lines_left -= len(got.lines)
            bytes_left -= got.read_bytes
            file = reader.file
            file.lines += len(got.lines) + got.dropped
            file.bytes += got.read_bytes
            file.dropped += got.dropped
            file.skipped_bytes += got.skipped_bytes
            file.rotations += got.truncated
            for line in got.lines:
                yield self._event(t_ns, file.source, line)

    def _event(self, t_ns: int, source: str, line: bytes) -> Event:
        fields: dict[str, str | int | float | bool] = {
            "text": line[:MAX_LINE_BYTES].rstrip(b"\r").decode("utf-8", "replace")
        }
        if len(line) > MAX_LINE_BYTES:
            fields["cut"] = True
        return Event(t_ns, "log.line", self._node, source=source, fields=fields)

    def _forget(self, t_ns: int, named: set[_Key]) -> None:
        """Closes files that have no name any more and are written no more."""
        for key, reader in list(self._readers.items()):
            if key not in named and not 0 <= t_ns - reader.quiet_since_ns < LINGER_NS:
                reader.follower.close()
                del self._readers[key]
                self._changed = True
                if reader.file.key == key and reader.file.path not in self._plain:
                    del self._files[reader.file.path]  # a dated name that will not come back

    def close(self) -> None:
        """Closes all files. Idempotent."""
        for reader in self._readers.values():
            reader.follower.close()
        self._readers.clear()
