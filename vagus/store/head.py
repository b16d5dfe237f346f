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
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from vagus.errors import StoreError
from vagus.store.rows import Array

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
