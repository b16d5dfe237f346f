"""The writer's lock: one process writes an environment, and whoever comes second is told which."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vagus.errors import StoreError

WRITER = "writer"
OPENING_S = 5.0
NAMED_S = 0.05  # within which who took the lock has left its name
_READER = "reader "
_WHOLE = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


@contextmanager
def opening(folder: Path, exclusive: bool) -> Iterator[None]:
    """Held while the files of a store are opened (shared), or put in the place of others (exclusive).

    Raises StoreError when that does not come within five seconds: somebody stands still in between.
    """
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        until = time.monotonic() + OPENING_S
        while True:
            try:
                fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise StoreError(
                        f"{folder}: another process has been {'opening' if exclusive else 'replacing'} it for "
                        f"{OPENING_S:.0f} s: try again, or look for a stopped process (`lslocks`)"
                    ) from None
                time.sleep(0.002)
        yield
    finally:
        os.close(file)


class WriterLock:
    """A lock on the file `writer`: the kernel lets go of it when the process ends, however it ends.

    It belongs to the open file, so that nobody who reads `writer` in the same process loses it by closing that, as with
    POSIX' own locks, which it excludes too. A forked child must let go of its share.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = -1

    def take(self, as_reader: bool = False) -> None:
        """Takes the lock and leaves our name in the file. Raises StoreError that says who holds it, or OSError.

        as_reader: for a moment, to keep writers out; a writer that comes meanwhile waits.
        """
        file = os.open(self._folder / WRITER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        began = time.monotonic()
        while True:
            try:
                fcntl.fcntl(file, fcntl.F_OFD_SETLK, _WHOLE)
                break
            except OSError as error:
                holder = os.pread(file, 500, 0).decode(errors="replace").strip()
                waited = time.monotonic() - began
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    os.close(file)
                    raise
                if as_reader or waited > (OPENING_S if holder.startswith(_READER) else NAMED_S):
                    os.close(file)
                    raise StoreError(
                        f"{self._folder} is being written by another process ({holder or 'unnamed'}): "
                        "stop it (one of vagus: `vagus down`), or read with readonly=True"
                    ) from error
                time.sleep(0.005)
        self._file = file
        name = f"{_READER if as_reader else ''}pid {os.getpid()}, {_command()}, since "
        name += time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with suppress(OSError):  # a full disk: nameless then
            os.ftruncate(file, 0)
            os.pwrite(file, f"{name}\n".encode(), 0)

    def release(self) -> None:
        """Lets go; harmless when not held."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def writer_of(folder: Path) -> int:
    """The process that said last that it writes there; 0 when none has. It may have ended."""
    try:
        words = (folder / WRITER).read_text(errors="replace").split(",")[0].split()
    except OSError:
        return 0
    return int(words[1]) if len(words) == 2 and words[1].isdigit() else 0


def _command() -> str:
    try:
        return " ".join(Path("/proc/self/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").split())[
            :200
        ]
    except OSError:
        return "unknown command"
