"""Types made of types: optional, constrained, union. Lists are in lists.py, records in record.py."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from vagus.errors import NoData
from vagus.feeds.contracts import Shape
from vagus.feeds.formats.types import (
    Node,
    Printer,
    Reader,
    Reading,
    broken,
    literal,
    quoted,
    refuse,
    trimmed,
)
from vagus.feeds.item import Data

T = TypeVar("T")

MAX_BRANCHES = 100

PRINT_ERRORS = (NoData, TypeError, ValueError, KeyError, AttributeError, OverflowError, struct.error)


@dataclass(frozen=True)
class Optional(Node["T | None"]):
    """A value that may be absent: None where there is nothing, or what stands for nothing, such as `-`."""

    node: Node[T]
    none: str = ""

    def __post_init__(self) -> None:
        if self.none:
            literal("an Optional's none", self.none)

    @property
    def shape(self) -> Shape:
        return Shape("optional", parts=(("", self.node.shape),))

    @property
    def open(self) -> bool:
        return self.node.open

    @property
    def binary(self) -> bool:
        return self.node.binary

    @property
    def parts(self) -> tuple[Node[Any], ...]:
        return (self.node,)

    def reader(self) -> Reader:
        if self.open:
            return self.filler()
        read, none = self.node.reader(), self.none.encode()

        def optional(body: bytes, start: int, end: int) -> Reading:
            value, at, wrong = read(body, start, end)
            if wrong is None and at > start + len(none):
                return value, at, None
            if body.startswith(none, start, end) and (wrong is None or at == start):
                return None, start + len(none), None
            return value, at, wrong

        return optional

    def filler(self) -> Reader:
        fill, none = self.node.filler(), self.none.encode()

        def optional(body: bytes, start: int, end: int) -> Reading:
            left, right = trimmed(body, start, end)
            if left == right or body[left:right] == none:
                return None, end, None
            return fill(body, start, end)

        return optional

    def printer(self) -> Printer:
        write, none = self.node.printer(), self.none.encode()
        return lambda value: none if value is None else write(value)


@dataclass(frozen=True)
class Constrained(Node[T]):
    """A value that must pass a test; one that does not, or whose test raises, is None and a SEMANTIC error."""

    node: Node[T]
    check: Callable[[Any], Any]
    note: str = ""

    def __post_init__(self) -> None:
        if not callable(self.check):
            raise refuse(f"a check must be a function, got {self.check!r}"[:200])

    @property
    def shape(self) -> Shape:
        return self.node.shape

    @property
    def open(self) -> bool:
        return self.node.open

    @property
    def binary(self) -> bool:
        return self.node.binary

    @property
    def parts(self) -> tuple[Node[Any], ...]:
        return (self.node,)

    def _checked(self, read: Reader) -> Reader:
        fails = failing(self.check, self.note)

        def checked(body: bytes, start: int, end: int) -> Reading:
            value, at, wrong = read(body, start, end)
            if wrong is None and (why := fails(value)):
                return None, at, broken(Data.SEMANTIC, start, at, f"{quoted(body, start, at)}: {why}")
            return value, at, wrong

        return checked

    def reader(self) -> Reader:
        return self._checked(self.node.reader())

    def filler(self) -> Reader:
        return self._checked(self.node.filler())

    def printer(self) -> Printer:
        return self.node.printer()


def failing(check: Callable[[Any], Any], note: str = "") -> Callable[[Any], str]:
    """A user's check as a function that never raises: why the value fails; "" when it passes."""
    why = note or f"check {getattr(check, '__name__', '')} failed"

    def fails(value: Any) -> str:
        try:
            return "" if check(value) else why
        except Exception as error:  # a user's function: whatever it raises is a failed check
            return f"check raised {type(error).__name__}: {error}"[:200]

    return fails


@dataclass(frozen=True)
class Union(Node[Any]):
    """One of some types: the first that reads well; if none does, the one with the fewest errors."""

    nodes: tuple[Node[Any], ...]

    def __post_init__(self) -> None:
        if not 2 <= len(self.nodes) <= MAX_BRANCHES:
            raise refuse(f"a Union has 2 to {MAX_BRANCHES} branches, got {len(self.nodes)}")

    @property
    def shape(self) -> Shape:
        return Shape("union", parts=tuple((shape.name or shape.kind, shape) for shape in (n.shape for n in self.nodes)))

    @property
    def open(self) -> bool:
        return any(node.open for node in self.nodes)

    @property
    def binary(self) -> bool:
        return any(node.binary for node in self.nodes)

    @property
    def parts(self) -> tuple[Node[Any], ...]:
        return self.nodes

    def reader(self) -> Reader:
        return first_good(tuple(node.reader() for node in self.nodes))

    def filler(self) -> Reader:
        return first_good(tuple(node.filler() for node in self.nodes))

    def printer(self) -> Printer:
        writers = tuple(node.printer() for node in self.nodes)
        fillers = tuple(node.filler() for node in self.nodes)

        def write(value: Any) -> bytes:
            for writer, fill in zip(writers, fillers, strict=True):
                try:
                    text = writer(value)
                except PRINT_ERRORS:
                    continue
                again, _, wrong = fill(text, 0, len(text))
                if wrong is None and type(again) is type(value) and again == value:
                    return text
            raise NoData(f"{value!r} is of no branch of the union"[:200])

        return write


def first_good(readers: tuple[Reader, ...]) -> Reader:
    def read(body: bytes, start: int, end: int) -> Reading:
        best: Reading | None = None
        least = (True, 0)
        for reader in readers:
            reading = reader(body, start, end)
            wrong = reading[2]
            if wrong is None:
                return reading
            rank = (reading[0] is None, wrong.errors)
            if best is None or rank < least:
                best, least = reading, rank
        assert best is not None
        return best

    return read
