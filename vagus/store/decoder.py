"""Reads the head: chains of differences become each stream's rows again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from vagus.errors import StoreError
from vagus.store.head import FIRST, TIMES, Record
from vagus.store.rows import Array, Rows


class _Open(NamedTuple):
    """A chain as far as it was read."""

    ids: tuple[int, ...]
    last: Array


class Decoder:
    """Collects the rows of some streams from records in order of their numbers (within each chain).

    dtypes: every stream's row_dtype. wanted: streams, None: all. hidden: streams whose rows before number `until` do not
    count. values: False for the times alone. Raises StoreError when a record does not fit its chain and its streams.
    """

    def __init__(
        self,
        dtypes: Mapping[int, np.dtype[Any]],
        wanted: set[int] | None = None,
        until: int = 0,
        hidden: frozenset[int] | set[int] = frozenset(),
        values: bool = True,
    ) -> None:
        self._dtypes = dtypes
        self._wanted = wanted
        self._until = until
        self._hidden = hidden
        self._values = values
        self._chains: dict[int, _Open] = {}
        self._parts: dict[int, list[tuple[Array, Array, Array]]] = {}  # numbers, times, rows

    @property
    def ids(self) -> list[int]:
        """The streams of which there are rows."""
        return list(self._parts)

    def feed(self, found: Iterable[Record]) -> None:
        """Takes in more records; those not yet loaded within their transaction."""
        chains: dict[int, list[Record]] = {}
        old: dict[tuple[bytes, bool], list[Record]] = {}
        for record in found:
            if record.first >= 0:
                chains.setdefault(record.first, []).append(record)
            else:
                shape = record.load().body[: 4 * record.rows], record.number < self._until
                old.setdefault(shape, []).append(record)
        for members in chains.values():
            self._feed_chain(members)
        for (packed_ids, _), members in old.items():
            self._feed_old(packed_ids, members)

    def pop(self, stream_id: int) -> Rows:
        """The rows of one stream in order of arrival; they are forgotten here."""
        return _columns(self._dtypes[stream_id], self._parts.pop(stream_id))

    def times(self) -> dict[int, Array]:
        """The times of each stream, in no order."""
        return {i: np.concatenate([times for _, times, _ in parts]) for i, parts in self._parts.items()}

    def _sizes(self, ids: Sequence[int]) -> list[int]:
        try:
            return [self._dtypes[stream_id].itemsize for stream_id in ids]
        except KeyError as error:
            raise StoreError(f"damaged head record: stream {error} was never declared") from error

    def _feed_chain(self, members: list[Record]) -> None:
        first = members[0]
        if first.flags & FIRST:
            ids = first.ids()
            chain = _Open(ids, np.zeros(sum(self._sizes(ids)), np.uint8))
        elif first.first in self._chains:
            chain = self._chains[first.first]
        else:
            raise StoreError(f"damaged head record {first.number}: the first of its chain is missing")
        numbers = np.array([record.number for record in members])
        if self._wanted is not None and self._wanted.isdisjoint(chain.ids):
            self._chains[first.first] = chain
            return
        try:
            times, bodies = _times(members, len(chain.ids))
            table = _expand(bodies, len(chain.last)) if self._values else np.empty((len(members), 0), np.uint8)
        except (ValueError, IndexError) as error:
            raise StoreError(f"damaged head record {first.number} or one soon after: {error}") from error
        last = chain.last
        if self._values:
            for row in table:  # as fast as memory is; numpy's accumulate takes twenty times as long
                row ^= last
                last = row
        self._chains[first.first] = _Open(chain.ids, last.copy())
        self._split(chain.ids, numbers, times, table, 0)

    def _feed_old(self, packed_ids: bytes, members: list[Record]) -> None:
        ids = members[0].ids()
        size = sum(self._sizes(ids)) + 8 * len(ids)
        bodies = [record.body[len(packed_ids) :] for record in members]
        if any(len(body) != size for body in bodies):
            raise StoreError(f"damaged head record {members[0].number} or one soon after: its rows need {size} bytes")
        table = np.frombuffer(b"".join(bodies), np.uint8).reshape(len(members), size)
        starts = np.cumsum([0, *(itemsize + 8 for itemsize in self._sizes(ids))])[:-1]
        spans = np.stack([np.ascontiguousarray(table[:, at : at + 8]).view("<i8")[:, 0] for at in starts], axis=1)
        self._split(ids, np.array([record.number for record in members]), spans, table, 8)

    def _split(self, ids: Sequence[int], numbers: Array, times: Array, table: Array, gap: int) -> None:
        """Gives each stream its rows: a column of times and, after a gap each, its bytes of the table."""
        at = 0
        hidden = self._hidden if numbers[0] < self._until else ()
        for place, stream_id in enumerate(ids):
            dtype = self._dtypes[stream_id]
            at += gap
            if (self._wanted is None or stream_id in self._wanted) and stream_id not in hidden:
                rows = np.ascontiguousarray(table[:, at : at + dtype.itemsize])
                self._parts.setdefault(stream_id, []).append((numbers, times[:, place], rows))
            at += dtype.itemsize


def _times(members: Sequence[Record], rows: int) -> tuple[Array, list[bytes]]:
    """The times of a chain's records, int64[records, rows], and what follows them in each."""
    bodies = []
    times = np.repeat(np.array([record.first_ns for record in members])[:, np.newaxis], rows, axis=1)
    for index, record in enumerate(members):
        at = 4 * record.rows
        if record.flags & TIMES:
            times[index] = np.frombuffer(record.load().body[at : at + 8 * rows], "<i8")
            at += 8 * rows
        bodies.append(record.load().body[at:])
    return times, bodies


def _expand(bodies: list[bytes], size: int) -> Array:
    """The changed bytes of each record, zeros put back: uint8[records, size]. Raises ValueError."""
    masks = -(-size // 8)
    tops = -(-masks // 8)
    count = len(bodies)
    top = np.frombuffer(b"".join([body[:tops] for body in bodies]), np.uint8).reshape(count, tops)
    found = np.unpackbits(top, axis=1, count=masks).view(np.bool_)
    ends = (tops + np.count_nonzero(found, axis=1)).tolist()
    mask = np.zeros((count, masks), np.uint8)
    mask.reshape(-1)[np.flatnonzero(found)] = _joined(bodies, [tops] * count, ends)
    found = np.unpackbits(mask, axis=1, count=size).view(np.bool_)
    table = np.zeros((count, size), np.uint8)
    table.reshape(-1)[np.flatnonzero(found)] = _joined(bodies, ends, [None] * count)
    return table


def _joined(bodies: list[bytes], starts: Sequence[int], ends: Sequence[int | None]) -> Array:
    return np.frombuffer(b"".join([b[i:j] for b, i, j in zip(bodies, starts, ends, strict=True)]), np.uint8)


def _columns(dtype: np.dtype[Any], parts: list[tuple[Array, Array, Array]]) -> Rows:
    numbers, t_ns, packed = parts[0]
    if len(parts) > 1:
        numbers, t_ns, packed = (np.concatenate(column) for column in zip(*parts, strict=True))
        if not bool((numbers[1:] > numbers[:-1]).all()):
            # one record may hold several rows of a stream: their parts come in the record's order, which is kept
            order = np.argsort(numbers, kind="stable")
            t_ns, packed = t_ns[order], packed[order]
    rows = packed.view(dtype)[:, 0]
    return np.ascontiguousarray(t_ns), tuple(np.ascontiguousarray(rows[name]) for name in dtype.names or ())
