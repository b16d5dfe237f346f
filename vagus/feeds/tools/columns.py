"""From values of any shape to columns of a table: parts of records are columns `a_b`, lists are JSON."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from vagus.feeds.contracts import Shape
from vagus.feeds.signals import word
from vagus.feeds.tools.values import as_json

Cell = bool | int | float | str | bytes | None
ColumnType = Literal["bool", "int", "float", "string", "bytes"]
MAX_COLUMNS = 500
MAX_DEPTH = 16
_INT = 1 << 63
_TYPES: dict[type, ColumnType] = {bool: "bool", int: "int", float: "float", str: "string", bytes: "bytes"}
_OF_KIND: dict[str, ColumnType] = {
    "bool": "bool",
    "int": "int",
    "float": "float",
    "time": "float",
    "string": "string",
    "bytes": "bytes",
    "list": "string",
}
_WIDER: tuple[ColumnType, ...] = ("bool", "int", "float", "string")


def flat(value: Any, taken: Mapping[str, object] | frozenset[str] = frozenset()) -> dict[str, Cell]:
    """A value's columns: fields of records and mappings by their path, sides of a tuple by their number, else `value`.

    taken: names that are the table's own: such a field is called `value_NAME`. Names differ in more than their case, as
    SQL wants it. At most MAX_COLUMNS; what is too deep or too much is left out. Integers beyond 64 bits become floats.
    """
    found: dict[str, Cell] = {}
    _gather(value, "", MAX_DEPTH, found, taken, set())
    return found


def _gather(value: Any, path: str, depth: int, found: dict[str, Cell], taken: Any, seen: set[str]) -> None:
    parts: Any
    if isinstance(value, msgspec.Struct):
        parts = ((name, getattr(value, name)) for name in value.__struct_fields__)
    elif isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, tuple):
        parts = enumerate(value)
    else:
        if len(found) < MAX_COLUMNS and (path or value is not None):
            name = column(path or "value", taken, seen)
            found[name] = cell(value)
        return
    if depth:
        for key, part in parts:
            if len(found) >= MAX_COLUMNS:
                return
            _gather(part, word(f"{path}_{key}" if path else str(key)), depth - 1, found, taken, seen)


def column(name: str, taken: Any, seen: set[str]) -> str:
    """A free name for a column."""
    if name.lower() in taken:
        name = f"value_{name}"
    free, number = name, 1
    while free.lower() in seen:
        number += 1
        free = f"{name}_{number}"
    seen.add(free.lower())
    return free


def cell(value: Any) -> Cell:
    """A value as what a database stores; lists as JSON, NaN and infinities as null."""
    if value is None or isinstance(value, (bool, bytes)):
        return value
    if isinstance(value, enum.Enum):
        return cell(value.value)
    if isinstance(value, int):
        return value if -_INT <= value < _INT else float(value) if abs(value) < 1 << 1000 else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # no lone surrogates
    return as_json(value).decode()  # a function of map may have made anything


def type_of(value: Cell) -> ColumnType | None:
    """The type of a column that holds this; None for null, which says nothing."""
    return _TYPES.get(type(value))


def wider(one: ColumnType, other: ColumnType) -> ColumnType:
    """The type that holds both."""
    if one == other:
        return one
    if one in _WIDER and other in _WIDER:
        return _WIDER[max(_WIDER.index(one), _WIDER.index(other))]
    return "string"


def columns_of(shape: Shape, taken: Any = frozenset()) -> dict[str, ColumnType]:
    """The columns that values of a shape have, in order, as far as the shape tells."""
    found: dict[str, ColumnType] = {}
    _of_shape(shape, "", MAX_DEPTH, found, taken, set())
    return found


def _of_shape(shape: Shape, path: str, depth: int, found: dict[str, ColumnType], taken: Any, seen: set[str]) -> None:
    if shape.kind == "optional" and shape.parts:
        shape = shape.parts[0][1]
    if shape.kind == "record":
        for name, part in shape.parts:
            if depth and len(found) < MAX_COLUMNS:
                _of_shape(part, word(f"{path}_{name}" if path else name), depth - 1, found, taken, seen)
    elif shape.kind in _OF_KIND:
        found[column(path or "value", taken, seen)] = _OF_KIND[shape.kind]
