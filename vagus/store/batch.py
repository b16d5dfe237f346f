"""Rows of one stream as native columns: what a query gives and what travels between actors."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from vagus.errors import ConfigError
from vagus.model import DTYPES, Field, Stream

Array = npt.NDArray[Any]


class Batch:
    """Rows of one stream, in order of time. Columns keep their dtype, so that 64-bit counters stay exact.

    stream: narrowed to the fields that were selected; t_ns: int64[n]; columns: one array[n] for each field.
    Pickles as the stream and its arrays, which Ray shares without a copy.
    """

    __slots__ = ("columns", "stream", "t_ns")

    def __init__(self, stream: Stream, t_ns: npt.NDArray[np.int64], columns: tuple[Array, ...]) -> None:
        if len(columns) != len(stream.fields) or any(len(column) != len(t_ns) for column in columns):
            raise ConfigError(
                f"batch of {stream.kind}: {len(stream.fields)} fields of {len(t_ns)} rows need as many columns, "
                f"got {[len(column) for column in columns]}"
            )
        self.stream = stream
        self.t_ns = t_ns
        self.columns = columns

    def __len__(self) -> int:
        return len(self.t_ns)

    def __repr__(self) -> str:
        return f"Batch({self.stream.key}, {len(self)} x {len(self.columns)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (Batch, (self.stream, self.t_ns, self.columns))

    def __getitem__(self, rows: slice) -> Batch:
        """A part of the rows, as views: `batch[-60:]` is the newest sixty."""
        return Batch(self.stream, self.t_ns[rows], tuple(column[rows] for column in self.columns))

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """All columns as float64[n, f]: a copy, in which integers above 2**53 are rounded."""
        values = np.empty((len(self), len(self.columns)))
        for index, column in enumerate(self.columns):
            values[:, index] = column
        return values

    def column(self, name: str) -> Array:
        """The column of one field in its native dtype. Raises ConfigError, which names the fields there are."""
        for field, column in zip(self.stream.fields, self.columns, strict=True):
            if field.name == name:
                return column
        raise ConfigError(
            f"{self.stream.kind} has no field {name!r} here; there are: {', '.join(f.name for f in self.stream.fields)}"
        )

    def rate(self) -> Batch:
        """Counters as rates per second (float64, unit `…/s`) at the later of each two rows; other fields unchanged.

        A counter that went back was reset: the rate over that step is NaN. Differences of integers are taken
        exactly, before they become floats. Fewer than two rows give an empty batch.
        """
        if len(self) < 2:
            return Batch(_rated(self.stream), self.t_ns[:0], tuple(_rate(c, f, None) for c, f in self._pairs()))
        elapsed_s = (self.t_ns[1:] - self.t_ns[:-1]) / 1e9
        columns = tuple(_rate(column, field, elapsed_s) for column, field in self._pairs())
        return Batch(_rated(self.stream), self.t_ns[1:], columns)

    def _pairs(self) -> zip[tuple[Array, Field]]:
        return zip(self.columns, self.stream.fields, strict=True)


def _rate(column: Array, field: Field, elapsed_s: npt.NDArray[np.float64] | None) -> Array:
    if not field.counter:
        return column[1:]
    if elapsed_s is None:
        return np.empty(0)
    with np.errstate(invalid="ignore", over="ignore"):
        grown = column[1:] >= column[:-1]
        # modulo 2**n the difference of two integers is exact even where a signed one would overflow
        counts = column.view(f"u{column.itemsize}") if column.dtype.kind == "i" else column
        return np.where(grown, (counts[1:] - counts[:-1]) / elapsed_s, np.nan)


def _rated(stream: Stream) -> Stream:
    return with_fields(
        stream,
        tuple(
            Field(field.name, f"{field.unit}/s" if field.unit else "1/s", "f8") if field.counter else field
            for field in stream.fields
        ),
    )


def empty_columns(fields: tuple[Field, ...], rows: int) -> tuple[Array, ...]:
    """Uninitialised native columns of `rows` rows."""
    return tuple(np.empty(rows, DTYPES[field.dtype]) for field in fields)


@lru_cache(maxsize=4096)
def with_fields(stream: Stream, fields: tuple[Field, ...]) -> Stream:
    """The same stream with other fields; cached, since checking a stream's names costs more than a small query."""
    return stream if fields == stream.fields else msgspec.structs.replace(stream, fields=fields)
