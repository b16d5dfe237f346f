"""The head: what each flush appended, as one record of positional rows, until its rows are sealed into blocks.

A tick of eighty streams is one record and so one write at the end of the head, where a row per stream would dirty a
page per stream each second. Layout, little-endian: version, number of rows, least and greatest time; the stream id of
each row; then each row's time and values, packed without gaps. Records of the same streams in the same order, as
ticks are, have the same length and are read together as one array.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vagus.errors import StoreError
from vagus.model import DTYPES, Field

Array = npt.NDArray[Any]
Rows = tuple[npt.NDArray[np.int64], tuple[Array, ...]]
"""Times and native columns."""

VERSION = 1
_HEAD = struct.Struct("<BxxxIqq")
_PACKED = {"f8": "d", "f4": "f", "i8": "q", "i4": "i", "u8": "Q", "u4": "I"}


def packer(fields: Sequence[Field]) -> Callable[..., bytes]:
    """Packs one row: `pack(t_ns, *values)`. Raises struct.error or OverflowError for what does not fit."""
    return struct.Struct("<q" + "".join(_PACKED[field.dtype] for field in fields)).pack


def row_dtype(fields: Sequence[Field]) -> np.dtype[Any]:
    """A row as numpy sees it: time and values, without gaps."""
    return np.dtype([("", "<i8"), *(("", np.dtype(DTYPES[field.dtype]).newbyteorder("<")) for field in fields)])


def pack_rows(dtype: np.dtype[Any], t_ns: Array, columns: Sequence[Array]) -> list[bytes]:
    """Rows of one stream, each packed, from its columns."""
    rows = np.empty(len(t_ns), dtype)
    for name, column in zip(dtype.names or (), (t_ns, *columns), strict=True):
        rows[name] = column
    packed = rows.tobytes()
    return [packed[at : at + dtype.itemsize] for at in range(0, len(packed), dtype.itemsize)]


def encode_record(ids: Sequence[int], times: Sequence[int], rows: Sequence[bytes]) -> bytes:
    """One record from packed rows, each with its stream's id and its time."""
    return b"".join((_HEAD.pack(VERSION, len(ids), min(times), max(times)), array("I", ids).tobytes(), *rows))


def time_span(record: bytes | memoryview) -> tuple[int, int]:
    """Least and greatest time of a record. Raises StoreError when it is none of ours."""
    if len(record) < _HEAD.size or record[0] != VERSION:
        raise StoreError("damaged head record: its first bytes are not those of a record of this version")
    _, _, first_ns, last_ns = _HEAD.unpack_from(record)
    return first_ns, last_ns


def ids_of(record: bytes | memoryview) -> bytes:
    """The stream ids of a record, packed; equal for records of equal shape."""
    if len(record) < _HEAD.size or record[0] != VERSION:
        raise StoreError("damaged head record: its first bytes are not those of a record of this version")
    count = _HEAD.unpack_from(record)[1]
    ids = bytes(record[_HEAD.size : _HEAD.size + 4 * count])
    if len(ids) != 4 * count:
        raise StoreError("damaged head record: it ends within its stream ids")
    return ids


def decode_records(
    records: Iterable[bytes], dtypes: Mapping[int, np.dtype[Any]], wanted: set[int] | None = None
) -> dict[int, Rows]:
    """The rows of each stream (or of those wanted) in order of arrival. dtypes: every stream's row_dtype.

    Raises StoreError when a record's length does not fit its streams.
    """
    return {i: _columns(parts) for i, parts in _parts(records, dtypes, wanted).items()}


def decode_times(
    records: Iterable[bytes], dtypes: Mapping[int, np.dtype[Any]], wanted: set[int] | None = None
) -> dict[int, Array]:
    """The times alone, in no order."""
    found = {}
    for stream_id, parts in _parts(records, dtypes, wanted).items():
        found[stream_id] = np.concatenate([rows[(rows.dtype.names or ("",))[0]] for _, rows in parts])
    return found


Parts = dict[int, list[tuple[list[int], Array]]]
"""For each stream: the numbers of some records, and its rows in them."""


def _parts(records: Iterable[bytes], dtypes: Mapping[int, np.dtype[Any]], wanted: set[int] | None) -> Parts:
    groups: dict[bytes, list[tuple[int, bytes]]] = {}
    for number, record in enumerate(records):
        groups.setdefault(ids_of(record), []).append((number, record))
    parts: Parts = {}
    for packed_ids, members in groups.items():
        ids = np.frombuffer(packed_ids, "<u4").tolist()
        start = _HEAD.size + len(packed_ids)
        try:
            size = start + sum(dtypes[stream_id].itemsize for stream_id in ids)
        except KeyError as error:
            raise StoreError(f"damaged head record: stream {error} was never declared") from error
        if any(len(record) != size for _, record in members):
            raise StoreError(f"damaged head record: its rows need {size} bytes")
        table = np.frombuffer(b"".join(record for _, record in members), np.uint8).reshape(len(members), size)
        numbers = [number for number, _ in members]
        for stream_id in ids:
            dtype = dtypes[stream_id]
            if wanted is None or stream_id in wanted:
                rows = np.ascontiguousarray(table[:, start : start + dtype.itemsize]).view(dtype)[:, 0]
                parts.setdefault(stream_id, []).append((numbers, rows))
            start += dtype.itemsize
    return parts


def _columns(parts: list[tuple[list[int], Array]]) -> Rows:
    rows = parts[0][1]
    if len(parts) > 1:
        rows = np.concatenate([rows for _, rows in parts])
        # one record may hold several rows of a stream: their parts come in the record's order, which is kept
        rows = rows[np.argsort(np.concatenate([numbers for numbers, _ in parts]), kind="stable")]
    names = rows.dtype.names or ()
    return np.ascontiguousarray(rows[names[0]]), tuple(np.ascontiguousarray(rows[name]) for name in names[1:])


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
