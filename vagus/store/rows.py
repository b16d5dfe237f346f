"""Rows on their way between head, blocks and queries: packed one by one, or as native columns in order of time."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vagus.model import DTYPES, Field

Array = npt.NDArray[Any]
Rows = tuple[npt.NDArray[np.int64], tuple[Array, ...]]
"""Times and native columns."""
Packed = tuple[int, int, bytes]
"""A row: stream id, time, packed values."""

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
