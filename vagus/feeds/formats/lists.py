"""Lists: values with a separator between them, up to a terminator, of a fixed length, or as far as there is text.

Bodies of lines are lists too, with more patience: each line is read by itself, whatever the others are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any, TypeVar

from vagus.feeds.contracts import Shape
from vagus.feeds.formats.types import (
    Bool,
    Float,
    Int,
    Node,
    Printer,
    Reader,
    Reading,
    check_number,
    kept,
    literal,
    quoted,
    refuse,
)
from vagus.feeds.item import Data, Descriptor, State

T = TypeVar("T")

MAX_ELEMENTS = 10_000
MAX_RECORDS = 100_000
GREATEST_LENGTH = 10_000_000
PATIENCE = 64  # times the size of a list may be looked through behind broken elements; then the rest is skipped

_WORD = re.compile(rb"[^ \t\r\n\v\f]*")
_BLANKS = re.compile(rb"[ \t\r\n\v\f]*")


class Gathered:
    """The elements of a list so far, and what is wrong with them."""

    def __init__(self, start: int) -> None:
        self.values: list[Any] = []
        self.inside: list[tuple[str | int, Descriptor]] = []
        self.errors = 0
        self.note = ""
        self.panic = False
        self.start = start

    def add(self, value: Any, wrong: Descriptor | None) -> None:
        if wrong is not None:
            self.inside.append((len(self.values), wrong))
            self.errors += wrong.errors
        self.values.append(value)

    def fault(self, note: str, panic: bool = False) -> None:
        """Something is wrong with the list itself."""
        self.note = self.note or note
        self.errors += 1
        self.panic = self.panic or panic

    def reading(self, end: int) -> Reading:
        if not self.errors:
            return self.values, end, None
        code = Data.SYNTAX if self.note else Data.NESTED
        state = State.PANIC if self.panic else State.PARTIAL
        return self.values, end, Descriptor(state, self.errors, code, self.start, end, tuple(self.inside), self.note)


@dataclass(frozen=True)
class List(Node["list[T]"]):
    """Values one after the other. A broken one is None in its place; reading goes on behind the next separator.

    sep: between them; None: blanks and newlines, "": nothing. term: what ends the list and is read with it; without
    one, and without `length`, the list goes as far as its surroundings say. What is behind max_length is skipped.
    """

    node: Node[T]
    sep: str | None = None
    term: str | None = None
    length: int | None = None
    max_length: int = MAX_ELEMENTS

    def __post_init__(self) -> None:
        if self.sep:
            literal("a List's sep", self.sep)
        if self.term is not None:
            literal("a List's term", self.term)
            if self.length is not None or self.term == self.sep:
                raise refuse("a List has one of term and length, and its term is not its sep")
        if self.length is not None:
            check_number("a List's length", self.length, 0, GREATEST_LENGTH)
        check_number("a List's max_length", self.max_length, 1, GREATEST_LENGTH)
        if isinstance(self.node, List) and self.node.open and self.node.sep == self.sep:
            raise refuse("a List of Lists needs different separators, or a term for those within")
        if self.sep == "" and self.node.open:
            raise refuse("a List without sep needs elements that tell where they end: give them a width or an until")

    @property
    def shape(self) -> Shape:
        return Shape("list", parts=(("", self.node.shape),))

    @property
    def split(self) -> bool:
        """Whether elements always end at the next separator."""
        return self.node.open or (isinstance(self.node, (Int, Float, Bool)) and self.sep != "")

    @property
    def open(self) -> bool:
        return self.term is None and (self.length is None or self.split)

    @property
    def binary(self) -> bool:
        return self.node.binary

    @property
    def parts(self) -> tuple[Node[Any], ...]:
        return (self.node,)

    def reader(self) -> Reader:
        return cutting(self) if self.split and self.term is None and self.length is None else reading(self)

    def filler(self) -> Reader:
        fill = kept(self.reader())
        quick = quick_list(self)
        if quick is None:
            return fill

        def read(body: bytes, start: int, end: int) -> Reading:
            values = quick(body[start:end])
            return fill(body, start, end) if values is None else (values, end, None)

        return read

    def printer(self) -> Printer:
        write = self.node.printer()
        sep = b" " if self.sep is None else self.sep.encode()
        term = (self.term or "").encode()
        return lambda value: sep.join([write(one) for one in value]) + term


def quick_list(node: List[Any]) -> Callable[[bytes], list[Any] | None] | None:
    """How a whole list of plain numbers is read at once, if it is one; the function answers None where it is not sure."""
    if node.term is not None or node.length is not None or node.sep == "":
        return None
    sep, most, plain = None if node.sep is None else node.sep.encode(), node.max_length, node.node
    convert: Callable[[bytes], Any]
    low: float
    high: float
    if isinstance(plain, Int) and plain.base == 10 and plain.width is None:
        convert, low, high, bounded = int, *plain.bounds, True
    elif isinstance(plain, Float) and plain.width is None:
        convert, low, high, bounded = float, *plain.bounds, plain.bounds != Float().bounds
    else:
        return None

    def quick(text: bytes) -> list[Any] | None:
        if b"_" in text:  # Python's numbers may have them
            return None
        try:
            values = list(map(convert, text.split(sep)))
        except ValueError:
            return None
        if len(values) > most:
            return None
        if not bounded:  # finite is enough
            return values if isfinite(sum(values)) else None
        return values if not values or (low <= min(values) and max(values) <= high) else None

    return quick


def reading(node: List[Any]) -> Reader:
    """The reader of a list, element by element: the definition of what it means.

    An element is what stands before the next mark. Where that is broken and the type tells itself where it ends, it is
    read as far as it goes, so that it may hold separators.
    """
    fill_one, read_one, to_mark = node.node.filler(), node.node.reader(), node.split
    sep, term = (node.sep or "").encode(), (node.term or "").encode()
    blank, length, most = node.sep is None, node.length, node.max_length

    def follows(body: bytes, at: int, end: int) -> tuple[str, int]:
        """What stands here: a mark, the end, or "" for something else; and where it goes on behind."""
        if blank:
            past = end_of(_BLANKS, body, at, end)
            if term and body.startswith(term, past, end):
                return "term", past + len(term)
            return ("end" if past == end else "next" if past > at else ""), past
        if term and body.startswith(term, at, end):
            return "term", at + len(term)
        if at == end:
            return "end", at
        return ("next", at + len(sep)) if body.startswith(sep, at, end) else ("", at)

    def read(body: bytes, start: int, end: int) -> Reading:
        found = Gathered(start)
        patience = PATIENCE * (end - start) + (1 << 20)
        term_at = start - 1
        at = end_of(_BLANKS, body, start, end) if blank else start
        kind = "next"
        if length == 0:
            return found.reading(start)
        if term and body.startswith(term, at, end):
            return found.reading(at + len(term))
        if at == end:
            kind = "end"
        while kind == "next":
            if len(found.values) == most:
                found.fault(f"more than {most} elements", panic=True)
                return found.reading(end)
            if blank or sep:
                if term and term_at < at:
                    term_at = body.find(term, at, end)
                    term_at = end if term_at < 0 else term_at
                stop = end_of(_WORD, body, at, end) if blank else body.find(sep, at, end)
                stop = min(end if stop < 0 else stop, term_at if term else end)
                value, _, wrong = fill_one(body, at, stop)
                if wrong is not None and stop < end and not to_mark:
                    longer, past, worse = read_one(body, at, end)
                    patience -= end - at if worse else past - at
                    if worse is None and follows(body, past, end)[0]:
                        value, stop, wrong = longer, past, None
            else:
                value, stop, wrong = read_one(body, at, end)
                if wrong is not None:
                    patience -= end - at
            last = len(found.values) + 1 == length
            kind, past = ("last", stop) if last else follows(body, stop, end)
            found.add(value, wrong)
            if patience < 0 or (kind == "next" and past == at):
                found.fault(f"too much is broken: {quoted(body, at, end)} was skipped", panic=True)
                return found.reading(end)
            at = past
        if kind == "end" and term:
            found.fault(f"the list is not ended by {node.term!r}")
        if length is not None and len(found.values) != length:
            found.fault(f"{len(found.values)} elements, not {length}")
        return found.reading(at)

    return read


def cutting(node: List[Any]) -> Reader:
    """What `reading` does, where elements are just what is between the separators."""
    fill_one, most = node.node.filler(), node.max_length
    words = re.compile(rb"[^ \t\r\n\v\f]+").finditer
    sep = (node.sep or "").encode()

    def read(body: bytes, start: int, end: int) -> Reading:
        found, spans = Gathered(start), []
        if not sep:
            spans = [word.span() for word in words(body, start, end)]
        elif start < end:
            at = start
            for piece in body[start:end].split(sep):
                spans.append((at, at + len(piece)))
                at += len(piece) + len(sep)
        for left, right in spans[:most]:
            value, _, wrong = fill_one(body, left, right)
            if wrong is None:
                found.values.append(value)
            else:
                found.add(value, wrong)
        if len(spans) > most:
            found.fault(f"more than {most} elements", panic=True)
        return found.reading(end)

    return read


def end_of(pattern: re.Pattern[bytes], body: bytes, at: int, end: int) -> int:
    """Where what the pattern matches here ends."""
    found = pattern.match(body, at, end)
    return found.end() if found else at


@dataclass(frozen=True)
class Lines(Node["list[T]"]):
    """A body of records, each ended by `sep`, usually a newline; a broken one never touches the next.

    Empty ones are left out, unless `keep_empty`; those behind max_length are skipped.
    """

    node: Node[T]
    sep: str = "\n"
    keep_empty: bool = False
    max_length: int = MAX_RECORDS

    def __post_init__(self) -> None:
        literal("the sep of lines", self.sep)
        check_number("the max_length of lines", self.max_length, 1, GREATEST_LENGTH)

    @property
    def shape(self) -> Shape:
        return Shape("list", parts=(("", self.node.shape),))

    @property
    def open(self) -> bool:
        return True

    @property
    def binary(self) -> bool:
        return True  # what stands at the end is looked at here

    @property
    def parts(self) -> tuple[Node[Any], ...]:
        return (self.node,)

    def reader(self) -> Reader:
        fill, sep = self.node.filler(), self.sep.encode()
        keep, most, carriage = self.keep_empty, self.max_length, self.sep == "\n"

        def read(body: bytes, start: int, end: int) -> Reading:
            found = Gathered(start)
            values, at = found.values, start
            while at < end:
                stop = body.find(sep, at, end)
                stop, after = (end, end) if stop < 0 else (stop, stop + len(sep))
                if carriage and stop > at and body[stop - 1] == 13:
                    stop -= 1
                if stop > at or keep:
                    if len(values) >= most:
                        found.fault(f"more than {most} records", panic=True)
                        break
                    value, _, wrong = fill(body, at, stop)
                    if wrong is None:
                        values.append(value)
                    else:
                        found.add(value, wrong)
                at = after
            return found.reading(end)

        return read

    def printer(self) -> Printer:
        write, sep = self.node.printer(), self.sep.encode()
        return lambda value: b"".join([write(one) + sep for one in value])
