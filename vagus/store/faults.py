"""LMDB's and the system's errors as StoreError, each with what to do: the seam of this room."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from vagus.errors import StoreError

MAX_READERS = 2048
_DAMAGE = (lmdb.CorruptedError, lmdb.InvalidError, lmdb.PageNotFoundError, lmdb.VersionMismatchError)


FOREIGN = (lmdb.Error, OSError, struct.error)
"""What becomes a StoreError; struct's is of a key or a header that is cut short."""


class MapFull(StoreError):
    """The map has no room for this transaction."""


def explained(path: Path, error: lmdb.Error | OSError | struct.error) -> StoreError:
    """One of LMDB's or the system's errors as a StoreError that says what to do."""
    if isinstance(error, lmdb.MapFullError):
        return MapFull(f"{path}: the map is full: raise store.map_bytes, or lower store.retain_bytes")
    if isinstance(error, (*_DAMAGE, struct.error)):  # a key or a header that is cut short
        return StoreError(
            f"{path} is damaged or of another LMDB format ({error}): "
            "move the folder away to begin a new store, or put a copy back"
        )
    if isinstance(error, lmdb.ReadersFullError):
        return StoreError(f"{path}: all {MAX_READERS} reader slots are taken: stop readers that hang")
    if isinstance(error, lmdb.Error):
        return StoreError(f"{path}: {_advice(getattr(error, 'code', 0), str(error))}")
    return StoreError(f"{path}: {_advice(error.errno or 0, error.strerror or str(error))}")


@contextmanager
def mapped(path: Path) -> Iterator[None]:
    """LMDB's and the system's errors as StoreError, each with what to do."""
    try:
        yield
    except FOREIGN as error:
        raise explained(path, error) from error


def _advice(code: int, text: str) -> str:
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):  # LMDB calls a write that was cut short EIO
        kept = "what was not acknowledged is kept in memory and tried again at the next flush"
        if code == errno.EIO:
            return f"the disk is full or fails ({text}): free space, or look at the kernel's log; {kept}"
        return f"the disk is full or a quota is reached ({text}): free space; {kept}"
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"not permitted ({text}): use a folder that this user may write, or readonly=True"
    if code == errno.ENOMEM:
        return f"no address space for the map ({text}): lower store.map_bytes or raise the limit (ulimit -v)"
    return text
