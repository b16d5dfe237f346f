"""Samples of one stream as a query brings them: numpy arrays, made when first looked at."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import msgspec

from vagus.errors import ConfigError, VagusError
from vagus.model import DTYPES, Field, Stream

VERSION = 1
Array = Any  # numpy.ndarray; naming its type would import numpy as far as import-linter can tell


class _Column(msgspec.Struct, array_like=True):
    dtype: str
    data: bytes


class _Batch(msgspec.Struct, array_like=True):
    stream: Stream
    t_ns: bytes
    columns: tuple[_Column, ...]


class _Packed(msgspec.Struct, array_like=True):
    version: int
    batches: tuple[_Batch, ...]


def unpack(data: bytes) -> list[Series]:
    """The series in an answer of `GET /v1/query?format=msgpack` (see store.export.Packed). Raises VagusError."""
    try:
        packed = msgspec.msgpack.decode(data, type=_Packed)
    except (msgspec.DecodeError, ConfigError) as error:
        raise VagusError(f"the gateway's samples cannot be read: {error}; are both of one version?") from error
    if packed.version != VERSION:
        raise VagusError(f"the gateway sends samples of version {packed.version}; this vagus reads {VERSION}")
    return [Series(batch) for batch in packed.batches]


def one_row(stream: Stream, t_ns: int, columns: list[tuple[str, bytes]]) -> Series:
    """A series of a single row; columns: dtype and little-endian bytes, one for each field."""
    packed = tuple(_Column(dtype, data) for dtype, data in columns)
    return Series(_Batch(stream, t_ns.to_bytes(8, "little", signed=True), packed))


class Series:
    """Rows of one stream, in order of time: `.stream`, `.t_ns` int64[n], `.column(name)`, `.values` float64[n, f].

    Columns keep their dtype (64-bit counters are exact) and are read-only; numpy is loaded on first use.
    """

    __slots__ = ("_batch",)

    def __init__(self, batch: _Batch) -> None:
        fields = batch.stream.fields
        rows = len(batch.t_ns) // 8
        if [column.dtype for column in batch.columns] != [field.dtype for field in fields] or any(
            len(column.data) != rows * int(column.dtype[1]) for column in batch.columns
        ):
            raise VagusError(f"the gateway's samples of {batch.stream.kind} have columns that do not fit their fields")
        self._batch = batch

    @property
    def stream(self) -> Stream:
        """The stream, narrowed to the selected fields."""
        return self._batch.stream

    @property
    def fields(self) -> tuple[Field, ...]:
        """The selected fields, in the order of the columns."""
        return self._batch.stream.fields

    def __len__(self) -> int:
        return len(self._batch.t_ns) // 8

    def __repr__(self) -> str:
        return f"Series({self.stream.key}, {len(self)} x {len(self.fields)})"

    @property
    def t_ns(self) -> Array:
        """Times, int64[n]."""
        return _array("i8", self._batch.t_ns)

    def column(self, name: str) -> Array:
        """The column of one field in its native dtype. Raises ConfigError, which names the fields there are."""
        for field, column in zip(self.fields, self._batch.columns, strict=True):
            if field.name == name:
                return _array(column.dtype, column.data)
        known = ", ".join(field.name for field in self.fields)
        raise ConfigError(f"{self.stream.kind} has no field {name!r} here; there are: {known}")

    @property
    def values(self) -> Array:
        """All columns as float64[n, f]: a copy, in which integers above 2**53 are rounded."""
        numpy: Any = import_module("numpy")
        values = numpy.empty((len(self), len(self.fields)))
        for index, column in enumerate(self._batch.columns):
            values[:, index] = _array(column.dtype, column.data)
        return values


def _array(dtype: str, data: bytes) -> Array:
    numpy: Any = import_module("numpy")
    return numpy.frombuffer(data, numpy.dtype(DTYPES[dtype]).newbyteorder("<"))
