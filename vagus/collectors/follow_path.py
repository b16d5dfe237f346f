"""Following one path line by line, without losing any: through rotation by rename and by copytruncate.

What nobody can follow is a file that got and lost the name between two looks, and what is written between the copying
and the truncating of copytruncate.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from typing import NamedTuple

from vagus.collectors.follow import Follower
from vagus.errors import CollectError, unreadable

READ_BYTES = 1 << 20  # in one call
LINGER_S = 10.0  # a file that was renamed is read until nothing was written to it for so long

_Key = tuple[int, int]


class Read(NamedTuple):
    """Whole lines, when the file that they are of was last written, and whether there is more to read at once."""

    lines: list[bytes]
    written_ns: int
    more: bool


class _Open:
    def __init__(self, follower: Follower, now_s: float) -> None:
        self.follower = follower
        self.key = follower.key()
        self.quiet_since_s = now_s


class PathFollower:
    """The lines of whatever file has this path, from its begin. A file that is away may come back.

    Raises CollectError: it is no regular file, or cannot be read; at the start also: it is not there.
    """

    def __init__(self, path: str, now_s: float = 0.0) -> None:
        self.path = path
        self.rotations = 0
        self._files: list[_Open] = []  # the one that has the name is the last; before it those that had it
        self._find(now_s)
        if not self._files:
            raise CollectError(unreadable(path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))))

    def read(self, now_s: float) -> Read:
        """What was written since the last call, oldest file first. `now_s`: any clock that does not go back."""
        self._find(now_s)
        written_ns = 0
        for file in list(self._files):
            try:
                pending = file.follower.pending_bytes()
                if pending:
                    got = file.follower.read(sys.maxsize, READ_BYTES, sys.maxsize)
                    self.rotations += got.truncated
                    file.quiet_since_s = now_s
                    return Read(got.lines, file.follower.written_ns(), True)
                written_ns = file.follower.written_ns()
            except OSError as error:
                raise CollectError(f"cannot read {self.path}: {error.strerror}") from error
            gone = file is not self._files[-1] or file.follower.is_deleted()  # whose disk space we alone would keep
            if gone and now_s - file.quiet_since_s >= LINGER_S:
                rest = file.follower.unfinished()
                file.follower.close()
                self._files.remove(file)
                if rest:  # nobody will write its end any more
                    return Read([rest], written_ns, True)
        return Read([], written_ns, False)

    def unfinished(self) -> list[bytes]:
        """The last line where nobody wrote its end, for whoever does not wait for it."""
        return [rest for rest in (file.follower.unfinished() for file in self._files) if rest]

    def close(self) -> None:
        """Closes all files. Idempotent."""
        for file in self._files:
            file.follower.close()
        self._files.clear()

    def _find(self, now_s: float) -> None:
        try:
            found = os.stat(self.path)
            key: _Key = (found.st_dev, found.st_ino)
            if self._files and self._files[-1].key == key:
                return
            if not stat.S_ISREG(found.st_mode):
                raise CollectError(f"{self.path} is not a regular file; `-` reads what another program prints")
            known = next((file for file in self._files if file.key == key), None)
            if known is not None:
                self._files.remove(known)
            self.rotations += bool(self._files)
            self._files.append(known or _Open(Follower(self.path), now_s))  # perhaps already the next file
        except FileNotFoundError:
            return  # between a rename and the next file
        except OSError as error:
            raise CollectError(f"cannot follow {self.path}: {error.strerror}") from error
