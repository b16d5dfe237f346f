"""One LMDB environment: opening, sharing in a process, the writer's lock, transactions, syncs, and LMDB's errors.

One process writes (lock on the file `writer`), any number read. Inside one process an environment is opened
once and shared: LMDB must not open a file twice. The writer may put a rewritten file in the place of this one
(handover.py): every process sees that at its next read. Nothing is unmapped while a read of this process uses it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from vagus.errors import StoreError
from vagus.store import handover
from vagus.store.checkpoint import DATA, boot_id
from vagus.store.faults import mapped
from vagus.store.files import LOCK, Files, Txn, file_of
from vagus.store.holders import Holder, Holders
from vagus.store.lock import WriterLock, opening
from vagus.store.syncing import Syncing
from vagus.store.transactions import WATCHDOG, Read, Reads

MAP_BYTES = 16 << 30
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
REWRITTEN = "the store was rewritten while this read hung: read again"
CLOSED = "the store was closed while this was read"
FORKED = "it was open before a fork, in the parent process: read it in a process that is started anew (spawn)"


class Environment:
    """An open environment, shared by every Store of this process on the same files; `open` and `close` count them."""

    _opened: ClassVar[dict[tuple[int, int], Environment]] = {}
    _guard: ClassVar[threading.RLock] = threading.RLock()
    _parents: ClassVar[dict[tuple[int, int], Any]] = {}  # inherited by a fork: what ends here would end there

    def __init__(self, path: Path, readonly: bool, map_bytes: int, boot: bytes) -> None:
        self.path = path
        self.readonly = readonly
        self.replaced = 0
        self._users = 1
        self._map_bytes = map_bytes
        self._lock = WriterLock(path)
        self._syncing = Syncing(path, boot)
        self._reads = Reads(self)
        self._holders = Holders()
        self._why_closed = CLOSED
        self._data_path = str(path / DATA)
        self._folder = file_of(path)
        self._files: Files | None = None
        self.db: dict[str, Any] = {}
        try:
            if readonly:
                self._syncing.recover_if_alone(self._lock)
            else:
                self._lock.take()
                self._syncing.recover()
                handover.clear(path)
                if not (path / DATA).exists():
                    handover.create(path, map_bytes)
            with opening(path, exclusive=False):
                self._files = Files(path, path, readonly, map_bytes)
            self.db = self._files.db
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
            if file_of(path) in cls._parents:  # LMDB must not open it twice, nor close it here
                raise StoreError(f"{path}: {FORKED}")
            shared = cls._opened.get(file_of(path))
            if shared is not None and shared.is_elsewhere():
                # that folder was removed, and its inode given to this one
                cls._opened.pop(file_of(path))
            elif shared is not None:
                if not readonly:
                    raise StoreError(
                        f"{path} is already open in this process (pid {os.getpid()}); use that Store or close it first"
                    )
                shared._users += 1
                return shared
            opened = cls(path, readonly, map_bytes, boot_id() if boot is None else boot)
            cls._opened[opened._folder] = opened
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
        with self._syncing.lock, self._reads:
            self._syncing.unpin()
            files, self._files = self._files, None
            if files is not None and not self._reads.orphan(files, CLOSED):
                files.close()
        self._syncing.close()
        self._lock.release()

    def is_elsewhere(self) -> bool:
        """Whether the folder at our path is no longer the one that we opened."""
        try:
            return file_of(self.path) != self._folder
        except OSError:
            return True

    @classmethod
    def forked(cls) -> None:
        """In a child process: what it inherited is its parent's, whose reads would lose their protection if we ended them."""
        cls._guard = threading.RLock()
        for key, env in cls._opened.items():
            env._lock.release()  # our share of it
            cls._parents[key] = (env._files, env._reads, env._syncing)
            env._files = None
            env._why_closed = FORKED
            env._reads, env._syncing = Reads(env), Syncing(env.path, b"")
        cls._opened = {}

    @property
    def _open(self) -> Files:
        files = self._files
        if files is None:
            raise StoreError(f"{self.path}: {self._why_closed}")
        return files

    # --- transactions --------------------------------------------------------------------------------------------

    def read(self) -> Read:
        """`with env.read() as txn`: a short read transaction; its values are memoryviews, valid inside it alone."""
        return Read(self._reads)

    def begin(self) -> tuple[Files, Txn]:
        """For Reads, at its gate: the files, and a read transaction on them."""
        files = self._open
        return files, files.lmdb.begin(buffers=True)

    def resize(self) -> None:
        """For Reads, when none is under way: the map is larger since we opened it."""
        self._open.lmdb.set_mapsize(0)

    def left(self, files: Files) -> None:
        """For Reads: nothing reads these files any more."""
        if files is not self._files:
            files.close()

    @contextmanager
    def unwritten(self) -> Iterator[bool]:
        """Keeps every writer out; False, and does nothing, where one is at work or we may not."""
        if not self.readonly:
            yield False
            return
        try:
            self._lock.take(as_reader=True)
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
        with mapped(self.path), self._open.lmdb.begin(write=True) as txn:
            yield txn

    def sync(self) -> None:
        """Everything committed so far is on disk when this returns. Raises StoreError when the disk fails."""
        with self._syncing.lock:
            self._syncing.sync(self._open)

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
            files = Files(self.path, made, False, self._map_bytes)
            try:
                if files.last_txn() != self.last_txn():
                    raise StoreError(f"{self.path} was written while it was rewritten; the old file stays: try again")
                with self._syncing.lock, self._reads, opening(self.path, exclusive=True):
                    with mapped(self.path):
                        self._syncing.save(files)
                        handover.put_in_place(made, self.path)
                    self._switch(files)
                    _sync_folder(self.path)
            except BaseException:
                if self._files is not files:
                    files.close()
                raise
        finally:
            handover.clear(self.path)
        self.sync()

    def _switch(self, files: Files) -> None:
        self._syncing.unpin()
        former = self._open
        self._files, self.db = files, files.db
        self.replaced += 1
        if not self._reads.orphan(former, REWRITTEN):
            former.close()

    def was_replaced(self) -> bool:
        """For Reads: whether the writer, another process, has put a new file in the place of ours."""
        if not self.readonly or self._files is None:
            return False
        try:
            found = os.stat(self._data_path)
        except OSError:
            return False  # its folder was removed: what is open stays readable
        return (found.st_dev, found.st_ino) != self._files.data_file

    def reopen(self) -> None:
        """For Reads, when none is under way in other threads: opens the new file. Raises StoreError."""
        if self.is_elsewhere():
            raise StoreError(f"{self.path}: another folder was put there: open it anew")
        former = self._open
        with opening(self.path, exclusive=False):
            if file_of(self.path / LOCK) == former.lock_file:
                # A rewriting was killed between its two renames. No process must open that lock file twice.
                if self._reads.orphan(former, REWRITTEN):
                    raise StoreError(f"{self.path}: {REWRITTEN}")
                former.close()
            files = Files(self.path, self.path, True, 0)
        self._switch(files)

    # --- figures ---------------------------------------------------------------------------------------------------

    @property
    def recovered(self) -> bool:
        """Whether unsynced commits were taken back at opening, after a power cut."""
        return self._syncing.recovered

    @property
    def synced_bytes(self) -> int:
        """Size of the file at the last sync."""
        return self._syncing.bytes

    def file_bytes(self) -> int:
        """Bytes of the file that were ever used."""
        with mapped(self.path):
            return int((self._open.lmdb.info()["last_pgno"] + 1) * PAGE_BYTES)

    def last_txn(self) -> int:
        """The number of the newest commit."""
        with mapped(self.path):
            return self._open.last_txn()

    def holders(self, now_ns: int, check: bool = True) -> list[Holder]:
        """Read transactions in LMDB's table, those of all processes, but for our own pin; the longest held first.

        now_ns: of a monotonic clock; ages count from when a transaction was first seen here. check: also free the
        slots of processes that died.
        """
        with mapped(self.path):
            found = self._open.lmdb
            if check:
                found.reader_check()
            return self._holders.look(found.readers(), self.last_txn(), self._syncing.own_reader(), now_ns)

    def usage(self) -> dict[str, int]:
        """Bytes in use (pages of all databases), in the file, in the map; readers; all as integers."""
        with self.read() as txn:
            stats = [txn.stat(db) for db in self.db.values()]
            info = self._open.lmdb.info()
        page = int(stats[0]["psize"])
        used = sum(s["branch_pages"] + s["leaf_pages"] + s["overflow_pages"] for s in stats) + 4
        return {
            "used_bytes": used * page,
            "file_bytes": (info["last_pgno"] + 1) * page,
            "map_bytes": info["map_size"],
            "readers": info["num_readers"],
        }


os.register_at_fork(after_in_child=Environment.forked)


def _sync_folder(path: Path) -> None:
    for folder in (path, path.parent):
        file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)
