"""The files of one LMDB environment while they are open: `data.mdb` with its databases, and LMDB's `lock.mdb`.

Flags: `sync=False`, so that a commit is acknowledged from the page cache (survives `kill -9` of any process); what a
power cut leaves is described in checkpoint.py. `writemap=False`: a stray write of a C extension cannot reach the file,
and pages reach it by pwrite, so that a full disk is an error and not a SIGBUS. `subdir`, format 0.9.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lmdb

from vagus.errors import StoreError
from vagus.store.checkpoint import DATA, read_metas
from vagus.store.faults import MAX_READERS, mapped

Txn = Any
LOCK = "lock.mdb"
DATABASES = ("meta", "streams", "spans", "head", "blocks", "records", "index", "state")
FORMAT = b"vagus store 2"
OLDER = (b"vagus store 1",)  # is read; a writer makes it FORMAT, since an older vagus cannot read what it adds
UNWRITTEN_BYTES = 1 << 20


class Files:
    """An open environment. No process may have the same two files open twice.

    lmdb: LMDB's environment; db: its databases by name; data: a descriptor of the data file; data_file, lock_file:
    which files these are, as (device, inode). Raises StoreError: damaged, of another version, not permitted.
    """

    def __init__(self, path: Path, folder: Path, readonly: bool, map_bytes: int) -> None:
        self._path = path  # as errors call it
        with mapped(path):
            check_length(folder / DATA, readonly)
            self.lmdb: Any = lmdb.open(
                str(folder),
                map_size=0 if readonly else map_bytes,
                readonly=readonly,
                create=not readonly,
                sync=False,
                writemap=False,
                max_readers=MAX_READERS,
                max_dbs=len(DATABASES) + 4,
            )
            self.data = -1
            try:
                self.lock_file = file_of(folder / LOCK)
                self.data = os.open(folder / DATA, os.O_RDONLY | os.O_CLOEXEC)
                self.data_file = file_of(self.data)
                self.lmdb.reader_check()
                self.db = self._databases(readonly)
            except BaseException:
                self.close()
                raise

    def _databases(self, readonly: bool) -> dict[str, Any]:
        if readonly:
            try:
                db = {name: self.lmdb.open_db(name.encode(), create=False) for name in DATABASES}
            except (lmdb.NotFoundError, lmdb.ReadonlyError) as error:
                raise StoreError(f"{self._path} is not (or not yet) a store of vagus") from error
            with self.lmdb.begin() as txn:
                found = txn.get(b"format", db=db["meta"])
        else:
            with self.lmdb.begin(write=True) as txn:
                db = {name: self.lmdb.open_db(name.encode(), txn) for name in DATABASES}
                found = txn.get(b"format", db=db["meta"])
                if found in OLDER or (found is None and not txn.stat(db["streams"])["entries"]):
                    txn.put(b"format", FORMAT, db=db["meta"])
                    found = FORMAT
        if found != FORMAT and found not in OLDER:
            raise StoreError(
                f"{self._path} has the format {bytes(found or b'')[:40]!r}, this vagus reads {FORMAT!r}: "
                "upgrade vagus, or move the folder away to begin a new store"
            )
        return db

    def last_txn(self) -> int:
        """The number of the newest commit."""
        return int(self.lmdb.info()["last_txnid"])

    def close(self) -> None:
        """Lets go of the files and unmaps them: no transaction may be in use. Harmless when done already."""
        self.lmdb.close()
        if self.data >= 0:
            os.close(self.data)
            self.data = -1


def file_of(file: Path | int) -> tuple[int, int]:
    """Which file that is: (device, inode). Raises OSError."""
    found = os.stat(file)
    return found.st_dev, found.st_ino


def check_length(path: Path, readonly: bool) -> None:
    """Refuses a data file that was cut short: reading past its end would kill the process. Raises StoreError.

    LMDB itself leaves the last few pages unwritten when it has taken and freed them in one transaction: such a file is
    made whole with a hole, in which LMDB and our checksums find no valid page.
    """
    try:
        data = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    try:
        size = os.fstat(data).st_size
        if size == 0:
            return
        newest = max(read_metas(data), key=lambda meta: meta.txn)
        needed = (newest.last_page + 1) * newest.page_bytes
        if size < needed - UNWRITTEN_BYTES:
            raise StoreError(f"the file is cut short: {size} bytes of {needed}")
        if size < needed and not readonly:
            os.truncate(path, needed)
    except StoreError as error:
        raise StoreError(f"{path}: {error}. Move the folder away to begin a new store, or put a copy back") from error
    finally:
        os.close(data)
