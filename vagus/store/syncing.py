"""Syncs of one environment: what is on disk for certain, named by a checkpoint, and brought back after a power cut.

See checkpoint.py for what is promised and why it holds.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from vagus.errors import StoreError
from vagus.store.checkpoint import Checkpoint, Meta, read_metas
from vagus.store.faults import mapped
from vagus.store.files import Files, Txn
from vagus.store.lock import OPENING_S, WriterLock, opening

PIN_TRIES = 1000


class Syncing:
    """Syncs and recovers the files of one folder; a read transaction, the pin, keeps the synced tree whole.

    lock: held while the files are synced or others put in their place. txn, bytes: of the last sync (-1: none yet).
    """

    def __init__(self, path: Path, boot: bytes) -> None:
        self.lock = threading.RLock()
        self.recovered = False
        self.txn, self.bytes = -1, 0
        self._path = path
        self._checkpoint = Checkpoint(path, boot)
        self._pin: Txn = None

    def recover(self) -> None:
        """Before LMDB opens the file, for the holder of the writer's lock: puts the synced root back if it must be."""
        if self._checkpoint.is_behind():
            with opening(self._path, exclusive=True):  # who reads must not have mapped what is taken back
                self.recovered = self._checkpoint.recover()

    def recover_if_alone(self, writer: WriterLock) -> None:
        """A reader that comes first after a power cut does what the writer would, or waits until that has done it."""
        until = time.monotonic() + OPENING_S
        while self._checkpoint.is_behind():
            try:
                writer.take(as_reader=True)
            except (StoreError, OSError) as error:
                if time.monotonic() > until:
                    raise StoreError(
                        f"{self._path}: the machine stopped before its last commits were synced, so that whoever may write "
                        f"it must open it first; {error}"
                    ) from error
                time.sleep(0.01)
                continue
            try:
                self.recover()
            finally:
                writer.release()

    def sync(self, files: Files) -> None:
        """Everything committed so far is on disk when this returns; the file's root is saved as a checkpoint.

        Commits of other threads may go on meanwhile. Raises StoreError when the disk fails.
        """
        with mapped(self._path), self.lock:
            pin, meta = self._pinned(files)
            if meta.txn == self.txn:
                pin.abort()
                return
            try:
                files.lmdb.sync(True)
                self._checkpoint.save(files.data, meta)
            except BaseException:
                pin.abort()
                raise
            if self._pin is not None:
                self._pin.abort()
            self._pin, self.txn, self.bytes = pin, meta.txn, meta.last_page * meta.page_bytes

    def _pinned(self, files: Files) -> tuple[Txn, Meta]:
        """A read transaction and the root it reads; read again when two commits of another thread came between."""
        for _ in range(PIN_TRIES):
            pin = files.lmdb.begin(buffers=True)
            txn = pin.id()
            for meta in read_metas(files.data):
                if meta.txn == txn and meta in read_metas(files.data):  # twice the same: not half overwritten
                    return pin, meta
            pin.abort()
        raise StoreError(
            f"{self._path}: LMDB's lock file is of another state than the data file: end all processes that read this "
            "store (`lsof` names them), then open it again"
        )

    def save(self, files: Files) -> None:
        """Names the root of files that are wholly on disk, before they take the place of the others."""
        self._checkpoint.save(files.data, max(read_metas(files.data), key=lambda meta: meta.txn))

    def own_reader(self) -> tuple[int, int] | None:
        """The pin as (process, transaction) in LMDB's table of readers."""
        return None if self._pin is None else (os.getpid(), self.txn)

    def unpin(self) -> None:
        """Forgets the last sync: the files are closed or others put in their place."""
        if self._pin is not None:
            self._pin.abort()
        self._pin, self.txn = None, -1

    def close(self) -> None:
        """Lets go of the checkpoint's file."""
        self._checkpoint.close()
