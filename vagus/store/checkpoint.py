"""What a power cut leaves: exactly the last sync, on any file system that honours fdatasync.

LMDB with `sync=False` commits into the page cache alone. That survives the death of every process, but LMDB promises
its integrity after a power cut only where the file system keeps the order of writes, and ext4, xfs and btrfs do not:
a root may reach the disk before the pages that it names. Three things make up for it, without a disk flush at each
commit:

- `sync` flushes the data file and then saves a copy of its meta page (LMDB's root, 136 bytes) in the file
  `checkpoint`: two slots in turn, each with a checksum, so that a torn write leaves the other.
- From one sync to the next the writer holds a read transaction on the synced root. LMDB never overwrites a page that
  a reader can see, so whatever the kernel writes back meanwhile, the synced tree stays whole on disk.
- The first to open the environment after a reboot (the kernel's boot id differs) puts the saved root back if newer,
  unsynced commits are on disk.

A checkpoint belongs to one data file (its inode): a copy or a restored backup is opened as it is.
Meta pages are those of LMDB's format 0.9: a page header of 16 bytes, then `MDB_meta` (mdb.c).
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

from vagus.errors import StoreError

DATA = "data.mdb"
CHECKPOINT = "checkpoint"
MAGIC, FORMAT = 0xBEEFC0DE, 1
_PAGE_HEADER = 16
_META = struct.Struct("<IIQQ48s48sQQ")  # magic, version, address, map size, free pages, main database, last page, txn
_PAGE_SIZE = struct.Struct("<I")
_FREE_AT = 24  # where the free-page database begins, whose first number is the page size
_SLOT = struct.Struct(f"<8sQ48sQ{_META.size}sI")  # mark, inode, boot id, txn, meta, checksum
_SLOT_BYTES = 512
_MARK = b"vagusCP1"


class Meta(NamedTuple):
    """One of the two roots of an LMDB file."""

    page_bytes: int
    last_page: int
    txn: int
    raw: bytes


def boot_id(root: Path = Path("/")) -> bytes:
    """The kernel's name for this boot; empty where it has none, and then nothing is ever put back."""
    try:
        return (root / "proc/sys/kernel/random/boot_id").read_bytes().strip()[:48]
    except OSError:
        return b""


def read_metas(data: int) -> list[Meta]:
    """The valid roots of the data file open as descriptor `data`, in their places' order.

    Raises StoreError for a file of another kind or of another version of LMDB's format.
    """
    metas, versions, page_bytes = [], set(), 4096
    for slot in range(2):
        raw = os.pread(data, _META.size, slot * page_bytes + _PAGE_HEADER)
        if len(raw) < _META.size:
            break
        magic, version, _, _, free, _, last_page, txn = _META.unpack(raw)
        if magic != MAGIC:
            continue
        versions.add(version)
        if version == FORMAT:
            page_bytes = _PAGE_SIZE.unpack_from(free)[0]
            metas.append(Meta(page_bytes, last_page, txn, raw))
    if not metas:
        found = f"LMDB format {versions.pop()}" if versions else "not an LMDB file, or its first pages are damaged"
        raise StoreError(f"{found}; vagus needs LMDB's format 0.9")
    return metas


class Slot(NamedTuple):
    """A saved root: in which place, of which file, in which boot."""

    place: int
    inode: int
    boot: bytes
    txn: int
    raw: bytes


class Checkpoint:
    """The file `checkpoint` beside a data file; only the holder of the writer's lock changes it."""

    def __init__(self, folder: Path, boot: bytes) -> None:
        self._folder = folder
        self._boot = boot[:48]
        self._file = -1
        self._place = 0

    def save(self, data: int, meta: Meta) -> None:
        """Names `meta` as the root of a tree that is wholly on disk: the data file must be flushed already."""
        if self._file < 0:
            self._file = os.open(self._folder / CHECKPOINT, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            newest = _newest_slot(self._file, os.fstat(data).st_ino)
            self._place = 1 - newest.place if newest else 0
        body = _SLOT.pack(_MARK, os.fstat(data).st_ino, self._boot, meta.txn, meta.raw, 0)[:-4]
        slot = body + zlib.crc32(body).to_bytes(4, "little")
        if os.pwrite(self._file, slot, self._place * _SLOT_BYTES) < len(slot):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fdatasync(self._file)
        self._place = 1 - self._place

    def is_behind(self) -> bool:
        """Whether unsynced commits of an earlier boot are in the data file."""
        return self._recover(dry=True)

    def recover(self) -> bool:
        """Puts the synced root back if `is_behind`, and says whether it did. Before LMDB opens the file."""
        return self._recover(dry=False)

    def _recover(self, dry: bool) -> bool:
        try:
            data = os.open(self._folder / DATA, (os.O_RDONLY if dry else os.O_RDWR) | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            file = os.open(self._folder / CHECKPOINT, os.O_RDONLY | os.O_CLOEXEC)
            try:
                slot = _newest_slot(file, os.fstat(data).st_ino)
            finally:
                os.close(file)
            if slot is None or not self._boot or slot.boot == self._boot:
                return False
            try:
                newest = max(meta.txn for meta in read_metas(data))
            except StoreError:
                newest = slot.txn + 1  # neither root is readable; the saved one is
            if newest <= slot.txn:
                return False
            if not dry:
                _restore(data, slot)
            return True
        except FileNotFoundError:
            return False
        finally:
            os.close(data)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _newest_slot(file: int, inode: int) -> Slot | None:
    """The newest whole slot that speaks of the data file `inode`."""
    slots = []
    for place in range(2):
        raw = os.pread(file, _SLOT.size, place * _SLOT_BYTES)
        if len(raw) == _SLOT.size and raw[:8] == _MARK and zlib.crc32(raw[:-4]) == int.from_bytes(raw[-4:], "little"):
            _, owner, boot, txn, meta, _ = _SLOT.unpack(raw)
            slots.append(Slot(place, owner, boot.rstrip(b"\0"), txn, meta))
    return max((slot for slot in slots if slot.inode == inode), key=lambda slot: slot.txn, default=None)


def _restore(data: int, slot: Slot) -> None:
    write_roots(data, slot.raw, slot.txn)


def write_roots(data: int, raw: bytes, last_txn: int) -> None:
    """Makes the tree of the packed meta `raw` that of both roots, the newer of them called `last_txn`; synced."""
    page_bytes = _PAGE_SIZE.unpack_from(raw, _FREE_AT)[0]
    for place in range(2):  # LMDB takes the greater transaction; the other root is the same one, called older
        txn = last_txn if last_txn % 2 == place else last_txn - 1
        os.pwrite(data, raw[:-8] + txn.to_bytes(8, "little"), place * page_bytes + _PAGE_HEADER)
    os.fdatasync(data)
