"""A rewritten copy of a store's file, and how it takes the place of the old one.

LMDB cannot use a page again that any reader may still see, and nothing in LMDB ends the read transaction of another
process. Pulling its slot away would let the writer change pages under a reader that may wake at any time (a stopped
one does), which can crash it. So the writer leaves the old file to those who read it: it copies what is alive into a
new file and renames that into place. The old one is frozen, whole and consistent, until its last reader lets go.

The new file continues the old one's transaction number, and both of its roots name the same tree. So the old and the
new lock file each fit either data file, and a crash between the two renames leaves a pair that is sound: no commit
comes between them. The data file goes first: the other way round, a crash would leave readers of the old file without
the protection of their slots.

Copying by key packs pages full; LMDB's own compacting copy keeps them as they are, and refuses files with a lost page.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lmdb

from vagus.errors import StoreError
from vagus.store.checkpoint import DATA, read_metas, write_roots
from vagus.store.faults import mapped
from vagus.store.files import LOCK, Files

if TYPE_CHECKING:
    from vagus.store.environment import Environment

NEW = "rewritten"
FORMER = "former.mdb"
COPY_BYTES = 32 << 20  # in one transaction of the copy
COPY_ENTRIES = 100_000
SPARE_BYTES = 1 << 20

Progress = Callable[[int, int], None]
"""Called with entries done and entries in all."""


def rewrite(env: Environment, progress: Progress | None) -> Path:
    """A folder beside the data file with a compact copy of it, on disk; nothing may write meanwhile.

    Raises StoreError when the disk has not enough room.
    """
    folder = env.path / NEW
    needed = env.usage()["used_bytes"] + SPARE_BYTES
    with mapped(env.path):
        clear(env.path)
        disk = os.statvfs(env.path)
        free = disk.f_bavail * disk.f_frsize
        if free < needed:
            raise StoreError(
                f"{env.path} cannot be rewritten: that needs {needed >> 20} MiB, and the disk has {free >> 20} MiB: free space"
            )
        folder.mkdir()
        try:
            commits = _copy(env, folder, progress)
            while env.last_txn() < commits:  # the copy's lists of free pages name its own commits
                with env.write() as txn:
                    txn.put(b"rewritten", b"", db=env.db["meta"])
            data = os.open(folder / DATA, os.O_RDWR | os.O_CLOEXEC)
            try:
                newest = max(read_metas(data), key=lambda meta: meta.txn)
                write_roots(data, newest.raw, env.last_txn())
            finally:
                os.close(data)
            (folder / LOCK).unlink()
        except BaseException:
            clear(env.path)
            raise
    return folder


def _copy(env: Environment, folder: Path, progress: Progress | None) -> int:
    """Copies every database in order of its keys, and syncs; the number of the copy's last commit."""
    made: Any = lmdb.open(
        str(folder), map_size=env.usage()["map_bytes"], sync=False, max_dbs=len(env.db) + 4, max_readers=8
    )
    try:
        with env.read() as txn:
            total = sum(int(txn.stat(db)["entries"]) for db in env.db.values())
        done = 0
        for name, source in env.db.items():
            with made.begin(write=True) as new:
                target = made.open_db(name.encode(), new)
            key: bytes | None = b""
            while key is not None:
                with env.read() as txn, made.begin(write=True) as new:
                    cursor = txn.cursor(source)
                    found = cursor.set_range(key) if key else cursor.first()
                    copied, _ = new.cursor(target).putmulti(_bounded(cursor) if found else (), append=True)
                    key = bytes(cursor.key()) if copied and cursor.key() else None
                    done += copied
                if progress is not None:
                    progress(done, total)
        made.sync(True)
        return int(made.info()["last_txnid"])
    finally:
        made.close()


def _bounded(cursor: Any) -> Iterator[tuple[Any, Any]]:
    """Entries from the cursor on, 32 MiB or 100,000 of them; the cursor then stands on the next one."""
    size = 0
    for _ in range(COPY_ENTRIES):
        key, value = cursor.item()
        size += len(key) + len(value)
        yield key, value
        if not cursor.next() or size >= COPY_BYTES:
            return


def create(path: Path, map_bytes: int) -> None:
    """The files of a new store, on disk before they get their names: no power cut leaves a half of them.

    Raises StoreError.
    """
    with mapped(path):
        (path / NEW).mkdir()
        files = Files(path, path / NEW, False, map_bytes)
        try:
            files.lmdb.sync(True)
        finally:
            files.close()
        put_in_place(path / NEW, path)
        clear(path)


def put_in_place(folder: Path, path: Path) -> None:
    """Renames the new files over the old ones, in the order that a crash may interrupt. Raises OSError: all is as before."""
    with suppress(OSError):  # there is none yet, or the file system has no links
        os.link(path / DATA, folder / FORMER)
    os.replace(folder / DATA, path / DATA)
    try:
        os.replace(folder / LOCK, path / LOCK)
    except OSError:  # whoever has the old files open must not go on in one that has no name any more
        with suppress(FileNotFoundError):
            os.replace(folder / FORMER, path / DATA)
        raise


def clear(path: Path) -> None:
    """Removes what an interrupted rewriting left."""
    shutil.rmtree(path / NEW, ignore_errors=True)
