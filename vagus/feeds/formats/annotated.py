"""From annotations to types of the format language: `int | None`, `list[float]`, `Annotated[int, Int(bits=8)]` …"""

from __future__ import annotations

import types
import typing
from dataclasses import replace
from typing import Annotated, Any, Literal

from vagus.feeds.formats.compounds import Constrained, Optional, Union
from vagus.feeds.formats.keyed import Map
from vagus.feeds.formats.lists import List
from vagus.feeds.formats.types import Bool, Bytes, Choice, Float, Int, Node, Str, refuse

PLAIN: dict[Any, Node[Any]] = {int: Int(), float: Float(), str: Str(), bool: Bool(), bytes: Bytes()}

I8 = Annotated[int, Int(8)]
I16 = Annotated[int, Int(16)]
I32 = Annotated[int, Int(32)]
I64 = Annotated[int, Int(64)]
U8 = Annotated[int, Int(8, signed=False)]
U16 = Annotated[int, Int(16, signed=False)]
U32 = Annotated[int, Int(32, signed=False)]
U64 = Annotated[int, Int(64, signed=False)]
F32 = Annotated[float, Float(32)]
F64 = Annotated[float, Float(64)]
Word = Annotated[str, Str(matching=r"\S+")]
"""Text without blanks."""


def node_of(what: Any) -> Node[Any]:
    """The type that an annotation, a Record class or a type itself stands for. Raises ConfigError."""
    if isinstance(what, Node):
        return what
    own = getattr(what, "__vagus_node__", None)
    if isinstance(own, Node) and isinstance(what, type):
        return own
    try:
        if what in PLAIN:
            return PLAIN[what]
    except TypeError:
        pass
    origin, args = typing.get_origin(what), typing.get_args(what)
    if origin is Annotated:
        for extra in what.__metadata__:
            if isinstance(extra, Node):
                return extra
        return node_of(args[0])
    if origin in (typing.Union, types.UnionType):
        branches = [node_of(arg) for arg in args if arg is not type(None)]
        node = branches[0] if len(branches) == 1 else Union(tuple(branches))
        return Optional(node) if len(branches) < len(args) else node
    if origin is list and len(args) == 1:
        return List(node_of(args[0]))
    if origin is dict and len(args) == 2 and args[0] is str:
        return Map(node_of(args[1]))
    if origin is Literal and all(isinstance(arg, str) for arg in args):
        return Choice(args)
    raise refuse(
        f"{what!r} is no type of a format; write int, float, str, bool, bytes, list[…], dict[str, …], Literal[…], "
        "X | None, A | B, a Record class, or Annotated[…, Int(…)] with a type of vagus.feeds"
    )


def narrowed(
    node: Node[Any], none: str | None, least: float | None, most: float | None, sep: str | None, term: str | None
) -> Node[Any]:
    """A type with what `field` and `entry` say beside it. Raises ConfigError where it does not fit."""
    if isinstance(node, Optional):
        inner = narrowed(node.node, None, least, most, sep, term)
        return Optional(inner, node.none if none is None else none)
    if none is not None:
        raise refuse(f"none={none!r} stands for a value that is absent: declare the field as `… | None`")
    if isinstance(node, List):
        inner = narrowed(node.node, None, least, most, None, None)
        return replace(node, node=inner, sep=node.sep if sep is None else sep, term=node.term if term is None else term)
    if sep is not None or term is not None:
        raise refuse("sep and term are of lists: declare the field as list[…]")
    if least is None and most is None:
        return node
    if not isinstance(node, (Int, Float)):
        raise refuse("min and max are of numbers: declare the field as int or float")
    bounds: Any = {"min": node.min if least is None else least, "max": node.max if most is None else most}
    return replace(node, **bounds)


def checked(node: Node[Any], check: Any) -> Node[Any]:
    """A type with a user's check; an absent value is not checked."""
    if check is None:
        return node
    if isinstance(node, Optional):
        return Optional(Constrained(node.node, check), node.none)
    return Constrained(node, check)
