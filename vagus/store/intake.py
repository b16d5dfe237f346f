"""What comes in: values as the native columns of their stream, exactly, or a ConfigError that names the field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vagus.errors import ConfigError
from vagus.model import DTYPES, MAX_T_NS, Field, Stream, check_time

Array = npt.NDArray[Any]
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def time(t_ns: Any) -> int:
    """A time that is no plain int as one. Raises ConfigError: no integer, or not between 1970 and 2100."""
    if isinstance(t_ns, bool) or not hasattr(t_ns, "__index__"):
        raise ConfigError(f"t_ns must be an integer of nanoseconds, got {t_ns!r}")
    return check_time(t_ns.__index__())


def repair_row(stream: Stream, values: Sequence[Any]) -> tuple[Any, ...]:
    """A row that could not be packed, with whole floats of integer fields as integers. Raises ConfigError."""
    if len(values) != len(stream.fields):
        raise ConfigError(f"{stream.kind} has {len(stream.fields)} fields, got {len(values)} values")
    return tuple(_repair(stream, field, value) for field, value in zip(stream.fields, values, strict=True))


def _repair(stream: Stream, field: Field, value: Any) -> float | int:
    name = f"{stream.kind}.{field.name}"
    if isinstance(value, (str, bytes)) or not (hasattr(value, "__float__") or hasattr(value, "__index__")):
        raise ConfigError(f"{name}: {value!r} is not a number")
    dtype = np.dtype(DTYPES[field.dtype])
    if dtype.kind == "f":
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if dtype.itemsize == 4 and math.isfinite(number) and abs(number) > _FLOAT32_MAX:
            number = math.inf
        if math.isinf(number) and value not in (math.inf, -math.inf):
            raise ConfigError(f"{name}: {value!r} is too large for {field.dtype}")
        return number
    if not hasattr(value, "__index__"):
        number = float(value)
        if not number.is_integer():
            raise ConfigError(
                f"{name} is {field.dtype} and cannot hold {value!r}: leave the sample out, or declare the field f8"
            )
        value = int(number)
    limits = np.iinfo(dtype)
    if not limits.min <= int(value) <= limits.max:
        raise ConfigError(f"{name}: {value!r} does not fit {field.dtype} ({limits.min} to {limits.max})")
    return int(value)


def times(stream: Stream, t_ns: Any) -> npt.NDArray[np.int64]:
    """Times as int64[n], each between 1970 and 2100. Raises ConfigError."""
    array = np.asarray(t_ns)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ConfigError(
            f"{stream.kind}: t_ns must be one row of integer nanoseconds, got {array.ndim}-d {array.dtype}"
        )
    if array.size and not (array.min() >= 0 and array.max() < MAX_T_NS):
        raise ConfigError(f"{stream.kind}: t_ns from {array.min()} to {array.max()} leaves the years 1970 to 2100")
    return array.astype(np.int64)


def columns(stream: Stream, values: Any, rows: int) -> tuple[Array, ...]:
    """Values as native columns: a float array [n, f], or f columns of n each, which stay exact. Raises ConfigError."""
    fields = stream.fields
    if not _are_columns(values):
        try:
            values = np.asarray(values)
        except ValueError as error:
            raise ConfigError(f"{stream.kind}: values are ragged: {error}") from error
        if values.ndim == 1 and len(fields) == 1:
            values = values[:, None]
        if values.ndim != 2 or values.shape[1] != len(fields):
            raise ConfigError(f"{stream.kind} has {len(fields)} fields, values have the shape {values.shape}")
        values = values.T
    if len(values) != len(fields) or any(np.shape(column) != (rows,) for column in values):
        shapes = [np.shape(column) for column in values][:5]
        raise ConfigError(
            f"{stream.kind}: {len(fields)} columns of {rows} rows are needed, got {len(values)}: {shapes} …"
        )
    return tuple(_column(stream, field, np.asarray(column)) for field, column in zip(fields, values, strict=True))


def _are_columns(values: Any) -> bool:
    if isinstance(values, np.ndarray) or not isinstance(values, (list, tuple)):
        return False
    return all(isinstance(column, np.ndarray) and column.ndim == 1 for column in values)


def _column(stream: Stream, field: Field, column: Array) -> Array:
    dtype = np.dtype(DTYPES[field.dtype])
    name = f"{stream.kind}.{field.name}"
    if column.dtype == dtype:
        return column.copy()
    if column.dtype.kind not in "fiub":
        raise ConfigError(f"{name}: values of type {column.dtype} are not numbers")
    if not column.size:
        return column.astype(dtype)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            floats = column.astype(dtype)
        if bool((np.isinf(floats) & np.isfinite(column)).any()):
            raise ConfigError(f"{name}: a value is too large for {field.dtype}")
        return floats
    if column.dtype.kind == "f" and not bool((np.isfinite(column) & (column == np.floor(column))).all()):
        raise ConfigError(
            f"{name} is {field.dtype} and cannot hold NaN or fractions: leave those rows out, or declare the field f8"
        )
    limits = np.iinfo(dtype)
    if not (int(column.min()) >= limits.min and int(column.max()) <= limits.max):
        raise ConfigError(f"{name}: {column.min()} to {column.max()} does not fit {field.dtype}")
    return column.astype(dtype)
