"""Following one open log file: whole lines out of what was appended, whatever happens to the file."""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

MAX_LINE_BYTES = 8 << 10
MAX_READ_BYTES = 4 << 20  # of one file in one tick
MAX_BACKLOG_BYTES = 64 << 20  # a reader that is further behind goes on near the end
CATCH_UP_BYTES = 256 << 10  # in one tick, of what was written while nobody followed: nothing of it is dropped
_CHECK_BYTES = 64
_HOLE = bytes(64)


class Lines(NamedTuple):
    """What one reading gave: lines, how many more there were, bytes read and jumped over, truncated since."""

    lines: list[bytes]
    dropped: int
    read_bytes: int
    skipped_bytes: int
    truncated: bool


class Place(NamedTuple):
    """Where a file was left: its inode, the begin of the first line that was not taken, and the bytes before that."""

    inode: int
    offset: int
    before: bytes


class Follower:
    """An open file and the place in it up to which it was read. Raises OSError.

    Begins at the file's begin, at its end, or at a place; when the file is not the one that was left there, or was
    written anew, at its begin.
    """

    def __init__(self, path: str, at_end: bool = False, place: Place | None = None) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self._offset = 0
        self._partial = b""  # begins of a line whose end was not written yet, at most one byte over the limit
        self._tail = b""  # the last bytes before the offset, to recognise a file that was truncated and grew again
        self._skip_to_newline = False
        self._line_at = 0  # where the line that is not complete begins
        self._catch_up_to = 0
        self.resumed = False
        if place is not None:
            self._resume(place)
        elif at_end:
            self._offset = os.fstat(self._fd).st_size
            before = os.pread(self._fd, min(self._offset, MAX_LINE_BYTES), max(0, self._offset - MAX_LINE_BYTES))
            self._partial = before[before.rfind(b"\n") + 1 :]
            self._tail = before[-_CHECK_BYTES:]
            self._line_at = self._offset - len(self._partial)

    def _resume(self, place: Place) -> None:
        found = os.fstat(self._fd)
        before = os.pread(self._fd, len(place.before), max(0, place.offset - len(place.before)))
        self._catch_up_to = found.st_size
        if found.st_ino == place.inode and found.st_size >= place.offset and before == place.before:
            self.resumed = True
            self._offset = self._line_at = place.offset
            self._tail = before

    def place(self) -> Place:
        """Where to go on in another life."""
        begin = max(0, self._line_at - _CHECK_BYTES)
        return Place(os.fstat(self._fd).st_ino, self._line_at, os.pread(self._fd, self._line_at - begin, begin))

    def unfinished(self) -> bytes:
        """What was read of a line whose end was not written yet."""
        return self._partial

    def key(self) -> tuple[int, int]:
        """What tells the file from all others while it is open: device and inode."""
        found = os.fstat(self._fd)
        return found.st_dev, found.st_ino

    def is_deleted(self) -> bool:
        """Whether it has no name any more."""
        return os.fstat(self._fd).st_nlink == 0

    def written_ns(self) -> int:
        """When the file was last written."""
        return os.fstat(self._fd).st_mtime_ns

    def pending_bytes(self) -> int:
        """How much there may be to read; negative when the file is shorter than it was."""
        return os.fstat(self._fd).st_size - self._offset

    def read(self, max_lines: int, max_bytes: int = MAX_READ_BYTES, max_backlog_bytes: int | None = None) -> Lines:
        """What was appended since: at most `max_lines` lines of at most 8 KiB; lines beyond are counted only.

        What was there already when the file was resumed is not dropped, but left for the next call.
        """
        size = os.fstat(self._fd).st_size
        truncated = size < self._offset
        skipped = 0
        if truncated:
            self._restart()
        elif size - self._offset > (MAX_BACKLOG_BYTES if max_backlog_bytes is None else max_backlog_bytes):
            skipped = size - MAX_READ_BYTES - self._offset
            self._offset += skipped
            self._line_at = self._offset
            self._partial = self._tail = b""
            self._skip_to_newline = True
        tail = self._tail
        behind = self._offset < self._catch_up_to
        if behind:
            max_bytes = min(max_bytes, CATCH_UP_BYTES)
        wanted = min(max_bytes, size - self._offset)
        data = os.pread(self._fd, wanted + len(tail), self._offset - len(tail))
        if tail and not data.startswith(tail):
            truncated = True
            self._restart()
            data = os.pread(self._fd, min(max_bytes, size), 0)
        else:
            data = data[len(tail) :]
        if behind and not truncated:
            data = _first_lines(data, max_lines)
        self._offset += len(data)
        if b"\n" in data:
            self._line_at = self._offset - (len(data) - data.rfind(b"\n") - 1)
        self._tail = (tail + data)[-_CHECK_BYTES:] if len(data) < _CHECK_BYTES else data[-_CHECK_BYTES:]
        if data.startswith(b"\0") and not data.strip(b"\0"):
            self._leap(size)
        lines, dropped = self._split(data, max_lines)
        return Lines(lines, dropped, len(data), skipped, truncated)

    def _leap(self, size: int) -> None:
        """Over a hole, which may be larger than any disk."""
        try:
            ahead = os.lseek(self._fd, self._offset, os.SEEK_DATA)
        except OSError as error:  # ENXIO: up to the end there is nothing else; others: this file system does not tell
            ahead = size if error.errno == errno.ENXIO else 0
        if ahead > self._offset:
            self._offset = ahead
            self._line_at = self._line_at if self._partial else ahead
            self._tail = b""

    def _restart(self) -> None:
        self._offset = self._line_at = self._catch_up_to = 0
        self._partial = self._tail = b""
        self._skip_to_newline = False

    def _split(self, data: bytes, max_lines: int) -> tuple[list[bytes], int]:
        if self._skip_to_newline:
            _, newline, data = data.partition(b"\n")
            self._skip_to_newline = not newline
        # A writer that does not append leaves a hole of zeros where a truncated file was.
        data = self._partial + data if self._partial else data.lstrip(b"\0")
        lines = data.split(b"\n", max_lines)
        rest = lines.pop()
        dropped = rest.count(b"\n")
        if dropped:
            rest = rest[rest.rfind(b"\n") + 1 :]
        if _HOLE in data:  # also what some file systems leave after a crash
            *lines, rest = (line.lstrip(b"\0") if line.startswith(_HOLE) else line for line in (*lines, rest))
        self._partial = rest[: MAX_LINE_BYTES + 1]
        return lines, dropped

    def close(self) -> None:
        """Closes the file. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _first_lines(data: bytes, count: int) -> bytes:
    """The data up to the end of its line number `count`, or all of it."""
    rest = data.split(b"\n", count)[-1] if count > 0 else data
    return data[: len(data) - len(rest)] if b"\n" in rest or not count else data
