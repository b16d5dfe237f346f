"""A kernel file kept open and read again from its start: one pread a tick instead of open, read, close."""

from __future__ import annotations

import os
import select
from pathlib import Path

from vagus.errors import CollectError

MAX_FILE_BYTES = 8 << 20
_CHUNK = 1 << 16


class KernelFile:
    """A file below `root`, e.g. `proc/stat`; opened at the first read and again after an error.

    whole: the kernel writes it in one piece (single_open, sysctl, cgroup), so that what one pread gives is all.
    """

    def __init__(self, root: Path, path: str, whole: bool = False) -> None:
        self.path = str(root / path)
        self._whole = whole
        self._fd = -1

    def read(self) -> bytes:
        """The whole content. Raises CollectError when it is missing, unreadable or longer than 8 MiB."""
        try:
            if self._fd < 0:
                self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            data = os.pread(self._fd, _CHUNK, 0)
            if self._whole and len(data) < _CHUNK:
                return data
            # Other seq_files hand out about a page at a time, so that only an empty read is the end.
            while chunk := os.pread(self._fd, _CHUNK, len(data)):
                data += chunk
                if len(data) > MAX_FILE_BYTES:
                    raise CollectError(f"{self.path} is longer than {MAX_FILE_BYTES} bytes; it is not read")
        except OSError as error:
            self.close()
            raise CollectError(f"cannot read {self.path}: {error.strerror}") from error
        return data

    def read_if_there(self) -> bytes:
        """The content, or nothing where this kernel has no such file."""
        if self._fd < 0 and not os.path.exists(self.path):
            return b""
        return self.read()

    def watch(self) -> select.poll | None:
        """What polls true when /proc/mounts, which was read before, changed; None for the copy of another machine."""
        if self._fd < 0 or not self.path.startswith("/proc/"):
            return None
        poll = select.poll()
        poll.register(self._fd, select.POLLPRI)
        return poll

    def close(self) -> None:
        """Closes the file; the next read opens it again. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
