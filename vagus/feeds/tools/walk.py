"""The generic-tool API: a visitor that is written once works on the values of every format.

A *place* is a part of a format: a field, the elements of a list, a branch of a union. `Walker` goes through a value, its
shape and its parse descriptor together and calls the visitor:

    init(place)                          once for each place; what it returns is kept for the place (its state)
    start(state, value, descriptor)      a value of the place begins; what it returns is handed to the next three
    field(begun, name, result)           a part of a record, map or union was visited, with what its `finish` returned
    element(begun, index, result)        the same of a list
    finish(begun, value)                 all parts were; what it returns goes to the value around it

The kinds of places are those of `Shape`. Where the shape does not tell (`any`), the value does: structs and mappings
have fields, lists and tuples elements. An optional place is that of what may be there; its value may be None. The
descriptor is None where nothing is known of a part, and `GOOD` where nothing is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from vagus.feeds.contracts import ANY_SHAPE, Kind, Notice, Shape, ToolContext
from vagus.feeds.item import GOOD, Data, Descriptor, Item
from vagus.feeds.location import printable

MAX_PLACES = 2000
MAX_DEPTH = 32  # what is deeper is visited as one value without parts
MAX_VALUES = 2_000_000  # of one walk; the parts after these are left out
MAX_SIDES = 16  # of a tuple whose elements are places of their own
MAX_NAME = 100  # characters of a name that a path shows
REST = "*"  # the place of all fields of a mapping that came after MAX_PLACES
_CONTAINERS = ("record", "union", "list", "map")
_EXACT: dict[type, Kind] = {bool: "bool", int: "int", float: "float", str: "string", bytes: "bytes"}


class Place(msgspec.Struct, frozen=True, eq=False):
    """A part of a format. path: `a.b[]`, from the outermost value, which is `$`; kind: `any` where only values tell."""

    path: str
    kind: Kind
    name: str = ""  # of its class, where it has one
    unit: str = ""
    optional: bool = False
    depth: int = 0


class Visitor:
    """Base of visitors: every callback does nothing. What each is told: walk.py's head."""

    def init(self, place: Place) -> Any:
        return place

    def start(self, state: Any, value: Any, descriptor: Descriptor | None) -> Any:
        return state

    def field(self, begun: Any, name: str, result: Any) -> None:
        return None

    def element(self, begun: Any, index: int, result: Any) -> None:
        return None

    def finish(self, begun: Any, value: Any) -> Any:
        return None


class Walker:
    """Takes one visitor through values of one shape. places: those that were met, by path, in order."""

    def __init__(self, visitor: Visitor, shape: Shape = ANY_SHAPE) -> None:
        self._visitor = visitor
        self.places: dict[str, Place] = {}
        self._root = self._node("$", shape, 0)
        self._left = 0

    def walk(self, value: Any, descriptor: Descriptor | None = GOOD) -> Any:
        """Visits a value with all its parts; what the visitor's `finish` returned of it. Raises what the visitor does."""
        self._left = MAX_VALUES
        return self._visit(self._root, value, descriptor)

    def _node(self, path: str, shape: Shape, depth: int) -> _Node:
        optional = False
        while shape.kind == "optional":
            optional, shape = True, shape.parts[0][1] if shape.parts else ANY_SHAPE
        place = Place(path, shape.kind, shape.name, shape.unit, optional, depth)
        if path in self.places:  # `a.b` of a key with a dot, and of a record in a record
            place = msgspec.structs.replace(place, path=f"{path}'{len(self.places)}")
        self.places[place.path] = place
        return _Node(place, self._visitor.init(place), shape)

    def _part(self, node: _Node, key: str, shape: Shape) -> _Node:
        """The node of a part, made when first met. key: a name, or what is in brackets: `[]`, `[0]`, `{}`."""
        found = node.parts.get(key)
        if found is None:
            if shape is ANY_SHAPE and len(self.places) >= MAX_PLACES and key not in (REST, "[]", "{}"):
                return self._part(node, REST, ANY_SHAPE)
            if key[:1] in ("[", "{"):
                path = node.place.path + printable(key)[:MAX_NAME]
            else:
                path = ("" if node.place.path == "$" else f"{node.place.path}.") + printable(key)[:MAX_NAME]
            found = node.parts[key] = self._node(path, shape, node.place.depth + 1)
        return found

    def _visit(self, node: _Node, value: Any, descriptor: Descriptor | None) -> Any:
        visitor = self._visitor
        begun = visitor.start(node.state, value, descriptor)
        self._left -= 1
        if value is not None and node.place.depth < MAX_DEPTH and (type(value) not in _EXACT or node.kind == "union"):
            parts, inside = _parts(node, value), _inside(descriptor)
            if parts is None:
                if isinstance(value, (list, tuple)) and value:
                    self._elements(node, begun, value, inside)
            else:
                for name, key, shape, part in parts:
                    if self._left <= 0:
                        break
                    inner = self._part(node, key, shape)
                    visitor.field(begun, name, self._visit(inner, part, inside(name)))
        return visitor.finish(begun, value)

    def _elements(self, node: _Node, begun: Any, values: Sequence[Any], inside: _Inside) -> None:
        apart = isinstance(values, tuple) and len(values) <= MAX_SIDES and "" not in node.shapes  # a pair's sides
        inner = None if apart else self._part(node, "[]", node.shapes.get("", ANY_SHAPE))
        for index, value in enumerate(values):
            if self._left <= 0:
                break
            place = inner or self._part(node, f"[{index}]", node.shapes.get(str(index), ANY_SHAPE))
            self._visitor.element(begun, index, self._visit(place, value, inside(index)))


class _Node:
    """A place with its state and parts."""

    __slots__ = ("kind", "parts", "place", "shapes", "state")

    def __init__(self, place: Place, state: Any, shape: Shape) -> None:
        self.place = place
        self.kind = place.kind
        self.state = state
        self.shapes = dict(shape.parts) if shape.kind in _CONTAINERS else {}
        self.parts: dict[str, _Node] = {}


def _parts(node: _Node, value: Any) -> Iterable[tuple[str, str, Shape, Any]] | None:
    """The named parts of a value: name, key of the place, shape, value. None: it has none, but may have elements."""
    kind, shapes = node.kind, node.shapes
    if kind == "union":
        branch = _branch(shapes, value)
        return ((branch, branch, shapes.get(branch, ANY_SHAPE), value),)
    if kind == "map" and isinstance(value, dict):
        shape = shapes.get("", ANY_SHAPE)
        return ((str(key), "{}", shape, part) for key, part in value.items())
    if isinstance(value, msgspec.Struct):
        names = value.__struct_fields__
        return ((name, name, shapes.get(name, ANY_SHAPE), getattr(value, name, None)) for name in names)
    if isinstance(value, dict):
        return ((str(key), str(key), shapes.get(str(key), ANY_SHAPE), part) for key, part in value.items())
    return None


def _branch(shapes: dict[str, Shape], value: Any) -> str:
    """Which branch of a union a value is of: that of its class, or else of its kind."""
    name = type(value).__name__
    if name in shapes:
        return name
    kind = kind_of(value)
    return next((branch for branch, shape in shapes.items() if shape.kind == kind), kind)


def kind_of(value: Any) -> Kind:
    """What a value is by itself; `any` for None and for what is nothing of the list."""
    exact = _EXACT.get(type(value))
    if exact is not None:
        return exact
    if isinstance(value, msgspec.Struct):
        return "record"
    if isinstance(value, dict):
        return "map"
    if isinstance(value, (list, tuple)):
        return "list"
    return next((kind for base, kind in _EXACT.items() if isinstance(value, base)), "any")


_Inside = Callable[[str | int], Descriptor | None]


def _inside(descriptor: Descriptor | None) -> _Inside:
    """From the name of a part to its descriptor."""
    if descriptor is not None:
        if descriptor.inside:
            return lambda key, known=dict(descriptor.inside): known.get(key, GOOD)  # type: ignore[misc]
        if not descriptor.errors:
            return lambda key: GOOD
    return lambda key: None


class WalkingTool:
    """Base of tools that are made of a visitor: hands it every item's value. Subclasses say what `finish` writes."""

    name = "walk"
    wants_descriptor = True

    def __init__(self, context: ToolContext, visitor: Visitor) -> None:
        self.context = context
        self.walker = Walker(visitor, context.shape)
        self._descriptor: Descriptor | None = None

    def take_descriptor(self, descriptor: Descriptor | None) -> None:
        """Where the errors of the next item are."""
        self._descriptor = descriptor

    def take(self, item: Item[Any]) -> Iterable[Notice]:
        """Visits the value of an item that has one, and None where all of it was broken."""
        if item.value is not None or item.meta.errors:
            self.walker.walk(item.value, known_descriptor(item, self._descriptor))
        self._descriptor = None
        return ()

    def tick(self, now_ns: int) -> Iterable[Notice]:
        """Nothing is due by time."""
        return ()

    def finish(self, now_ns: int) -> Iterable[Notice]:
        """Nothing to write."""
        return ()


def known_descriptor(item: Item[Any], descriptor: Descriptor | None) -> Descriptor | None:
    """What is known of an item's errors: the descriptor that came with it; GOOD where its meta says that all is."""
    if descriptor is None and item.meta.errors == 0 and item.meta.data in (Data.GOOD, Data.NONE):
        return GOOD
    return descriptor
