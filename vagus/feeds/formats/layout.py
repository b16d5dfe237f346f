"""Positional records: fields with text between them. A broken field is None; reading goes on behind the next text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vagus.errors import NoData
from vagus.feeds.contracts import Shape
from vagus.feeds.formats.compounds import Optional, failing
from vagus.feeds.formats.generated import layout_reader
from vagus.feeds.formats.types import Node, Printer, Reader, Reading, broken, kept, quoted, refuse
from vagus.feeds.item import Data, Descriptor, State

MAX_FIELDS = 500


@dataclass(frozen=True)
class Slot:
    """A field of a record: its name, its type, the text behind it (positional records), or its key (entries)."""

    name: str
    node: Node[Any]
    after: str = ""
    key: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Build:
    """What a record's values are made into: an instance of `struct`, or a dict when there is none."""

    name: str
    names: tuple[str, ...]
    struct: type[Any] | None = None
    check: Callable[[Any], Any] | None = None
    note: str = ""

    def shape(self, slots: tuple[Slot, ...]) -> Shape:
        parts = []
        for slot in slots:
            shape = slot.node.shape
            parts.append((slot.name, Shape(shape.kind, shape.name, shape.parts, slot.unit or shape.unit)))
        return Shape("record", self.name, tuple(parts))

    def finisher(self) -> Callable[..., tuple[Any, Descriptor | None]]:
        """(values, start, end, errors, inside, own note, panic) → the record and its descriptor."""
        struct, names = self.struct, self.names
        fails = failing(self.check, self.note) if self.check else None

        def finish(
            values: list[Any], start: int, end: int, errors: int, inside: list[Any], note: str, panic: bool
        ) -> tuple[Any, Descriptor | None]:
            value = struct(*values) if struct else dict(zip(names, values, strict=True))
            if not errors:
                if fails and (why := fails(value)):
                    return value, broken(Data.SEMANTIC, start, end, why)
                return value, None
            code = Data.SYNTAX if note else Data.NESTED
            state = State.PANIC if panic else State.PARTIAL
            wrong = Descriptor(state, errors, code, start, end, tuple(inside), note)
            return (None if all(one is None for one in values) else value), wrong

        return finish

    def values(self) -> Callable[[Any], list[Any]]:
        """A record's values in order. Raises NoData for another type's."""
        struct, names = self.struct, self.names

        def take(record: Any) -> list[Any]:
            if struct is not None:
                if type(record) is not struct:
                    raise NoData(f"{type(record).__name__} is not {self.name}")
                return [getattr(record, name) for name in names]
            if not isinstance(record, dict) or record.keys() != set(names):
                raise NoData(f"a record {self.name} has exactly the keys {', '.join(names)}"[:300])
            return [record[name] for name in names]

        return take


class Mark:
    """A piece of text between fields; with `blanks`, each run of blanks in it stands for any run of them."""

    def __init__(self, text: str, blanks: bool) -> None:
        self.text = text.encode()
        self.shown = repr(text[:30])
        self.pattern = None
        if blanks and (b" " in self.text or b"\t" in self.text):
            parts = re.split(rb"[ \t]+", self.text)
            self.pattern = re.compile(rb"[ \t]+".join(re.escape(part) for part in parts))

    def at(self, body: bytes, start: int, end: int) -> int:
        """Where it ends if it stands here, else -1."""
        if self.pattern is not None:
            found = self.pattern.match(body, start, end)
            return found.end() if found else -1
        return start + len(self.text) if body.startswith(self.text, start, end) else -1

    def find(self, body: bytes, start: int, end: int) -> tuple[int, int]:
        """The first one from here; (-1, -1) when there is none."""
        if self.pattern is not None:
            found = self.pattern.search(body, start, end)
            return found.span() if found else (-1, -1)
        at = body.find(self.text, start, end)
        return at, at + len(self.text) if at >= 0 else -1


@dataclass(frozen=True)
class Layout(Node[Any]):
    """`head`, then each slot and the text behind it.

    A field is read as far as its type goes, and its text must stand behind it; else it is what is before that text.
    Where a text is nowhere, the next one that is there is taken, and the fields between are missing: a SYNTAX error
    each, unless optional. blanks: a blank in a text stands for any number of blanks and tabs, at the start for none
    too. When no field could be read, the record is None.
    """

    slots: tuple[Slot, ...]
    build: Build
    head: str = ""
    blanks: bool = False

    def __post_init__(self) -> None:
        if not 1 <= len(self.slots) <= MAX_FIELDS:
            raise refuse(f"record {self.build.name}: 1 to {MAX_FIELDS} fields, got {len(self.slots)}")
        for slot, following in zip(self.slots, self.slots[1:], strict=False):
            if slot.node.open and not slot.after:
                raise refuse(
                    f"record {self.build.name}: nothing tells where field {slot.name!r} ends and {following.name!r} "
                    "begins; put text between them, or give the first a width, an until or a matching"
                )

    @property
    def shape(self) -> Shape:
        return self.build.shape(self.slots)

    @property
    def open(self) -> bool:
        return self.slots[-1].node.open and not self.slots[-1].after

    @property
    def binary(self) -> bool:
        return self.slots[-1].node.binary

    @property
    def parts(self) -> tuple[Node[Any], ...]:
        return tuple(slot.node for slot in self.slots)

    def reader(self) -> Reader:
        return layout_reader(self, reading(self), whole=False)

    def filler(self) -> Reader:
        return layout_reader(self, filling(self), whole=True)

    def printer(self) -> Printer:
        take, head = self.build.values(), self.head.encode()
        writers = [(slot.node.printer(), slot.after.encode()) for slot in self.slots]

        def write(record: Any) -> bytes:
            values = take(record)
            return head + b"".join([w(value) + after for (w, after), value in zip(writers, values, strict=True)])

        return write


def filling(layout: Layout) -> Reader:
    """The filler of a layout: the end of its span stands for the text behind the last field, when there is none."""
    return kept(reading(layout, whole=True), b" \t" if layout.blanks else b"")


def reading(layout: Layout, whole: bool = False) -> Reader:
    """The reader of a layout, part by part: the definition of what it means."""
    blanks = layout.blanks
    head = Mark(layout.head, blanks) if layout.head.strip(" \t" if blanks else "") else None
    finish = layout.build.finisher()
    last = layout.slots[-1].name
    marks = [Mark(slot.after, blanks) if slot.after else None for slot in layout.slots]
    fields = [
        (
            slot.name,
            slot.node.open,
            slot.node.reader(),
            slot.node.filler(),
            mark,
            [later for later in marks[place + 1 :] if later],
            isinstance(slot.node, Optional),
        )
        for place, (slot, mark) in enumerate(zip(layout.slots, marks, strict=True))
    ]

    def read(body: bytes, start: int, end: int) -> Reading:
        at, errors, inside, values = start, 0, [], []
        note, panic = "", False
        lost = owed = False  # lost: not where the next field begins; owed: and nothing was told of it yet
        if blanks:
            at = past_blanks(body, at, end)
        if head is not None:
            past = head.at(body, at, end)
            if past < 0:
                note, errors = f"{layout.head[:30]!r} is expected at {quoted(body, at, end)}", 1
                found, past = head.find(body, at, end)
                lost, panic = found < 0, found >= 0
            at = at if lost else past
        for name, is_open, read_one, fill_one, mark, later, optional in fields:
            value: Any = None
            wrong: Descriptor | None = None
            if lost:
                found, past = mark.find(body, at, end) if mark else (-1, -1)
                if not optional:
                    wrong, owed = broken(Data.SYNTAX, at, max(at, found), "missing"), False
                if found >= 0:
                    lost, at = False, past
            elif mark is None:
                value, past, wrong = (fill_one if is_open else read_one)(body, at, end)
                if past != end and whole and name == last:
                    longer, _, worse = fill_one(body, at, end)
                    if wrong is not None or worse is None:
                        value, past, wrong = longer, end, worse
                lost, at = wrong is not None and value is None and past == at, past
            else:
                past, stop = -1, at
                if not is_open:
                    value, stop, wrong = read_one(body, at, end)
                    past = mark.at(body, stop, end)
                if past < 0:
                    found, past = mark.find(body, at, end)
                    if found >= 0:  # the field is what is before it
                        value, _, wrong = fill_one(body, at, found)
                    else:
                        if is_open:
                            stop = min([place for one in later if (place := one.find(body, at, end)[0]) >= 0] or [end])
                            if stop > at:
                                value, _, wrong = fill_one(body, at, stop)
                            elif not optional:
                                wrong = broken(Data.SYNTAX, at, at, "missing")
                        past, lost, owed = stop, True, wrong is None
                        lacks = f"{mark.shown} is missing at {quoted(body, stop, end)}"
                at = past
            if wrong is not None:
                errors += wrong.errors
                inside.append((name, wrong))
            if owed and not lost:
                note, errors, owed = note or lacks, errors + 1, False
            values.append(value)
        if owed:
            note, errors = note or lacks, errors + 1
        value, wrong = finish(values, start, at, errors, inside, note, panic)
        return value, at, wrong

    return read


def past_blanks(body: bytes, at: int, end: int) -> int:
    while at < end and body[at] in b" \t":
        at += 1
    return at
