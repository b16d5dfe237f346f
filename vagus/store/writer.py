"""The write side of one environment: a flush is one transaction; the head is sealed into blocks now and then."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import msgspec

from vagus.model import Stream
from vagus.store import blocks, head, records, retention
from vagus.store.environment import Environment, Txn
from vagus.store.faults import MapFull
from vagus.store.query import Query, sealed_count

SEAL_TICKS = 600
SEAL_BYTES = 16 << 20
RECORD_BYTES = 256 << 10  # a head record needs neighbouring pages, so a large flush becomes several
_FAR = 1 << 63


class Pending:
    """What was taken in and not yet committed, in order of arrival."""

    def __init__(self) -> None:
        self.streams: dict[int, Stream] = {}
        self.rows: list[tuple[int, int, bytes]] = []  # stream id, time, packed row
        self.bulk: dict[int, list[head.Rows]] = {}  # these came after the rows of the same stream
        self.records: list[records.Record] = []
        self.state: dict[str, bytes] = {}
        self.size = 0

    def __bool__(self) -> bool:
        return bool(self.rows or self.bulk or self.records or self.state or self.streams)


class Writer:
    """Commits what is pending, and keeps the head's figures: ticks, rows, streams, bytes, span."""

    def __init__(self, env: Environment, query: Query) -> None:
        self._env = env
        self._query = query
        self.dropped = 0
        self._clear_head()
        with env.write() as txn:
            query.refresh(txn)
            # Sequence numbers grow over the store's whole life: opened times 2**40, and on from there.
            opened = int.from_bytes(txn.get(b"opened", b"", db=env.db["meta"]), "little") + 1
            txn.put(b"opened", opened.to_bytes(8, "little"), db=env.db["meta"])
            self._sequence = opened << 40
            self._next_id = int.from_bytes(txn.get(b"next_id", b"\x01", db=env.db["meta"]), "little")
            cursor = txn.cursor(env.db["head"])
            self._head_key = int.from_bytes(cursor.key(), "big") + 1 if cursor.last() else 0
            for record in txn.cursor(env.db["head"]).iternext(keys=False):
                ids = memoryview(head.ids_of(record)).cast("I").tolist()
                self._count_head(ids, len(record), *head.time_span(record))
        self._unchecked = 0
        self._map_bytes = env.usage()["map_bytes"]

    def new_id(self) -> int:
        """A stream id that no stream ever had here."""
        self._next_id += 1
        return self._next_id - 1

    # --- the head ------------------------------------------------------------------------------------------------

    def _clear_head(self) -> None:
        self._head_rows = self._head_bytes = 0
        self._head_ids: set[int] = set()
        self.head_first_ns, self._head_last_ns = _FAR, -1

    def _count_head(self, ids: Any, size: int, first_ns: int, last_ns: int) -> None:
        self._head_rows += len(ids)
        self._head_bytes += size
        self._head_ids.update(ids)
        self.head_first_ns = min(self.head_first_ns, first_ns)
        self._head_last_ns = max(self._head_last_ns, last_ns)

    def commit(self, pending: Pending) -> None:
        """One transaction with all of `pending`. A full map makes room once and tries again. Raises StoreError."""
        self._unchecked += pending.size
        if self._unchecked > self._map_bytes // 64:
            self._unchecked = 0
            if self._env.usage()["used_bytes"] > self._map_bytes // 8 * 7:
                self._make_room()
        try:
            self._commit(pending)
        except MapFull:
            self._make_room()
            self._commit(pending)

    def _commit(self, pending: Pending) -> None:
        env = self._env
        added: list[tuple[Any, int, int, int]] = []
        sealed = False
        with env.write() as txn:
            for stream_id, stream in pending.streams.items():
                txn.put(blocks.ID.pack(stream_id), msgspec.msgpack.encode(stream), db=env.db["streams"])
            if pending.streams:
                txn.put(b"next_id", self._next_id.to_bytes(8, "little"), db=env.db["meta"])
            if pending.rows:
                added = self._append(txn, pending.rows)
            if pending.bulk:
                sealed = self._overlaps(pending, added) and self._seal(txn)
                for stream_id, parts in pending.bulk.items():
                    fields = self._query.streams[stream_id].fields
                    blocks.put_rows(env, txn, stream_id, fields, _joined(parts))
            records.write(env, txn, pending.records, self._sequence)
            for name, state in pending.state.items():
                txn.put(name.encode(), state, db=env.db["state"])
        # Only now is it so: a transaction that failed leaves the figures as they were.
        self._sequence += len(pending.records)
        self._head_key += len(added)
        for figures in added:
            self._count_head(*figures)
        if sealed:
            self._clear_head()

    def _append(self, txn: Txn, rows: list[tuple[int, int, bytes]]) -> list[tuple[Any, int, int, int]]:
        added: list[tuple[Any, int, int, int]] = []
        step = len(rows)
        size = sum(len(row) for _, _, row in rows) if step > 1000 else 0
        if size > RECORD_BYTES:
            step = max(1, step * RECORD_BYTES // size)
        for start in range(0, len(rows), step):
            ids, times, packed = zip(*rows[start : start + step], strict=True)
            record = head.encode_record(ids, times, packed)
            key = (self._head_key + len(added)).to_bytes(8, "big")
            txn.put(key, record, db=self._env.db["head"], append=True)
            added.append((ids, len(record), min(times), max(times)))
        return added

    def _overlaps(self, pending: Pending, added: list[tuple[Any, int, int, int]]) -> bool:
        """Whether bulk rows may meet head rows of their stream, which would win over them although older."""
        ids = self._head_ids.union(*(figures[0] for figures in added))
        first = min([self.head_first_ns, *(figures[2] for figures in added)])
        last = max([self._head_last_ns, *(figures[3] for figures in added)])
        return any(
            stream_id in ids and part[0].max() >= first and part[0].min() <= last
            for stream_id, parts in pending.bulk.items()
            for part in parts
        )

    # --- blocks --------------------------------------------------------------------------------------------------

    def seal_if_due(self) -> None:
        """Seals the head once its streams have about 600 rows each, or it has grown to 16 MiB."""
        if self._head_rows >= SEAL_TICKS * max(len(self._head_ids), 1) or self._head_bytes > SEAL_BYTES:
            self.seal()

    def seal(self) -> None:
        """Moves the whole head into blocks, in one transaction."""
        if not self._head_rows:
            return
        try:
            with self._env.write() as txn:
                self._seal(txn)
        except MapFull:
            self._make_room()
            with self._env.write() as txn:
                self._seal(txn)
        self._clear_head()

    def _seal(self, txn: Txn) -> bool:
        env = self._env
        found = head.decode_records(txn.cursor(env.db["head"]).iternext(keys=False), self._query.dtypes)
        for stream_id, rows in found.items():
            blocks.put_rows(env, txn, stream_id, self._query.streams[stream_id].fields, head.ordered(rows))
        txn.drop(env.db["head"], delete=False)
        txn.put(b"sealed", (sealed_count(env, txn) + 1).to_bytes(8, "little"), db=env.db["meta"])
        return True

    # --- room ----------------------------------------------------------------------------------------------------

    def _make_room(self) -> None:
        """Drops the oldest quarter, so that neighbouring pages are free too, and lets LMDB use them at once."""
        self._env.sync()
        used = self._env.usage()["used_bytes"]
        dropped = retention.drop_to(self._env, min(used, self._map_bytes) // 4 * 3)
        self.dropped += dropped
        if dropped:  # pages are free for use once the synced root, which we hold, is newer than their deletion
            with self._env.write() as txn:
                txn.put(b"dropped", dropped.to_bytes(8, "little"), db=self._env.db["meta"])
        self._env.sync()

    def forget_streams(self, keep: Container[int]) -> list[int]:
        """Drops the definitions of streams without any row, those declared in this Store excepted; their ids."""
        with self._env.write() as txn:
            with_data = set(retention.stream_ids(self._env, txn)) | self._head_ids
            gone = [i for i in self._query.streams if i not in with_data and i not in keep]
            for stream_id in gone:
                txn.delete(blocks.ID.pack(stream_id), db=self._env.db["streams"])
        return gone


def _joined(parts: list[head.Rows]) -> head.Rows:
    rows = head.ordered(parts[0])
    for part in parts[1:]:
        rows = head.merge(rows, part)
    return rows
