"""Blocks: one shared timestamp column and one column per field, each coded by itself and decoded alone.

Layout, little-endian: a header (version, columns, rows, first and last time, checksum), a directory of one entry per
column (encoding, dtype, end of its payload, checksum), then the payloads. Column 0 is time. A column is a constant,
a straight line (regular timestamps), pcodec's, or raw bytes where pcodec gains nothing; all are exact to the bit.
Decimals are not scaled here: pcodec finds them by itself (1.37 B a value for a random walk of two decimals), and only
where its round trip is exact.

pcodec's own choice of delta costs more than half of its time; one comparison of the column's steps with its spread
chooses as well (measured: about 3 times the speed at the same size of most columns).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pcodec import ChunkConfig, DeltaSpec, standalone

from vagus.errors import StoreError
from vagus.model import DTYPES

Array = npt.NDArray[Any]

VERSION = 1
MAX_ROWS = 1 << 24
_HEAD = struct.Struct("<BxHIqqI")  # version, columns with time, rows, first and last time, checksum
_CHECKED = _HEAD.size - 4
_ENTRY = struct.Struct("<BBHII")  # encoding, dtype, unused, end of payload, checksum
_LINE = struct.Struct("<q")
_CONSTANT, _LINE_CODE, _PCO, _RAW = 1, 2, 3, 4
_NAMES = tuple(DTYPES)
_CODES = {np.dtype(name): code for code, name in enumerate(DTYPES.values())}
_DTYPES = tuple(_CODES)
_BITS: dict[int, np.dtype[Any]] = {4: np.dtype("u4"), 8: np.dtype("u8")}
_STEPS = ChunkConfig(compression_level=6, delta_spec=DeltaSpec.try_consecutive(1))
_LEVELS = ChunkConfig(compression_level=6, delta_spec=DeltaSpec.no_op())


class Header(NamedTuple):
    """What a block says of itself: columns (time not counted), rows, first and last time in ns."""

    columns: int
    rows: int
    first_ns: int
    last_ns: int


def encode_block(t_ns: Array, columns: Sequence[Array]) -> bytes:
    """Rows as one block. t_ns: int64[n], strictly increasing; columns: native dtypes of model.DTYPES, n each.

    Raises StoreError when there are no rows, too many, or columns of other lengths, dtypes or unordered times.
    """
    rows = len(t_ns)
    if not 1 <= rows <= MAX_ROWS or any(len(column) != rows for column in columns):
        raise StoreError(f"a block holds 1 to {MAX_ROWS} rows, the same in every column; got {rows}")
    if not bool((t_ns[1:] > t_ns[:-1]).all()):
        raise StoreError("a block's times must increase strictly; sort and merge rows before sealing them")
    directory: list[bytes] = []
    payloads: list[bytes] = []
    end = 0
    for column in (t_ns, *columns):
        code = _CODES.get(column.dtype)
        if code is None:
            raise StoreError(f"a column of dtype {column.dtype} cannot be stored; use one of {', '.join(_NAMES)}")
        encoding, payload = _encode_column(np.ascontiguousarray(column), line=not directory)
        end += len(payload)
        directory.append(_ENTRY.pack(encoding, code, 0, end, zlib.crc32(payload)))
        payloads.append(payload)
    entries = b"".join(directory)
    fixed = (VERSION, len(payloads), rows, int(t_ns[0]), int(t_ns[-1]))
    checksum = zlib.crc32(entries, zlib.crc32(_HEAD.pack(*fixed, 0)[:_CHECKED]))
    return b"".join((_HEAD.pack(*fixed, checksum), entries, *payloads))


def _encode_column(column: Array, *, line: bool) -> tuple[int, bytes]:
    bits = column.view(_BITS[column.itemsize])  # NaN equals itself here, and 0.0 differs from -0.0
    if bits[0] == bits[-1] and bool((bits == bits[0]).all()):
        return _CONSTANT, bits[:1].tobytes()
    if line:
        steps = column[1:] - column[:-1]
        if bool((steps == steps[0]).all()):
            return _LINE_CODE, _LINE.pack(int(steps[0]))
    payload: bytes = standalone.simple_compress(column, _STEPS if _is_smooth(column) else _LEVELS)
    if len(payload) >= column.nbytes:
        return _RAW, column.tobytes()
    return _PCO, payload


def _is_smooth(column: Array) -> bool:
    """Whether steps are smaller than the spread, so that differences are worth coding."""
    with np.errstate(all="ignore"):
        values = column.astype(np.float64)
        steps = np.abs(values[1:] - values[:-1]).mean()
        spread = np.abs(values - values.mean()).mean()
    return not steps > spread  # NaN and infinite: differences, which never do much harm


def read_header(block: bytes | memoryview) -> Header:
    """The header of a block, its checksum not yet tested. Raises StoreError when it is none of ours."""
    if len(block) < _HEAD.size:
        raise StoreError(f"damaged block: {len(block)} bytes are less than a header")
    version, columns, rows, first, last, _ = _HEAD.unpack_from(block)
    if version != VERSION:
        raise StoreError(
            f"block of version {version}, this vagus reads version {VERSION}: damaged, or written by a newer vagus"
        )
    return Header(columns - 1, rows, first, last)


class Block:
    """An encoded block, its directory tested; columns are decoded one at a time into arrays of the caller.

    Raises StoreError when a checksum or a length is wrong.
    """

    def __init__(self, block: bytes | memoryview) -> None:
        self.header = read_header(block)
        self._block = block
        self._body = _HEAD.size + _ENTRY.size * (self.header.columns + 1)
        stored = _HEAD.unpack_from(block)[-1]
        checksum = zlib.crc32(block[_HEAD.size : self._body], zlib.crc32(block[:_CHECKED]))
        if checksum != stored or not 1 <= self.header.rows <= MAX_ROWS:
            raise StoreError("damaged block: the checksum of its directory is wrong")

    def decode_into(self, column: int, out: Array) -> None:
        """Column `column` (0 is time) into `out`, a contiguous array of as many rows and the column's dtype."""
        at = _HEAD.size + _ENTRY.size * column
        encoding, code, _, end, checksum = _ENTRY.unpack_from(self._block, at)
        start = _ENTRY.unpack_from(self._block, at - _ENTRY.size)[3] if column else 0
        payload = bytes(self._block[self._body + start : self._body + end])
        if zlib.crc32(payload) != checksum or len(payload) != end - start:
            raise StoreError(f"damaged block: the checksum of column {column} is wrong")
        if out.dtype != _DTYPES[code] or len(out) != self.header.rows:
            raise StoreError(
                f"block column {column} is {self.header.rows} x {_DTYPES[code]}, asked for {len(out)} x {out.dtype}"
            )
        if encoding == _PCO:
            try:
                standalone.simple_decompress_into(payload, out)
            except (RuntimeError, TypeError, ValueError) as error:
                raise StoreError(f"damaged block: column {column}: {error}") from error
        elif encoding == _CONSTANT:
            out.view(_BITS[out.itemsize])[:] = np.frombuffer(payload, _BITS[out.itemsize])
        elif encoding == _LINE_CODE:
            np.multiply(np.arange(len(out)), _LINE.unpack(payload)[0], out=out)
            out += self.header.first_ns
        elif encoding == _RAW:
            out[:] = np.frombuffer(payload, out.dtype)
        else:
            raise StoreError(f"damaged block: column {column} has the unknown encoding {encoding}")

    def decode(self, indexes: Sequence[int]) -> tuple[Array, tuple[Array, ...]]:
        """Times and the fields `indexes` (0 is the first field) as new arrays."""
        t_ns = np.empty(self.header.rows, np.int64)
        self.decode_into(0, t_ns)
        columns = []
        for index in indexes:
            code = _ENTRY.unpack_from(self._block, _HEAD.size + _ENTRY.size * (index + 1))[1]
            columns.append(np.empty(self.header.rows, _DTYPES[code]))
            self.decode_into(index + 1, columns[-1])
        return t_ns, tuple(columns)
