"""One LMDB environment: opening, the writer's lock, transactions, and LMDB's errors as StoreError.

One process writes (POSIX lock on the file `writer`), any number read. Inside one process an environment is opened
once and shared: LMDB must not open a file twice. Flags: `sync=False`, so that a commit is acknowledged from the page
cache (survives `kill -9` of any process); what a power cut leaves is described in checkpoint.py. `writemap=False`:
a stray write of a C extension cannot reach the file, and pages reach it by pwrite, so that a full disk is an error
and not a SIGBUS. `subdir`, format 0.9.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import lmdb

from vagus.errors import StoreError
from vagus.store.checkpoint import DATA, Checkpoint, Meta, boot_id, read_metas
from vagus.store.faults import MAX_READERS, mapped
from vagus.store.lock import WriterLock

Txn = Any
MAP_BYTES = 16 << 30
DATABASES = ("meta", "streams", "spans", "head", "blocks", "records", "index", "state")
FORMAT = b"vagus store 1"
UNWRITTEN_BYTES = 1 << 20


class Environment:
    """An open environment, shared by every Store of this process on the same files; `open` and `close` count them."""

    _opened: ClassVar[dict[tuple[int, int], Environment]] = {}
    _guard: ClassVar[threading.RLock] = threading.RLock()

    def __init__(self, path: Path, readonly: bool, map_bytes: int, boot: bytes) -> None:
        self.path = path
        self.readonly = readonly
        self.recovered = False
        self._users = 1
        self._lock = WriterLock(path)
        self._checkpoint = Checkpoint(path, boot)
        self._pin: Txn = None
        self._sync_lock = threading.Lock()
        self.synced_txn = -1
        try:
            if readonly:
                self._recover_if_alone()
            else:
                self._lock.take()
                self.recovered = self._checkpoint.recover()
            self._check_file()
            with mapped(path):
                self._env: Any = lmdb.open(
                    str(path),
                    map_size=0 if readonly else map_bytes,
                    readonly=readonly,
                    create=not readonly,
                    sync=False,
                    writemap=False,
                    max_readers=MAX_READERS,
                    max_dbs=len(DATABASES) + 4,
                )
        except BaseException:
            self._lock.release()
            raise
        try:
            with mapped(path):
                self._data = os.open(path / DATA, os.O_RDONLY | os.O_CLOEXEC)
                self._env.reader_check()
                self.db: dict[str, Any] = {}
                self._open_databases()
            if not readonly:
                self.sync()
                _sync_folder(path)
        except BaseException:
            self._close()
            raise

    @classmethod
    def open(
        cls, path: Path, *, create: bool, readonly: bool, map_bytes: int = MAP_BYTES, boot: bytes | None = None
    ) -> Environment:
        """The environment in the folder `path`. Raises StoreError: missing, held by another writer, damaged."""
        with cls._guard, mapped(path):
            if not readonly and create:
                path.mkdir(parents=True, exist_ok=True)
            if not path.is_dir() or (not (path / DATA).exists() and (readonly or not create)):
                raise StoreError(f"there is no store at {path}; is vagus running there, and is the path right?")
            shared = cls._opened.get(_identity(path))
            if shared is not None:
                if not readonly:
                    raise StoreError(
                        f"{path} is already open in this process (pid {os.getpid()}); use that Store or close it first"
                    )
                shared._users += 1
                return shared
            opened = cls(path, readonly, map_bytes, boot_id() if boot is None else boot)
            cls._opened[_identity(path)] = opened
            return opened

    def close(self) -> None:
        """Lets go of the environment; the last user closes it."""
        with self._guard:
            self._users -= 1
            if self._users == 0:
                self._opened.pop(next((key for key, env in self._opened.items() if env is self), (0, 0)), None)
                self._close()

    def _close(self) -> None:
        if self._pin is not None:
            self._pin.abort()
            self._pin = None
        self._env.close()
        os.close(self._data)
        self._checkpoint.close()
        self._lock.release()

    def _open_databases(self) -> None:
        if self.readonly:
            try:
                self.db = {name: self._env.open_db(name.encode(), create=False) for name in DATABASES}
            except (lmdb.NotFoundError, lmdb.ReadonlyError) as error:
                raise StoreError(f"{self.path} is not (or not yet) a store of vagus") from error
            with self._env.begin() as txn:
                found = txn.get(b"format", db=self.db["meta"])
        else:
            with self._env.begin(write=True) as txn:
                self.db = {name: self._env.open_db(name.encode(), txn) for name in DATABASES}
                found = txn.get(b"format", db=self.db["meta"])
                if found is None and not txn.stat(self.db["streams"])["entries"]:
                    txn.put(b"format", FORMAT, db=self.db["meta"])
                    found = FORMAT
        if found != FORMAT:
            raise StoreError(
                f"{self.path} has the format {bytes(found or b'')[:40]!r}, this vagus reads {FORMAT!r}: "
                "upgrade vagus, or move the folder away to begin a new store"
            )

    def _check_file(self) -> None:
        """Reading past the end of a file that was cut short would kill the process.

        LMDB itself leaves the last few pages unwritten when it has taken and freed them in one transaction: such a
        file is made whole with a hole, in which LMDB and our checksums find no valid page.
        """
        try:
            data = os.open(self.path / DATA, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"cannot read {self.path / DATA}: {error.strerror}") from error
        try:
            size = os.fstat(data).st_size
            if size == 0:
                return
            newest = max(read_metas(data), key=lambda meta: meta.txn)
            needed = (newest.last_page + 1) * newest.page_bytes
            if size < needed - UNWRITTEN_BYTES:
                raise StoreError(f"the file is cut short: {size} bytes of {needed}")
            if size < needed and not self.readonly:
                os.truncate(self.path / DATA, needed)
        except StoreError as error:
            raise StoreError(
                f"{self.path / DATA}: {error}. Move the folder away to begin a new store, or put a copy back"
            ) from error
        finally:
            os.close(data)

    def _recover_if_alone(self) -> None:
        """A reader that comes first after a power cut does what the writer would; else the writer has done it."""
        if not self._checkpoint.is_behind():
            return
        try:
            self._lock.take()
        except (StoreError, OSError):
            return
        try:
            self.recovered = self._checkpoint.recover()
        finally:
            self._lock.release()

    # --- transactions --------------------------------------------------------------------------------------------

    @contextmanager
    def read(self) -> Iterator[Txn]:
        """A short read transaction; its values are memoryviews, valid inside it alone."""
        with mapped(self.path):
            try:
                txn = self._env.begin(buffers=True)
            except lmdb.MapResizedError:
                self._env.set_mapsize(0)
                txn = self._env.begin(buffers=True)
            with txn:
                yield txn

    @contextmanager
    def write(self) -> Iterator[Txn]:
        """A write transaction: committed when the block ends, aborted when it raises (MapFull among others)."""
        if self.readonly:
            raise StoreError(f"{self.path} is open for reading only")
        with mapped(self.path), self._env.begin(write=True) as txn:
            yield txn

    def sync(self) -> None:
        """Everything committed so far is on disk when this returns; the file's root is saved as a checkpoint.

        Commits of other threads may go on meanwhile. Raises StoreError when the disk fails.
        """
        with mapped(self.path), self._sync_lock:
            pin, meta = self._pinned()
            if meta.txn == self.synced_txn:
                pin.abort()
                return
            try:
                self._env.sync(True)
                self._checkpoint.save(self._data, meta)
            except BaseException:
                pin.abort()
                raise
            if self._pin is not None:
                self._pin.abort()
            self._pin, self.synced_txn = pin, meta.txn

    def _pinned(self) -> tuple[Txn, Meta]:
        """A read transaction and the root it reads; read again when two commits of another thread came between."""
        while True:
            pin = self._env.begin(buffers=True)
            txn = pin.id()
            for meta in read_metas(self._data):
                if meta.txn == txn:
                    return pin, meta
            pin.abort()

    def usage(self) -> dict[str, int]:
        """Bytes in use (pages of all databases), in the file, in the map; readers; all as integers."""
        with self.read() as txn:
            stats = [txn.stat(db) for db in self.db.values()]
        info = self._env.info()
        page = int(stats[0]["psize"])
        used = sum(s["branch_pages"] + s["leaf_pages"] + s["overflow_pages"] for s in stats) + 4
        return {
            "used_bytes": used * page,
            "file_bytes": (info["last_pgno"] + 1) * page,
            "map_bytes": info["map_size"],
            "readers": info["num_readers"],
        }


def _identity(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _sync_folder(path: Path) -> None:
    for folder in (path, path.parent):
        file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)
