"""Timelines in LMDB: of each user the newest posts, newest first. Any number of processes share one."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

import lmdb

KEPT = 128
_ENTRY = struct.Struct("<qi")  # post, author
_KEY = struct.Struct(">i")


class Timelines:
    """A database in a folder; made if need be. What a power cut would lose is lost: it is not synced."""

    def __init__(self, folder: Path) -> None:
        self._env = lmdb.open(str(folder), map_size=64 << 20, sync=False, max_readers=256)

    def add(self, users: Iterable[int], post: int, author: int) -> int:
        """Puts a post on top of these users' timelines, once; to how many."""
        count = 0
        entry = _ENTRY.pack(post, author)
        with self._env.begin(write=True) as txn:
            for user in users:
                key = _KEY.pack(user)
                before = txn.get(key) or b""
                if before[: _ENTRY.size] != entry:
                    txn.put(key, (entry + before)[: KEPT * _ENTRY.size])
                    count += 1
        return count

    def fill(self, timelines: dict[int, list[tuple[int, int]]]) -> None:
        """Writes whole timelines: (post, author), newest first."""
        with self._env.begin(write=True) as txn:
            for user, entries in timelines.items():
                txn.put(_KEY.pack(user), b"".join(_ENTRY.pack(*entry) for entry in entries[:KEPT]))

    def read(self, user: int, count: int = KEPT) -> list[tuple[int, int]]:
        """(post, author), newest first."""
        with self._env.begin() as txn:
            found = txn.get(_KEY.pack(user)) or b""
        return list(_ENTRY.iter_unpack(found[: count * _ENTRY.size]))

    def close(self) -> None:
        self._env.close()
