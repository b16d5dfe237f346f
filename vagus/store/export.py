"""Batches as CSV, JSON, MessagePack, Arrow and Parquet.

CSV, Arrow and Parquet are wide: one row for each time, one column for each series, empty where a series has no value then.
MessagePack keeps the batches apart and every bit of their columns.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from vagus.errors import ConfigError
from vagus.model import DTYPES, Stream, to_builtins
from vagus.store.batch import Batch

Array = npt.NDArray[Any]
MAX_CELLS = 50_000_000
MAX_BYTES = 1 << 30
VERSION = 1


class PackedColumn(msgspec.Struct, frozen=True, array_like=True):
    """One column: a dtype of model.DTYPES and its little-endian bytes."""

    dtype: str
    data: bytes


class PackedBatch(msgspec.Struct, frozen=True, array_like=True):
    """One batch: its stream, times as little-endian int64, a column for each field."""

    stream: Stream
    t_ns: bytes
    columns: tuple[PackedColumn, ...]


class Packed(msgspec.Struct, frozen=True, array_like=True):
    """What to_msgpack writes: `[1, [[stream, t_ns, [[dtype, data], …]], …]]`."""

    version: int
    batches: tuple[PackedBatch, ...]


def to_msgpack(batches: Iterable[Batch]) -> bytes:
    """Batches in MessagePack, exact; see Packed for the shape, which needs no numpy to be read."""
    return msgspec.msgpack.encode(Packed(VERSION, tuple(_packed(batch) for batch in batches)))


def _packed(batch: Batch) -> PackedBatch:
    columns = tuple(
        PackedColumn(field.dtype, column.astype(column.dtype.newbyteorder("<"), copy=False).tobytes())
        for field, column in zip(batch.stream.fields, batch.columns, strict=True)
    )
    return PackedBatch(batch.stream, batch.t_ns.astype("<i8", copy=False).tobytes(), columns)


def from_msgpack(data: bytes) -> list[Batch]:
    """The batches of to_msgpack; arrays are read-only views of `data`. Raises ConfigError for anything else."""
    if len(data) > MAX_BYTES:
        raise ConfigError(f"batches of {len(data)} bytes; at most {MAX_BYTES} are read")
    try:
        packed = msgspec.msgpack.decode(data, type=Packed)
    except (msgspec.DecodeError, ConfigError) as error:
        raise ConfigError(f"these bytes are not batches in MessagePack: {error}") from error
    if packed.version != VERSION:
        raise ConfigError(f"batches of version {packed.version}; this vagus reads version {VERSION}")
    return [_unpacked(batch) for batch in packed.batches]


def _unpacked(batch: PackedBatch) -> Batch:
    fields = batch.stream.fields
    if tuple(column.dtype for column in batch.columns) != tuple(field.dtype for field in fields):
        raise ConfigError(f"batch of {batch.stream.kind}: its columns are not those of its fields")
    try:
        t_ns = np.frombuffer(batch.t_ns, "<i8")
        columns = tuple(
            np.frombuffer(column.data, np.dtype(DTYPES[column.dtype]).newbyteorder("<")) for column in batch.columns
        )
    except ValueError as error:
        raise ConfigError(f"batch of {batch.stream.kind}: a column is cut short: {error}") from error
    return Batch(batch.stream, t_ns, columns)


def to_json(batches: Iterable[Batch]) -> str:
    """A JSON list of {stream, t_ns, columns: {field: [...]}}; NaN and infinities are null, integers exact."""
    found = [
        {
            "stream": to_builtins(batch.stream),
            "t_ns": batch.t_ns.tolist(),
            "columns": {
                field.name: column.tolist() for field, column in zip(batch.stream.fields, batch.columns, strict=True)
            },
        }
        for batch in batches
    ]
    return msgspec.json.encode(found).decode()  # msgspec writes what JSON cannot say as null


def to_csv(batches: Iterable[Batch]) -> str:
    """A wide CSV: `time` (RFC 3339, UTC), then a column for each series; empty where there is no value or NaN.

    Times have milliseconds, or nanoseconds when any needs them; floats their shortest exact form. Raises ConfigError
    when the table would have more than 50 million cells.
    """
    times, names, columns = _wide(batches)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["time", *names])
    writer.writerows(zip(_rfc3339(times), *(_cells(*column, len(times)) for column in columns), strict=True))
    return out.getvalue()


def _rfc3339(times: npt.NDArray[np.int64]) -> list[str]:
    unit: Literal["ms", "ns"] = "ms" if not bool((times % 1_000_000).any()) else "ns"
    texts: list[str] = np.datetime_as_string(times.astype("datetime64[ns]"), unit=unit).tolist()
    return [text + "Z" for text in texts]


def _cells(at: Array, values: Array, rows: int) -> list[Any]:
    cells: list[Any] = [""] * rows
    texts = values.tolist() if values.dtype != np.float32 else [float(str(value)) for value in values]
    for row, value in zip(at.tolist(), texts, strict=True):
        if value == value:
            cells[row] = value
    return cells


def to_arrow(batches: Iterable[Batch]) -> bytes:
    """A wide table as an Arrow IPC stream: `time` timestamp[ns, UTC], then a column for each series, null when missing."""
    import pyarrow as pa

    table = _arrow(batches)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


def to_parquet(batches: Iterable[Batch]) -> bytes:
    """The same table as a Parquet file, compressed with zstd."""
    import pyarrow as pa
    import pyarrow.parquet

    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(_arrow(batches), sink, compression="zstd")
    return bytes(sink.getvalue())


def _arrow(batches: Iterable[Batch]) -> Any:
    import pyarrow as pa

    times, names, columns = _wide(batches)
    arrays = [pa.array(times.astype("datetime64[ns]"), pa.timestamp("ns", tz="UTC"))]
    for at, values in columns:
        wide = np.zeros(len(times), values.dtype)
        missing = np.ones(len(times), bool)
        wide[at] = values
        missing[at] = np.isnan(values) if values.dtype.kind == "f" else False
        arrays.append(pa.array(wide, mask=missing))
    return pa.table(arrays, names=["time", *names])


def _wide(batches: Iterable[Batch]) -> tuple[npt.NDArray[np.int64], list[str], list[tuple[Array, Array]]]:
    """All times, the names of the series, and for each series its rows in the table and its values."""
    series: dict[str, list[tuple[Array, Array]]] = {}
    for batch in batches:
        for field, column in zip(batch.stream.fields, batch.columns, strict=True):
            series.setdefault(batch.stream.series(field.name), []).append((batch.t_ns, column))
    every = [t_ns for parts in series.values() for t_ns, _ in parts]
    unique = {id(t_ns): t_ns for t_ns in every}
    times = np.unique(np.concatenate(list(unique.values()))) if unique else np.empty(0, np.int64)
    if len(times) * len(series) > MAX_CELLS:
        raise ConfigError(
            f"{len(times)} times x {len(series)} series are too many cells for one table: narrow the selector or the time"
        )
    places = {key: np.searchsorted(times, t_ns) for key, t_ns in unique.items()}
    return times, list(series), [_column(parts, places) for parts in series.values()]


def _column(parts: Sequence[tuple[Array, Array]], places: dict[int, Array]) -> tuple[Array, Array]:
    if len(parts) == 1:
        return places[id(parts[0][0])], parts[0][1]
    # one series from several batches (its fields changed, or two environments hold it): the last one wins
    return np.concatenate([places[id(t_ns)] for t_ns, _ in parts]), np.concatenate([column for _, column in parts])
