"""The head: what each flush appended, as one record of all its streams, until its rows are sealed into blocks.

A tick of eighty streams is one record and so one write at the end of the head, where a row per stream would dirty a
page per stream each second. Flushes of the same streams in the same order, as ticks are, form a chain: its first record
names the streams, and each says only which bytes differ from the record before. Most values of a host stand still, so
a tick shrinks to about a fifteenth, and a reader needs a chain from its first record on; a chain is therefore short.

Layout of a record (version 2), little-endian: version, flags, parts, rows (of a chain's first record) or how many
numbers back that first record is, least and greatest time, checksum; the stream ids (first record); a time for each
row unless all are equal; then the rows' bytes, values without gaps, XORed with those of the record before (zeros at
first), as three runs: a bit for each byte of the second run, the bits that say which bytes are not zero (a run whose
own zeros are left out), and those bytes. Long records are cut into parts that fill LMDB's pages, at consecutive
numbers. Version 1 had every row whole, with its time before it; it is still read.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vagus.errors import StoreError
from vagus.model import DTYPES, Field

Array = npt.NDArray[Any]
Rows = tuple[npt.NDArray[np.int64], tuple[Array, ...]]
"""Times and native columns."""
Packed = tuple[int, int, bytes]
"""A row: stream id, time, packed values."""

VERSION = 2
FIRST, TIMES = 1, 2  # flags: begins a chain; each row has its own time
CHAIN = 64  # records: a reader decodes a chain from its beginning
MAX_CHAINS = 64
MAX_CHAIN_BYTES = 2 << 20  # what the writer remembers of all chains
PART = 1340  # three and their heads fill a page of 4096 bytes; LMDB gives a value above 2022 bytes pages of its own
MAX_PARTED = 32 << 10
_HEAD = struct.Struct("<BBHIqqI")
_CHECKED = _HEAD.size - 4
_PARTS = struct.Struct("<xxH")
_HEAD_1 = struct.Struct("<BxxxIqq")
_PACKED = {"f8": "d", "f4": "f", "i8": "q", "i4": "i", "u8": "Q", "u4": "I"}


def packer(fields: Sequence[Field]) -> struct.Struct:
    """Packs one row: `pack(*values)`. Raises struct.error or OverflowError for what does not fit."""
    return struct.Struct("<" + "".join(_PACKED[field.dtype] for field in fields))


def row_dtype(fields: Sequence[Field]) -> np.dtype[Any]:
    """A row as numpy sees it: its values, without gaps."""
    return np.dtype([("", np.dtype(DTYPES[field.dtype]).newbyteorder("<")) for field in fields])


def pack_rows(dtype: np.dtype[Any], columns: Sequence[Array]) -> list[bytes]:
    """Rows of one stream, each packed, from its columns."""
    rows = np.empty(len(columns[0]), dtype)
    for name, column in zip(dtype.names or (), columns, strict=True):
        rows[name] = column
    packed = rows.tobytes()
    return [packed[at : at + dtype.itemsize] for at in range(0, len(packed), dtype.itemsize)]


# --- writing -------------------------------------------------------------------------------------------------------


class _Chain:
    __slots__ = ("first", "last", "length")

    def __init__(self, first: int, last: Array) -> None:
        self.first = first
        self.last = last
        self.length = 1


class Encoder:
    """Records from packed rows. It remembers where chains stand: `forget` when a record was not committed after all."""

    def __init__(self) -> None:
        self._chains: dict[tuple[int, ...], _Chain] = {}
        self._bytes = 0

    def forget(self) -> None:
        """Lets every chain end: the next records begin new ones."""
        self._chains.clear()
        self._bytes = 0

    def encode(
        self,
        number: int,
        ids: tuple[int, ...],
        times: Sequence[int],
        rows: Sequence[bytes],
        first_ns: int,
        last_ns: int,
    ) -> list[bytes]:
        """The record of some rows, each with its stream's id and its time, in parts for `number` and those after it.

        first_ns, last_ns: least and greatest time.
        """
        packed = np.frombuffer(b"".join(rows), np.uint8)
        chain = self._chains.get(ids)
        flags = 0 if first_ns == last_ns else TIMES
        body = [] if first_ns == last_ns else [array("q", times).tobytes()]
        if chain is None or chain.length >= CHAIN:
            self._begin(ids, _Chain(number, packed))
            flags |= FIRST
            back, changed = len(ids), packed
            body.insert(0, array("I", ids).tobytes())
        else:
            back, changed = number - chain.first, packed ^ chain.last
            chain.last = packed
            chain.length += 1
        mask = np.packbits(changed)
        body += (
            np.packbits(mask).tobytes(),
            mask.tobytes().translate(None, b"\0"),
            changed.tobytes().translate(None, b"\0"),
        )
        joined = b"".join(body)
        size = _HEAD.size + len(joined)
        parts = -(-size // PART) if size <= MAX_PARTED else 1
        head = _HEAD.pack(VERSION, flags, parts, back, first_ns, last_ns, 0)[:_CHECKED]
        record = b"".join((head, zlib.crc32(joined, zlib.crc32(head)).to_bytes(4, "little"), joined))
        return [record] if parts == 1 else [record[at : at + PART] for at in range(0, size, PART)]

    def _begin(self, ids: tuple[int, ...], chain: _Chain) -> None:
        replaced = self._chains.pop(ids, None)
        self._bytes += len(chain.last) - (len(replaced.last) if replaced else 0)
        self._chains[ids] = chain
        while len(self._chains) > MAX_CHAINS or self._bytes > MAX_CHAIN_BYTES:
            self._bytes -= len(self._chains.pop(next(iter(self._chains))).last)


# --- reading -------------------------------------------------------------------------------------------------------


class Record:
    """A record as its head describes it; what follows (`body`) is there once it is loaded.

    number, following: its own and the next record's; first: its chain's first (-1: version 1, no chain); rows: of a
    chain's first record; flags; least and greatest time.
    """

    __slots__ = ("_checksum", "_parts", "body", "first", "first_ns", "flags", "following", "last_ns", "number", "rows")

    def __init__(self, number: int, parts: Sequence[bytes]) -> None:
        self.number = number
        self.following = number + len(parts)
        self.body = b""
        self._parts = parts
        self._checksum, self.first, self.flags = -1, -1, 0
        if parts[0][0] == VERSION:
            _, self.flags, _, self.rows, self.first_ns, self.last_ns, self._checksum = _HEAD.unpack_from(parts[0])
            self.first = number
            if not self.flags & FIRST:
                self.first, self.rows = number - self.rows, 0
        else:
            _, self.rows, self.first_ns, self.last_ns = _HEAD_1.unpack_from(parts[0])

    def load(self) -> Record:
        """Copies the body from LMDB's pages, within their transaction. Raises StoreError when it is damaged."""
        if self._parts:
            record = b"".join(self._parts)
            size = _HEAD.size if self.first >= 0 else _HEAD_1.size
            self.body, self._parts = record[size:], ()
            if self.first >= 0 and zlib.crc32(self.body, zlib.crc32(record[:_CHECKED])) != self._checksum:
                raise StoreError(f"damaged head record {self.number}: its checksum is wrong")
        return self

    def ids(self) -> tuple[int, ...]:
        """The stream of each row of a chain's first record. Raises StoreError for another."""
        found = np.frombuffer(self.load().body[: 4 * self.rows], "<u4").tolist()
        if not found or len(found) != self.rows:
            raise StoreError(f"damaged head record {self.number}: it does not name its streams")
        return tuple(found)


def records(entries: Iterable[tuple[bytes, bytes]]) -> Iterator[Record]:
    """The records of consecutive LMDB entries (key and value). Raises StoreError when one is damaged or incomplete."""
    rest = iter(entries)
    for key, value in rest:
        number = int.from_bytes(key, "big")
        version = value[0] if len(value) >= _HEAD_1.size else 0
        if version == VERSION and len(value) >= _HEAD.size:
            parts = _PARTS.unpack_from(value)[0]
            yield Record(number, (value, *(part for _, part in islice(rest, parts - 1))) if parts > 1 else (value,))
        elif version == 1:
            yield Record(number, (value,))
        else:
            raise StoreError(f"damaged head record {number}: its first bytes are not those of a record of this version")


def between(found: Iterable[Record], start_ns: int, end_ns: int) -> list[Record]:
    """Those with rows in [start_ns, end_ns), each with the part of its chain that it needs."""
    kept: list[Record] = []
    waiting: dict[int, list[Record]] = {}
    for record in found:
        if record.last_ns >= start_ns and record.first_ns < end_ns:
            kept += waiting.pop(record.first, ())
            kept.append(record)
        elif record.first >= 0:
            waiting.setdefault(record.first, []).append(record)
    return kept


def newest(found: list[Record], limit: int, end_ns: int) -> list[Record]:
    """Those without which some stream would lack one of its newest `limit` rows before `end_ns`."""
    chains: dict[int, list[Record]] = {}
    shapes: dict[tuple[int, ...], list[list[Record]]] = {}
    kept = [record for record in found if record.first < 0]
    for record in found:
        if record.first >= 0:
            chains.setdefault(record.first, []).append(record)
    for members in chains.values():
        shapes.setdefault(members[0].ids(), []).append(members)
    for alike in shapes.values():
        # all chains of a shape have rows of the same streams: from the newest back, until there are enough
        alike.sort(key=lambda members: max(record.last_ns for record in members), reverse=True)
        times: set[int] = set()
        least_ns = end_ns
        for members in alike:
            if len(times) >= limit and max(record.last_ns for record in members) < least_ns:
                break
            kept += members
            times.update(record.first_ns for record in members if record.first_ns == record.last_ns < end_ns)
            least_ns = min(least_ns, *(record.first_ns for record in members))
    return kept


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


def merge(older: Rows, newer: Rows) -> Rows:
    """Rows of both in order of time; of rows with the same time the newest arrival stays."""
    if not len(newer[0]):
        return older
    ordered = bool((newer[0][1:] > newer[0][:-1]).all())
    if not len(older[0]) and ordered:
        return newer
    t_ns = np.concatenate([older[0], newer[0]])
    columns = tuple(np.concatenate(pair) for pair in zip(older[1], newer[1], strict=True))
    if ordered and newer[0][0] > older[0][-1]:
        return t_ns, columns
    order = np.argsort(t_ns, kind="stable")
    t_ns = t_ns[order]
    last = np.append(t_ns[1:] != t_ns[:-1], True)
    order = order[last]
    return t_ns[last], tuple(column[order] for column in columns)


def ordered(rows: Rows) -> Rows:
    """Rows in order of time, the newest arrival of equal times alone."""
    return merge((rows[0][:0], tuple(column[:0] for column in rows[1])), rows)


def cut(rows: Rows, start_ns: int, end_ns: int) -> Rows:
    """The rows with start_ns <= t < end_ns, as views. Rows are in order of time."""
    first, last = np.searchsorted(rows[0], [start_ns, end_ns]).tolist()
    if first == 0 and last == len(rows[0]):
        return rows
    return rows[0][first:last], tuple(column[first:last] for column in rows[1])
