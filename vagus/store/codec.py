"""Blocks: one shared timestamp column and one column per field, each coded by itself and decoded alone.

Layout, little-endian: a header (version, columns, rows, first and last time, checksum), a directory of one entry per
column (encoding, dtype, end of its payload, checksum), then the payloads. Column 0 is time. A column is a constant,
a straight line (regular timestamps), pcodec's, or raw bytes where pcodec gains nothing; all are exact to the bit.
Decimals are not scaled here: pcodec finds them by itself (1.37 B a value for a random walk of two decimals), and only
where its round trip is exact.

pcodec's own search for a delta costs more than half of its time. Comparing the bits of the column's steps with those of
its distances from the median chooses as well for most columns; the search is left for floats that come out large.
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
_CONSTANT, _LINE_CODE, _PCO, _RAW = 1, 2, 3, 4  # a constant without payload is 0
_NAMES = tuple(DTYPES)
_CODES = {np.dtype(name): code for code, name in enumerate(DTYPES.values())}
_DTYPES = tuple(_CODES)
_BITS: dict[int, np.dtype[Any]] = {4: np.dtype("u4"), 8: np.dtype("u8")}
_STEPS = ChunkConfig(compression_level=5, delta_spec=DeltaSpec.try_consecutive(1))
_LEVELS = ChunkConfig(compression_level=5, delta_spec=DeltaSpec.no_op())
_SEARCH = ChunkConfig(compression_level=5)
HARD_BYTES = 2  # a value: floats that take more are no decimals; ratios of small counts shrink by half when searched
SAMPLED = 256  # rows, from the middle, tell a column's kind


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
    if any(column.dtype not in _CODES for column in columns):
        unknown = next(column.dtype for column in columns if column.dtype not in _CODES)
        raise StoreError(f"a column of dtype {unknown} cannot be stored; use one of {', '.join(_NAMES)}")
    directory: list[bytes] = []
    payloads: list[bytes] = []
    end = 0
    encoded = [_encode_times(t_ns), *_encode_columns(columns)]
    for (encoding, payload), column in zip(encoded, (t_ns, *columns), strict=True):
        end += len(payload)
        directory.append(_ENTRY.pack(encoding, _CODES[column.dtype], 0, end, zlib.crc32(payload)))
        payloads.append(payload)
    entries = b"".join(directory)
    fixed = (VERSION, len(payloads), rows, int(t_ns[0]), int(t_ns[-1]))
    checksum = zlib.crc32(entries, zlib.crc32(_HEAD.pack(*fixed, 0)[:_CHECKED]))
    return b"".join((_HEAD.pack(*fixed, checksum), entries, *payloads))


def _encode_times(t_ns: Array) -> tuple[int, bytes]:
    if len(t_ns) == 1:
        return _CONSTANT, t_ns.tobytes()
    steps = t_ns[1:] - t_ns[:-1]
    if bool((steps == steps[0]).all()):
        return _LINE_CODE, _LINE.pack(int(steps[0]))
    return _compressed(np.ascontiguousarray(t_ns), _STEPS)


def _encode_columns(columns: Sequence[Array]) -> list[tuple[int, bytes]]:
    """Encoding and payload of each; what kind they are is found out for all at once."""
    found: list[tuple[int, bytes]] = []
    moving: list[int] = []
    for index, column in enumerate(columns):
        bits = column.view(_BITS[column.itemsize])  # NaN equals itself here, and 0.0 differs from -0.0
        if bits[0] == bits[-1] and bool((bits == bits[0]).all()):
            payload = column[:1].tobytes()
            found.append((_CONSTANT, payload if any(payload) else b""))
        else:
            found.append((_PCO, b""))
            moving.append(index)
    if moving:
        start = max(0, (len(columns[0]) - SAMPLED) // 2)
        sampled = np.array([columns[index][start : start + SAMPLED] for index in moving], np.float64)
        for index, steps in zip(moving, _are_smooth(sampled), strict=True):
            found[index] = _compressed(np.ascontiguousarray(columns[index]), _STEPS if steps else _LEVELS)
    return found


def _compressed(column: Array, config: ChunkConfig) -> tuple[int, bytes]:
    payload: bytes = standalone.simple_compress(column, config)
    if column.dtype.kind == "f" and len(payload) > HARD_BYTES * len(column):
        payload = min(payload, standalone.simple_compress(column, _SEARCH), key=len)
    return (_PCO, payload) if len(payload) < column.nbytes else (_RAW, column.tobytes())


def _are_smooth(values: npt.NDArray[np.float64]) -> list[bool]:
    """For each column (a row of the table) whether its steps take fewer bits than its distances from the median."""
    middle = values.shape[1] // 2
    with np.errstate(all="ignore"):
        steps = np.abs(values[:, 1:] - values[:, :-1])
        median = np.partition(values, middle, axis=1)[:, middle : middle + 1]
        least = np.where(steps > 0, steps, np.inf).min(axis=1, keepdims=True, initial=np.inf)
        smooth = ~(_bits(steps / least) > _bits(np.abs(values - median) / least))
    return [bool(found) for found in smooth]  # NaN and infinite: as it comes, which never does much harm


def _bits(sizes: npt.NDArray[np.float64]) -> Array:
    """The mean over each row of about log2(1 + size), which is the exponent of the float."""
    exponents: Array = ((sizes + 1.0).view(np.int64) >> 52).mean(axis=1)
    return exponents


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
            out.view(_BITS[out.itemsize])[:] = np.frombuffer(payload, _BITS[out.itemsize]) if payload else 0
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
