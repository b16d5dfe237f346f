"""Formats of types: a type made into what parses and prints whole bodies."""

from __future__ import annotations

from types import UnionType
from typing import Any, Generic, TypeVar, overload

from vagus.errors import NoData
from vagus.feeds.contracts import FORMATS, Format
from vagus.feeds.formats.annotated import node_of
from vagus.feeds.formats.compounds import PRINT_ERRORS, Union
from vagus.feeds.formats.lists import MAX_RECORDS, Lines
from vagus.feeds.formats.types import MAX_DEPTH, Node, depth, refuse
from vagus.feeds.item import Descriptor

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
T = TypeVar("T")


class Compiled(Generic[T]):
    """A type as a format: its whole body is one value; a newline at its end is not part of it."""

    def __init__(self, node: Node[T], name: str = "") -> None:
        if depth(node) > MAX_DEPTH:
            raise refuse(f"types are nested more than {MAX_DEPTH} deep")
        self.node = node
        self.shape = node.shape
        self.name = name or self.shape.name or self.shape.kind
        self._read = node.filler()
        self._write = node.printer()
        self._binary = node.binary

    def parse(self, body: bytes) -> tuple[T | None, Descriptor]:
        """The value and its descriptor; None when nothing could be made of the body."""
        end = len(body)
        if not self._binary and body.endswith(b"\n"):
            end -= 2 if body.endswith(b"\r\n") else 1
        value, _, wrong = self._read(body, 0, end)
        return value, Descriptor(end=len(body)) if wrong is None else wrong

    def print(self, value: T) -> bytes:
        """The inverse of parse. Raises NoData for a value that would not read back the same."""
        try:
            body = self._write(value)
        except PRINT_ERRORS as error:
            raise NoData(f"format {self.name} cannot print {value!r:.200}: {error}") from error
        again, descriptor = self.parse(body)
        if descriptor.errors or again != value:
            why = f"it would read back as {again!r:.200}" if again != value else _first(descriptor)
            raise NoData(f"format {self.name} cannot print {value!r:.200}: {why}")
        return body


def _first(descriptor: Descriptor) -> str:
    """The first thing that is wrong, with the way to it."""
    path = []
    while not descriptor.note and descriptor.inside:
        key, descriptor = descriptor.inside[0]
        path.append(str(key))
    return f"{'.'.join(path)}: {descriptor.note}" if path else descriptor.note


@overload
def one_of(a: type[A] | Node[A], b: type[B] | Node[B], /) -> Node[A | B]: ...
@overload
def one_of(a: type[A] | Node[A], b: type[B] | Node[B], c: type[C] | Node[C], /) -> Node[A | B | C]: ...
@overload
def one_of(
    a: type[A] | Node[A], b: type[B] | Node[B], c: type[C] | Node[C], d: type[D] | Node[D], /
) -> Node[A | B | C | D]: ...
def one_of(*branches: Any) -> Node[Any]:
    """`Comment | Data` in a way that mypy follows as a value: the first branch that reads well."""
    return Union(tuple(node_of(branch) for branch in branches))


@overload
def lines(
    what: type[T] | Node[T], *, sep: str = ..., keep_empty: bool = ..., max_length: int = ...
) -> Compiled[list[T]]: ...
@overload
def lines(what: UnionType, *, sep: str = ..., keep_empty: bool = ..., max_length: int = ...) -> Compiled[list[Any]]: ...
def lines(what: Any, *, sep: str = "\n", keep_empty: bool = False, max_length: int = MAX_RECORDS) -> Any:
    """A body of many records, each ended by sep, as a list; a record of which nothing could be made is None in it.

    what: a Record class, a union (`Comment | Data`), or any type. Raises ConfigError.
    """
    node = node_of(what)
    return Compiled(Lines(node, sep, keep_empty, max_length), f"lines of {node.shape.name or node.shape.kind}")


@overload
def as_format(what: str) -> Format[Any]: ...
@overload
def as_format(what: Node[T]) -> Format[T]: ...
@overload
def as_format(what: Format[T]) -> Format[T]: ...
@overload
def as_format(what: type[T]) -> Format[T]: ...
def as_format(what: Any) -> Any:
    """A format from a Record class, a format, a type of the language, or the name of a registered one. ConfigError."""
    if isinstance(what, str):
        return FORMATS.make(what)
    compiled = getattr(what, "__vagus_format__", None)
    if isinstance(compiled, Compiled):
        return compiled
    if not isinstance(what, type) and all(hasattr(what, name) for name in ("parse", "print", "shape", "name")):
        return what
    return Compiled(node_of(what))
