"""What the values of a declared feed look like, as far as its declaration tells: for its tools, before any item came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vagus.feeds.contracts import ANY_SHAPE, PAIR, Shape
from vagus.feeds.feed import Base, Failover, Feed, Flattened, Foreach, Joined, Refeed, Union, Where


def shape_of(feed: Feed[Any]) -> Shape:
    """The shape of a feed's values; `any` of what a program's functions make (map, foreach)."""
    if isinstance(feed, Base):
        return feed.format.shape
    if isinstance(feed, (Where, Refeed)):
        return shape_of(feed.source)
    if isinstance(feed, Foreach):
        return ANY_SHAPE if feed.like is None else shape_of(feed.like)
    if isinstance(feed, Flattened):
        return element_at(shape_of(feed.source), feed.path)
    if isinstance(feed, (Union, Failover)):
        return _one_of([shape_of(side) for side in feed.sides])
    if isinstance(feed, Joined):
        return _joined(feed.build(tuple(Shape("optional", parts=(("", shape_of(side)),)) for side in feed.sides)))
    return ANY_SHAPE


def _joined(made: Any) -> Shape:
    """Of what a join makes of its sides' shapes; a side that failed is None there."""
    if isinstance(made, dict):
        return Shape("record", parts=tuple(made.items()))
    if isinstance(made, tuple):
        return Shape("record", PAIR, tuple((str(index), side) for index, side in enumerate(made)))
    return Shape("list", parts=(("", _one_of(made)),))


def element_at(shape: Shape, path: str) -> Shape:
    """The shape of the elements of the list at this path."""
    return _element(_at(shape, path))


def _at(shape: Shape, path: str) -> Shape:
    for name in path.split(".") if path else ():
        shape = dict(_bare(shape).parts).get(name, ANY_SHAPE) if _bare(shape).kind == "record" else ANY_SHAPE
    return shape


def _element(shape: Shape) -> Shape:
    shape = _bare(shape)
    return shape.parts[0][1] if shape.kind == "list" and shape.parts else ANY_SHAPE


def _bare(shape: Shape) -> Shape:
    """An optional shape as what may be there."""
    while shape.kind == "optional" and shape.parts:
        shape = shape.parts[0][1]
    return shape


def _one_of(shapes: Sequence[Shape]) -> Shape:
    """Of values of several shapes: the same one, or a union of records that have names of their own."""
    distinct = list(dict.fromkeys(map(_bare, shapes)))
    if len(distinct) == 1:
        return shapes[0]
    named = {shape.name: shape for shape in distinct if shape.kind == "record" and shape.name}
    return Shape("union", parts=tuple(named.items())) if len(named) == len(distinct) else ANY_SHAPE
