"""Pictures in LMDB, compressed. Any number of processes share one."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

import lmdb

KEPT = 4096  # a newer one takes the place of an older one
SIZE = 20_000  # bytes
SHADES = bytes(value & 240 for value in range(256))


class Pictures:
    """The database in RUN; made if need be. What a power cut would lose is lost: it is not synced."""

    def __init__(self, run: Path) -> None:
        self._env = lmdb.open(str(run / "media.lmdb"), map_size=256 << 20, sync=False, max_readers=256)

    def store(self, number: int, times: int = 1) -> int:
        """Takes a picture, and keeps it; its compressed size in bytes. times: how often the same is done over."""
        taken, whole = picture(number), b""
        for _ in range(times):
            whole = zlib.compress(taken, 8)
        with self._env.begin(write=True) as txn:
            txn.put(_slot(number), whole)
        return len(whole)

    def preview(self, number: int, times: int = 1) -> bytes | None:
        """A small one, compressed; None: there is none."""
        with self._env.begin() as txn:
            whole = txn.get(_slot(number))
        if whole is None:
            return None
        shown = b""
        for _ in range(times):
            shown = zlib.compress(zlib.decompress(whole)[::16], 6)
        return shown

    def close(self) -> None:
        self._env.close()


def picture(number: int) -> bytes:
    """What a camera would send: noise of 16 shades, which zlib halves."""
    return hashlib.shake_128(number.to_bytes(8, "little")).digest(SIZE).translate(SHADES)


def _slot(number: int) -> bytes:
    return (number % KEPT).to_bytes(2, "big")
