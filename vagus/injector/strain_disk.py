"""Reads or writes a file that has no name, past the page cache."""

from __future__ import annotations

import errno
import mmap
import os
import random
import time

from vagus.injector.pacing import Pace
from vagus.injector.strain import Line

BLOCK_BYTES = 1 << 20
SMALL_BYTES = 4096
CALIBRATE_S = 0.5
_NO_DIRECT = (errno.EINVAL, errno.EOPNOTSUPP)
_NO_TMPFILE = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)


class File:
    """A file in the folder that ends with its process; direct: past the page cache, else written through it."""

    def __init__(self, folder: str, name: str, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.direct = True
        try:
            self.fd = self._open(folder, name, os.O_DIRECT)
        except OSError as error:
            if error.errno not in _NO_DIRECT:
                raise
            self.direct = False
            self.fd = self._open(folder, name, 0)

    def _open(self, folder: str, name: str, flags: int) -> int:
        flags |= os.O_RDWR | os.O_CLOEXEC
        try:
            return os.open(folder, flags | os.O_TMPFILE, 0o600)
        except OSError as error:
            if error.errno not in _NO_TMPFILE:
                raise
        fd = os.open(name, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        os.unlink(name)  # nothing is written while it has a name; who is killed here has that name journalled
        return fd

    def write(self, block: mmap.mmap, at: int) -> None:
        os.pwrite(self.fd, block, at)
        if not self.direct:
            os.fdatasync(self.fd)

    def read(self, block: mmap.mmap, at: int) -> None:
        if not self.direct:
            os.posix_fadvise(self.fd, at, len(block), os.POSIX_FADV_DONTNEED)
        os.preadv(self.fd, [block], at)

    def fill(self) -> None:
        with mmap.mmap(-1, BLOCK_BYTES) as block:
            block.write(os.urandom(BLOCK_BYTES))
            for at in range(0, self.size_bytes, BLOCK_BYTES):
                os.pwrite(self.fd, block, at)
        os.fdatasync(self.fd)


def strain(
    line: Line,
    folder: str,
    name: str,
    size_bytes: int,
    mode: str,
    share: float = 0.0,
    bytes_s: float = 0.0,
    ops_s: float = 0.0,
    nice: int = 0,
) -> None:
    """mode: read or write. share: of what this process reaches without rest, in blocks of 1 MiB one after the other; or
    bytes_s, the same way; or ops_s, of 4 KiB in random places. Figures: bytes_s, ops_s, direct_ratio (1: past the cache).
    """
    os.nice(nice)
    file = File(folder, name, size_bytes)
    small = bool(ops_s)
    if mode == "read" or small:
        file.fill()
    block = mmap.mmap(-1, SMALL_BYTES if small else BLOCK_BYTES)  # aligned, as the device wants it
    block.write(os.urandom(len(block)))
    rng, blocks, number = random.Random(), size_bytes // len(block), 0

    def one() -> None:
        nonlocal number
        at = (rng.randrange(blocks) if small else number % blocks) * len(block)
        (file.read if mode == "read" else file.write)(block, at)
        number += 1

    rate: float | None = ops_s or bytes_s / len(block) or None
    reached = 0.0
    if share:
        begin = time.monotonic()
        while (took := time.monotonic() - begin) < CALIBRATE_S:
            one()
        reached = number * len(block) / took
        rate = number / took * share if share < 1 else None
        number = 0
    line.begun()
    pace = Pace(rate, time.monotonic())
    while True:
        one()
        if line.due():
            figures = {"bytes_s": number * len(block) / line.age_s, "ops_s": number / line.age_s}
            line.tell(**figures, direct_ratio=float(file.direct), **({"reached_bytes_s": reached} if reached else {}))
        wait_s = pace.wait_s(1.0, time.monotonic())
        if wait_s > 0:
            time.sleep(wait_s)
