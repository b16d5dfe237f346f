"""Lists: values with a separator between them, up to a terminator, of a fixed length, or as far as there is text.

Elements that are numbers, or text without an end of its own, end at the next separator. All others (quoted strings,
records, fixed widths) are read as far as they go, so they may hold separators. Bodies of lines are lists too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
    broken,
    check_number,
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

_WORD = re.compile(rb"[^ \t\r\n\v\f]+")
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
        if self.sep == "" and self.node.open:
            raise refuse("a List without sep needs elements that tell where they end: give them a width or an until")

    @property
    def shape(self) -> Shape:
        return Shape("list", parts=(("", self.node.shape),))

    @property
    def split(self) -> bool:
        """Whether elements end at the next separator, whatever they are."""
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
        if not self.split:
            return read_on(self)
        fill = split(self)
        if self.term is None:
            return fill
        term = self.term.encode()
        note = f"the list is not ended by {self.term!r}"

        def terminated(body: bytes, start: int, end: int) -> Reading:
            at = body.find(term, start, end)
            if at >= 0:
                value, _, wrong = fill(body, start, at)
                return value, at + len(term), wrong
            value, _, wrong = fill(body, start, end)
            inside, errors = (wrong.inside, wrong.errors) if wrong else ((), 0)
            return value, end, Descriptor(State.PARTIAL, errors + 1, Data.SYNTAX, start, end, inside, note)

        return terminated

    def printer(self) -> Printer:
        write = self.node.printer()
        sep = b" " if self.sep is None else self.sep.encode()
        term = (self.term or "").encode()
        return lambda value: sep.join([write(one) for one in value]) + term


def pieces(sep: str | None) -> Callable[[bytes, int, int], Iterator[tuple[int, int]]]:
    """The spans between separators; none at all of an empty text."""
    if sep is None:

        def words(body: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
            for found in _WORD.finditer(body, start, end):
                yield found.span()

        return words
    mark = sep.encode()

    def parted(body: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
        if start == end:
            return
        at = body.find(mark, start, end)
        while at >= 0:
            yield start, at
            start = at + len(mark)
            at = body.find(mark, start, end)
        yield start, end

    return parted


def split(node: List[Any]) -> Reader:
    """A filler that cuts its span at the separators."""
    fill, cut = node.node.filler(), pieces(node.sep)
    length, most = node.length, node.max_length

    def read(body: bytes, start: int, end: int) -> Reading:
        found = Gathered(start)
        for left, right in cut(body, start, end):
            if len(found.values) >= most:
                found.fault(f"more than {most} elements", panic=True)
                break
            value, _, wrong = fill(body, left, right)
            found.add(value, wrong)
        if length is not None and len(found.values) != length:
            found.fault(f"{len(found.values)} elements, not {length}")
        return found.reading(end)

    return read


def read_on(node: List[Any]) -> Reader:
    """A reader of elements that tell themselves where they end. Behind a broken one, the next mark is looked for."""
    read_one = node.node.reader()
    sep = b"" if node.sep is None else node.sep.encode()
    blank, term = node.sep is None, (node.term or "").encode()
    length, most = node.length, node.max_length

    def skip(body: bytes, at: int, end: int) -> int:
        found = _BLANKS.match(body, at, end) if blank else None
        return found.end() if found else at

    def behind(body: bytes, at: int, end: int) -> int:
        """Where the next mark begins."""
        if not blank and not sep and not term:
            return end
        ends = [place for mark in (sep, term) if mark and (place := body.find(mark, at, end)) >= 0]
        word = _WORD.match(body, at, end) if blank else None
        return min([*ends, word.end() if word else end])

    def read(body: bytes, start: int, end: int) -> Reading:
        found = Gathered(start)
        patience = PATIENCE * (end - start) + (1 << 20)
        at = skip(body, start, end)
        while True:
            if length is not None and len(found.values) == length:
                return found.reading(at)
            if term and body.startswith(term, at, end) and (not found.values or not sep or blank):
                return found.reading(at + len(term))
            if at >= end and (not found.values or not sep):
                break
            if len(found.values) >= most:
                found.fault(f"more than {most} elements", panic=True)
                at = end
                break
            value, next_at, wrong = read_one(body, at, end)
            if wrong is not None:
                patience -= end - at
            stops = next_at == end or (term and body.startswith(term, next_at, end))
            goes_on = body.startswith(sep, next_at, end) if sep else not blank or skip(body, next_at, end) > next_at
            last = length is not None and len(found.values) == length - 1
            if not (stops or goes_on or last) or (next_at == at and wrong is not None):
                stop = behind(body, max(next_at, at), end)
                if wrong is None:
                    note = f"{quoted(body, next_at, stop)} stands behind {quoted(body, at, next_at)}"
                    value, wrong = None, broken(Data.SYNTAX, at, stop, note)
                next_at = stop
            if next_at == at and not sep:  # nothing was read, so nothing ever would be
                if wrong is not None:
                    found.add(value, wrong)
                found.fault(f"{quoted(body, at, end)} was skipped", panic=True)
                at = end
                break
            found.add(value, wrong)
            at = next_at
            if patience < 0:
                found.fault(f"too much is broken; {quoted(body, at, end)} was skipped", panic=True)
                at = end
                break
            if last:
                continue
            if sep and body.startswith(sep, at, end):
                at += len(sep)
                continue
            if sep:  # the terminator, or the end
                if term and body.startswith(term, at, end):
                    return found.reading(at + len(term))
                break
            at = skip(body, at, end)
        if term:
            found.fault(f"the list is not ended by {node.term!r}")
        if length is not None and len(found.values) != length:
            found.fault(f"{len(found.values)} elements, not {length}")
        return found.reading(at)

    return read


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
            at = start
            while at < end:
                stop = body.find(sep, at, end)
                stop, after = (end, end) if stop < 0 else (stop, stop + len(sep))
                if carriage and stop > at and body[stop - 1] == 13:
                    stop -= 1
                if stop > at or keep:
                    if len(found.values) >= most:
                        found.fault(f"more than {most} records", panic=True)
                        break
                    value, _, wrong = fill(body, at, stop)
                    found.add(value, wrong)
                at = after
            return found.reading(end)

        return read

    def filler(self) -> Reader:
        return self.reader()

    def printer(self) -> Printer:
        write, sep = self.node.printer(), self.sep.encode()
        return lambda value: b"".join([write(one) + sep for one in value])
