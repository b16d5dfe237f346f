"""The write side of one environment: a flush is one transaction; the head is sealed into blocks now and then."""

from __future__ import annotations

from collections.abc import Container, Sequence

import msgspec

from vagus.model import Stream
from vagus.store import blocks, frontier, head, records, retention
from vagus.store.environment import Environment
from vagus.store.faults import MapFull
from vagus.store.files import Txn
from vagus.store.query import Query
from vagus.store.rows import Packed, Rows, merge, ordered
from vagus.store.sealer import Sealer

SEAL_TICKS = 600
SEAL_BYTES, SEAL_PART = 16 << 20, 16  # at most, and as a part of the map: head and blocks need room beside each other
RECORD_BYTES = 256 << 10  # a long record needs neighbouring pages, so a large flush becomes several
HASTE = 100  # steps of sealing for each time that a flush adds as many rows as are being sealed
COMMIT_BYTES = 24 << 10  # pages that each commit writes anew, whatever it holds
_FAR = 1 << 63


class Pending:
    """What was taken in and not yet committed, in order of arrival. `size` counts bytes of all but `rows`."""

    def __init__(self) -> None:
        self.streams: dict[int, Stream] = {}
        self.bulk: dict[int, list[Rows]] = {}  # these came after the rows of the same stream
        self.records: list[records.Record] = []
        self.state: dict[str, bytes] = {}
        self.size = 0

    def __bool__(self) -> bool:
        return bool(self.bulk or self.records or self.state or self.streams)


class Figures:
    """What a part of the head holds."""

    def __init__(self) -> None:
        self.rows = self.bytes = 0
        self.ids: set[int] = set()
        self._shape: tuple[int, ...] = ()
        self.first_ns, self.last_ns = _FAR, -1

    def add(self, ids: tuple[int, ...], size: int, first_ns: int, last_ns: int) -> None:
        """Counts a record."""
        self.rows += len(ids)
        self.bytes += size
        if ids != self._shape:
            self._shape = ids
            self.ids.update(ids)
        if first_ns < self.first_ns:
            self.first_ns = first_ns
        if last_ns > self.last_ns:
            self.last_ns = last_ns

    def is_due(self, most_bytes: int) -> bool:
        """Whether the streams have about 600 rows each, or so many bytes are reached."""
        return self.rows >= SEAL_TICKS * max(len(self.ids), 1) or self.bytes > most_bytes


Added = tuple[tuple[int, ...], int, int, int]
"""Of a record: stream ids, bytes, first and last time."""


class Writer:
    """Commits what is pending, and has the head sealed into blocks: its older part, while the newer one grows."""

    def __init__(self, env: Environment, query: Query) -> None:
        self._env = env
        self._query = query
        self.dropped = 0
        self._encoder = head.Encoder()
        self._sealer: Sealer | None = None
        self._older, self._newer = Figures(), Figures()
        with frontier.explained(env), env.write() as txn:
            query.refresh(txn)
            # Sequence numbers grow over the store's whole life: opened times 2**40, and on from there.
            opened = int.from_bytes(txn.get(b"opened", b"", db=env.db["meta"]), "little") + 1
            txn.put(b"opened", opened.to_bytes(8, "little"), db=env.db["meta"])
            self._sequence = opened << 40
            self._next_id = int.from_bytes(txn.get(b"next_id", b"\x01", db=env.db["meta"]), "little")
            at = frontier.load(env, txn)
            self._number = at.until
            chains: dict[int, tuple[int, ...]] = {}
            for record in frontier.records(env, txn, at.floor):
                self._number = max(record.following, at.until)
                ids = chains.get(record.first) or record.ids()
                if record.first >= 0:
                    chains[record.first] = ids
                figures = self._newer if record.number >= at.until else self._older
                figures.add(ids, len(record.load().body), record.first_ns, record.last_ns)
        if at.until > at.floor:
            self._sealer = Sealer(env, query, at, at.until, self._older.rows)
        self.written_bytes = self._checked_bytes = 0
        self._map_bytes = env.usage()["map_bytes"]
        self._seal_bytes = min(SEAL_BYTES, self._map_bytes // SEAL_PART)

    @property
    def head_first_ns(self) -> int:
        """The earliest time in the head; far in the future when it is empty."""
        return min(self._older.first_ns, self._newer.first_ns)

    def new_id(self) -> int:
        """A stream id that no stream ever had here."""
        self._next_id += 1
        return self._next_id - 1

    # --- the head ------------------------------------------------------------------------------------------------

    def commit(self, pending: Pending, rows: Sequence[Packed]) -> None:
        """One transaction with all of it. A full map makes room once and tries again. Raises StoreError."""
        if self.written_bytes - self._checked_bytes > self._map_bytes // 64:
            self._checked_bytes = self.written_bytes
            if self._env.usage()["used_bytes"] > self._map_bytes // 8 * 7:
                self._make_room()
        try:
            self._commit(pending, rows)
        except MapFull:
            self._make_room()
            self._commit(pending, rows)

    def _commit(self, pending: Pending, rows: Sequence[Packed]) -> None:
        env = self._env
        added: list[Added] = []
        sealed = False
        number = self._number
        try:
            with env.write() as txn:
                if rows:
                    added = self._append(txn, rows)
                if pending:
                    sealed = self._commit_rest(txn, pending, added)
        except BaseException:
            self._number = number
            self._encoder.forget()
            raise
        # Only now is it so: a transaction that failed leaves the figures as they were.
        self._sequence += len(pending.records)
        self.written_bytes += COMMIT_BYTES + pending.size + sum(figures[1] for figures in added)
        for figures in added:
            self._newer.add(*figures)
        if sealed:
            self._all_sealed()

    def _commit_rest(self, txn: Txn, pending: Pending, added: list[Added]) -> bool:
        """All but the rows; whether the head had to be sealed for it."""
        env = self._env
        for stream_id, stream in pending.streams.items():
            txn.put(blocks.ID.pack(stream_id), msgspec.msgpack.encode(stream), db=env.db["streams"])
        if pending.streams:
            txn.put(b"next_id", self._next_id.to_bytes(8, "little"), db=env.db["meta"])
        sealed = bool(pending.bulk) and self._overlaps(pending, added)
        if sealed:
            self._seal(txn)
        for stream_id, parts in pending.bulk.items():
            blocks.put_rows(env, txn, stream_id, self._query.streams[stream_id].fields, _joined(parts))
        records.write(env, txn, pending.records, self._sequence)
        for name, state in pending.state.items():
            txn.put(name.encode(), state, db=env.db["state"])
        return sealed

    def _append(self, txn: Txn, rows: Sequence[Packed]) -> list[Added]:
        added: list[Added] = []
        step = len(rows)
        size = sum(len(row) for _, _, row in rows) if step > 1000 else 0
        if size > RECORD_BYTES:
            step = max(1, step * RECORD_BYTES // size)
        for start in range(0, len(rows), step):
            ids, times, packed = zip(*rows[start : start + step], strict=True)
            first_ns, last_ns = min(times), max(times)
            parts = self._encoder.encode(self._number, ids, times, packed, first_ns, last_ns)
            for part in parts:
                txn.put(self._number.to_bytes(8, "big"), part, db=self._env.db["head"], append=True)
                self._number += 1
            added.append((ids, sum(map(len, parts)), first_ns, last_ns))
        return added

    def _overlaps(self, pending: Pending, added: list[Added]) -> bool:
        """Whether bulk rows may meet head rows of their stream, which would win over them although older."""
        ids = self._older.ids.union(self._newer.ids, *(figures[0] for figures in added))
        first = min([self.head_first_ns, *(figures[2] for figures in added)])
        last = max([self._older.last_ns, self._newer.last_ns, *(figures[3] for figures in added)])
        return any(
            stream_id in ids and part[0].max() >= first and part[0].min() <= last
            for stream_id, parts in pending.bulk.items()
            for part in parts
        )

    # --- blocks --------------------------------------------------------------------------------------------------

    def seal_if_due(self, rows: int) -> None:
        """After a flush of so many rows: begins to seal the head when it is due, or goes on with it."""
        if self._newer.is_due(self._seal_bytes):
            if self._sealer is not None and not self._sealer.is_done:
                self.seal()
                return
            self._older, self._newer = self._newer, Figures()
            self._encoder.forget()  # a chain lies on one side of the frontier
            self._sealer = self._passage(self._number)
        for _ in range(1 + HASTE * rows // max(self._older.rows, 1)):
            if self._sealer is None:
                return
            self._advance(self._sealer)

    def _advance(self, sealer: Sealer) -> None:
        try:
            with self._env.write() as txn:
                is_left = sealer.step(txn)
        except BaseException as error:
            self._sealer = self._passage(sealer.until)
            if not isinstance(error, MapFull):
                raise
            self._make_room()
            self.seal()
            return
        if sealer.is_done:
            self._older = Figures()
        if not is_left:
            self._sealer = None

    def _passage(self, until: int) -> Sealer:
        """A Sealer of the head below `until`, which goes on from what is committed."""
        with self._env.read() as txn:
            at = frontier.load(self._env, txn)
        return Sealer(self._env, self._query, at, until, self._older.rows)

    def seal(self) -> None:
        """Moves the whole head into blocks, in one transaction."""
        if not self._older.rows and not self._newer.rows:
            return
        try:
            with self._env.write() as txn:
                self._seal(txn)
        except MapFull:
            self._make_room()
            with self._env.write() as txn:
                self._seal(txn)
        self._all_sealed()

    def _seal(self, txn: Txn) -> None:
        at = frontier.load(self._env, txn)
        if at.until > at.floor:
            at = Sealer(self._env, self._query, at, at.until, 0).finish(txn)
        Sealer(self._env, self._query, at, self._number, 0).finish(txn)
        txn.drop(self._env.db["head"], delete=False)

    def _all_sealed(self) -> None:
        self._older, self._newer, self._sealer = Figures(), Figures(), None
        self._encoder.forget()

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

    def streams_with_rows(self) -> set[int]:
        """The streams that have rows, in head or blocks."""
        with self._env.read() as txn:
            return set(retention.stream_ids(self._env, txn)) | self._older.ids | self._newer.ids

    def forget_streams(self, keep: Container[int]) -> list[int]:
        """Drops the definitions of streams without any row, those of `keep` excepted; their ids."""
        with_rows = self.streams_with_rows()
        with self._env.write() as txn:
            gone = [i for i in list(self._query.streams) if i not in with_rows and i not in keep]
            for stream_id in gone:
                txn.delete(blocks.ID.pack(stream_id), db=self._env.db["streams"])
        return gone


def _joined(parts: list[Rows]) -> Rows:
    rows = ordered(parts[0])
    for part in parts[1:]:
        rows = merge(rows, part)
    return rows
