"""The shape of values that are msgspec structs and builtins, from their annotations."""

from __future__ import annotations

from typing import Any

import msgspec

from vagus.feeds.contracts import ANY_SHAPE, Kind, Shape

_SCALARS: dict[Any, Kind] = {
    msgspec.inspect.BoolType: "bool",
    msgspec.inspect.IntType: "int",
    msgspec.inspect.FloatType: "float",
    msgspec.inspect.StrType: "string",
    msgspec.inspect.BytesType: "bytes",
}


def shape_of(annotation: Any) -> Shape:
    """The shape of `list[Entry]`, `dict[str, float]`, a struct, an optional of these …; `any` for what has none."""
    return _shape(msgspec.inspect.type_info(annotation))


def _shape(info: msgspec.inspect.Type) -> Shape:
    if isinstance(info, msgspec.inspect.Metadata):
        return _shape(info.type)
    if isinstance(info, msgspec.inspect.StructType):
        return Shape("record", info.cls.__name__, tuple((field.name, _shape(field.type)) for field in info.fields))
    if isinstance(info, (msgspec.inspect.ListType, msgspec.inspect.VarTupleType)):
        return Shape("list", parts=(("", _shape(info.item_type)),))
    if isinstance(info, msgspec.inspect.DictType):
        return Shape("map", parts=(("", _shape(info.value_type)),))
    if isinstance(info, msgspec.inspect.UnionType):
        return _union([_shape(part) for part in info.types if not isinstance(part, msgspec.inspect.NoneType)], info)
    kind = _SCALARS.get(type(info))
    return Shape(kind) if kind else ANY_SHAPE


def _union(shapes: list[Shape], info: msgspec.inspect.UnionType) -> Shape:
    one = shapes[0] if len(shapes) == 1 else Shape("union", parts=tuple((shape.name, shape) for shape in shapes))
    return Shape("optional", parts=(("", one),)) if info.includes_none else one
