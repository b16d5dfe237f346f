"""One LMDB environment: opening, the writer's lock, transactions, and LMDB's errors as StoreError.

One process writes (POSIX lock on the file `writer`), any number read. Inside one process an environment is opened
once and shared: LMDB must not open a file twice. Flags: `sync=False`, so that a commit is acknowledged from the page
cache (survives `kill -9` of any process); what a power cut leaves is described in checkpoint.py. `writemap=False`:
a stray write of a C extension cannot reach the file, and pages reach it by pwrite, so that a full disk is an error
and not a SIGBUS. `subdir`, format 0.9. The writer may put a rewritten file in the place of this one (handover.py):
every process sees that at its next read.
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
from vagus.store import handover
from vagus.store.checkpoint import DATA, Checkpoint, Meta, boot_id, read_metas
from vagus.store.faults import MAX_READERS, mapped
from vagus.store.holders import Holder, Holders
from vagus.store.lock import WriterLock, opening
from vagus.store.transactions import WATCHDOG, Read, Reads

Txn = Any
MAP_BYTES = 16 << 30
DATABASES = ("meta", "streams", "spans", "head", "blocks", "records", "index", "state")
FORMAT = b"vagus store 2"
OLDER = (b"vagus store 1",)  # is read; a writer makes it FORMAT, since an older vagus cannot read what it adds
UNWRITTEN_BYTES = 1 << 20
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
REWRITTEN = "the store was rewritten while this read hung: read again"


class Environment:
    """An open environment, shared by every Store of this process on the same files; `open` and `close` count them."""

    _opened: ClassVar[dict[tuple[int, int], Environment]] = {}
    _guard: ClassVar[threading.RLock] = threading.RLock()

    def __init__(self, path: Path, readonly: bool, map_bytes: int, boot: bytes) -> None:
        self.path = path
        self.readonly = readonly
        self.recovered = False
        self.replaced = 0
        self._users = 1
        self._map_bytes = map_bytes
        self._lock = WriterLock(path)
        self._checkpoint = Checkpoint(path, boot)
        self._pin: Txn = None
        self._sync_lock = threading.Lock()
        self._reads = Reads(self)
        self._holders = Holders()
        self.synced_txn, self.synced_bytes = -1, 0
        self.db: dict[str, Any] = {}
        self._data_path = str(path / DATA)
        self._data_file = (0, 0)
        self._env: Any = None
        self._data = -1
        try:
            if readonly:
                self._recover_if_alone()
            else:
                self._lock.take()
                self.recovered = self._checkpoint.recover()
                handover.clear(path)
            with opening(path, exclusive=False):
                self._check_file()
                self._env, self._data = self._open_lmdb(path)
            self._data_file = _file_of(self._data)
            with mapped(path):
                self._env.reader_check()
            self.db = self._open_databases(self._env)
            if not readonly:
                self.sync()
                _sync_folder(path)
            WATCHDOG.watch(self._reads)
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
        WATCHDOG.forget(self._reads)
        if self._pin is not None:
            self._pin.abort()
            self._pin = None
        if self._env is not None:
            self._env.close()
            os.close(self._data)
        self._checkpoint.close()
        self._lock.release()

    def _open_lmdb(self, folder: Path) -> tuple[Any, int]:
        """LMDB's environment in `folder`, and a descriptor of its data file."""
        with mapped(self.path):
            opened: Any = lmdb.open(
                str(folder),
                map_size=0 if self.readonly else self._map_bytes,
                readonly=self.readonly,
                create=not self.readonly,
                sync=False,
                writemap=False,
                max_readers=MAX_READERS,
                max_dbs=len(DATABASES) + 4,
            )
            try:
                self._lock_file = handover.lock_file(folder)
                return opened, os.open(folder / DATA, os.O_RDONLY | os.O_CLOEXEC)
            except BaseException:
                opened.close()
                raise

    def _open_databases(self, opened: Any) -> dict[str, Any]:
        with mapped(self.path):
            if self.readonly:
                try:
                    db = {name: opened.open_db(name.encode(), create=False) for name in DATABASES}
                except (lmdb.NotFoundError, lmdb.ReadonlyError) as error:
                    raise StoreError(f"{self.path} is not (or not yet) a store of vagus") from error
                with opened.begin() as txn:
                    found = txn.get(b"format", db=db["meta"])
            else:
                with opened.begin(write=True) as txn:
                    db = {name: opened.open_db(name.encode(), txn) for name in DATABASES}
                    found = txn.get(b"format", db=db["meta"])
                    if found in OLDER or (found is None and not txn.stat(db["streams"])["entries"]):
                        txn.put(b"format", FORMAT, db=db["meta"])
                        found = FORMAT
        if found != FORMAT and found not in OLDER:
            raise StoreError(
                f"{self.path} has the format {bytes(found or b'')[:40]!r}, this vagus reads {FORMAT!r}: "
                "upgrade vagus, or move the folder away to begin a new store"
            )
        return db

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

    def read(self) -> Read:
        """`with env.read() as txn`: a short read transaction; its values are memoryviews, valid inside it alone."""
        return Read(self._reads)

    def begin(self) -> tuple[Any, Txn]:
        """For Reads, at its gate: the LMDB environment and a read transaction on it."""
        return self._env, self._env.begin(buffers=True)

    def resize(self) -> None:
        """For Reads, when none is under way in other threads: the map is larger since we opened it."""
        self._env.set_mapsize(0)

    def left(self, lmdb_env: Any) -> None:
        """For Reads: nothing reads a former environment any more."""
        if lmdb_env is not self._env:
            lmdb_env.close()

    @contextmanager
    def unwritten(self) -> Iterator[bool]:
        """Keeps every writer out; False, and does nothing, where one is at work or we may not."""
        if not self.readonly:
            yield False
            return
        try:
            self._lock.take()
        except (StoreError, OSError):
            yield False
            return
        try:
            yield True
        finally:
            self._lock.release()

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
            self._pin, self.synced_txn, self.synced_bytes = pin, meta.txn, meta.last_page * meta.page_bytes

    def _pinned(self) -> tuple[Txn, Meta]:
        """A read transaction and the root it reads; read again when two commits of another thread came between."""
        while True:
            pin = self._env.begin(buffers=True)
            txn = pin.id()
            for meta in read_metas(self._data):
                if meta.txn == txn:
                    return pin, meta
            pin.abort()

    # --- a new file in this one's place ----------------------------------------------------------------------------

    def replace(self, progress: handover.Progress | None = None) -> None:
        """Rewrites all that is stored into a new file, without free pages, and puts it in this one's place.

        For the writer, between write transactions. Readers go on in the old file, which the kernel deletes when the
        last of them lets go, and see the new one at their next read. A crash at any moment leaves one of the two
        whole. Raises StoreError: no room on the disk; then all is as it was.
        """
        if self.readonly:
            raise StoreError(f"{self.path} is open for reading only")
        self.sync()
        made = handover.rewrite(self, progress)
        try:
            opened, data = self._open_lmdb(made)
            try:
                databases = self._open_databases(opened)
                if opened.info()["last_txnid"] != self.last_txn():
                    raise StoreError(f"{self.path} was written while it was rewritten; the old file stays: try again")
                with self._sync_lock, self._reads, opening(self.path, exclusive=True):
                    with mapped(self.path):
                        self._checkpoint.save(data, max(read_metas(data), key=lambda meta: meta.txn))
                        handover.put_in_place(made, self.path)
                    self._switch(opened, databases, data)
                    _sync_folder(self.path)
            except BaseException:
                if self._env is not opened:
                    opened.close()
                    os.close(data)
                raise
        finally:
            handover.clear(self.path)
        self.sync()

    def _switch(self, opened: Any, databases: dict[str, Any], data: int) -> None:
        if self._pin is not None:
            self._pin.abort()
            self._pin = None
        former, former_data = self._env, self._data
        self._env, self.db, self._data, self.synced_txn = opened, databases, data, -1
        self._data_file = _file_of(data)
        self.replaced += 1
        os.close(former_data)
        if not self._reads.orphan(former, REWRITTEN):
            former.close()

    def was_replaced(self) -> bool:
        """For Reads: whether the writer, another process, has put a new file in the place of ours."""
        if not self.readonly:
            return False
        try:
            found = os.stat(self._data_path)
        except OSError:
            return False  # its folder was removed: what is open stays readable
        return (found.st_dev, found.st_ino) != self._data_file

    def reopen(self) -> None:
        """For Reads, when none is under way in other threads: opens the new file. Raises StoreError."""
        with opening(self.path, exclusive=False):
            self._check_file()
            # Of a rewriting that was killed between its two renames we have the lock file open already, and a
            # process must not open that twice.
            if handover.lock_file(self.path) == self._lock_file and not self._reads.orphan(self._env, REWRITTEN):
                self._env.close()
            opened, data = self._open_lmdb(self.path)
        try:
            databases = self._open_databases(opened)
        except BaseException:
            opened.close()
            os.close(data)
            raise
        self._switch(opened, databases, data)

    # --- figures ---------------------------------------------------------------------------------------------------

    def file_bytes(self) -> int:
        """Bytes of the file that were ever used."""
        return int((self._env.info()["last_pgno"] + 1) * PAGE_BYTES)

    def last_txn(self) -> int:
        """The number of the newest commit."""
        return int(self._env.info()["last_txnid"])

    def holders(self, now_ns: int, check: bool = True) -> list[Holder]:
        """Read transactions in LMDB's table, those of all processes, but for our own pin; the longest held first.

        now_ns: of a monotonic clock; ages count from when a transaction was first seen here. check: also free the
        slots of processes that died.
        """
        with mapped(self.path):
            if check:
                self._env.reader_check()
            pin = None if self._pin is None else (os.getpid(), self._pin.id())
            return self._holders.look(self._env.readers(), self.last_txn(), pin, now_ns)

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


def _file_of(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


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
