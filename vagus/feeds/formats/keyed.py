"""Records of `Key: value` lines in any order, such as CoMon's node report: declared keys are typed, others ignored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from vagus.feeds.contracts import Shape
from vagus.feeds.formats.compounds import Optional
from vagus.feeds.formats.generated import entries_reader, twice
from vagus.feeds.formats.layout import Build, Slot
from vagus.feeds.formats.types import Node, Printer, Reader, Reading, Str, broken, literal, quoted, refuse, trimmed
from vagus.feeds.item import Data, Descriptor, State

V = TypeVar("V")

TEXT: Node[Any] = Str()

MAX_KEYS = 2000
MAX_ENTRIES = 10_000  # of one body with any keys


class Separator:
    """What ends a key: text, without the blanks around it, which a line may have or not; or blanks alone."""

    def __init__(self, sep: object) -> None:
        text = literal("sep", sep)
        if b"\n" in text:
            raise refuse(f"sep ends a key within its line, it cannot hold a newline: {sep!r}")
        self.text = text.strip(b" \t")  # empty: blanks alone

    def find(self, body: bytes, start: int, end: int) -> tuple[int, int]:
        """Where the first one begins and ends; (-1, -1) when there is none."""
        if self.text:
            at = body.find(self.text, start, end)
            return at, at + len(self.text) if at >= 0 else -1
        ends = [at for blank in (b" ", b"\t") if (at := body.find(blank, start, end)) >= 0]
        return (min(ends), min(ends) + 1) if ends else (-1, -1)

    def check(self, key: str, what: str) -> bytes:
        """A key that can stand before it. Raises ConfigError."""
        text = literal(what, key)
        if text != text.strip() or b"\n" in text or self.find(text + (self.text or b" "), 0, 1 << 20)[0] != len(text):
            raise refuse(f"{what}, {key!r}, has blanks around it, a newline or what ends a key in it")
        return text


@dataclass(frozen=True)
class Keyed(Node[Any]):
    """Lines of a key, `sep` and a value; the first line with a key counts, a second one is a SEMANTIC error.

    A key stands at the start of its line; blanks may stand between it and sep, and around the value. A key that is
    absent is a SYNTAX error unless optional. The record is None when none of its keys is there.
    """

    slots: tuple[Slot, ...]
    build: Build
    sep: str = ": "

    def __post_init__(self) -> None:
        mark = Separator(self.sep)
        if not 1 <= len(self.slots) <= MAX_KEYS:
            raise refuse(f"record {self.build.name}: 1 to {MAX_KEYS} entries, got {len(self.slots)}")
        keys = {mark.check(slot.key, f"the key of field {slot.name!r}") for slot in self.slots}
        if len(keys) != len(self.slots):
            raise refuse(f"record {self.build.name}: two fields have the same key")

    @property
    def shape(self) -> Shape:
        return self.build.shape(self.slots)

    @property
    def open(self) -> bool:
        return True

    @property
    def parts(self) -> tuple[Node[Any], ...]:
        return tuple(slot.node for slot in self.slots)

    def reader(self) -> Reader:
        return entries_reader(self, Separator(self.sep), reading(self))

    def printer(self) -> Printer:
        take, sep = self.build.values(), self.sep.encode()
        writers = [(slot.key.encode(), slot.node.printer(), isinstance(slot.node, Optional)) for slot in self.slots]

        def write(record: Any) -> bytes:
            lines = []
            for (key, writer, optional), value in zip(writers, take(record), strict=True):
                if value is not None or not optional:
                    lines.append(key + sep + writer(value) + b"\n")
            return b"".join(lines)

        return write


def reading(keyed: Keyed) -> Reader:
    """The reader of entries, line by line: the definition of what they mean."""
    mark = Separator(keyed.sep)
    finish = keyed.build.finisher()
    fields = [(s.key.encode(), s.name, s.node.filler(), isinstance(s.node, Optional)) for s in keyed.slots]
    keys = {key for key, *_ in fields}

    def read(body: bytes, start: int, end: int) -> Reading:
        places, repeated = find_entries(body, start, end, mark, keys)
        if not places:
            note = f"none of the keys is there, but {quoted(body, start, end)}"
            return None, end, broken(Data.SYNTAX, start, end, note)
        errors, inside, values = 0, [], []
        for key, name, fill, optional in fields:
            value: Any = None
            wrong: Descriptor | None = None
            place = places.get(key)
            if place is not None:
                left, right = trimmed(body, *place)
                value, _, wrong = fill(body, left, right)
                if key in repeated:
                    wrong = twice(wrong, left, right)
            elif not optional:
                wrong = broken(Data.SYNTAX, start, start, "missing")
            if wrong is not None:
                errors += wrong.errors
                inside.append((name, wrong))
            values.append(value)
        value, wrong = finish(values, start, end, errors, inside, "", False)
        return value, end, wrong

    return read


def find_entries(
    body: bytes, start: int, end: int, mark: Separator, keys: set[bytes]
) -> tuple[dict[bytes, tuple[int, int]], set[bytes]]:
    """Where the values of the wanted keys are, of the first line with each; and which keys come again."""
    places: dict[bytes, tuple[int, int]] = {}
    repeated: set[bytes] = set()
    at = start
    while at < end:
        stop = body.find(b"\n", at, end)
        stop = end if stop < 0 else stop
        middle, past = mark.find(body, at, stop)
        if middle >= 0:
            key = body[at:middle].rstrip(b" \t")
            if key in places:
                repeated.add(key)
            elif key in keys:
                places[key] = (past, stop)
        at = stop + 1
    return places, repeated


@dataclass(frozen=True)
class Map(Node["dict[str, V]"]):
    """Lines of any keys, as a dict. A line without `sep` is a SYNTAX error; a repeated key SEMANTIC, the first counts."""

    node: Node[V] = TEXT
    sep: str = ": "

    def __post_init__(self) -> None:
        Separator(self.sep)

    @property
    def shape(self) -> Shape:
        return Shape("map", parts=(("", self.node.shape),))

    @property
    def open(self) -> bool:
        return True

    @property
    def parts(self) -> tuple[Node[Any], ...]:
        return (self.node,)

    def reader(self) -> Reader:
        fill, mark = self.node.filler(), Separator(self.sep)

        def read(body: bytes, start: int, end: int) -> Reading:
            value: dict[str, Any] = {}
            inside: list[tuple[str | int, Descriptor]] = []
            errors, note, found, at = 0, "", 0, start
            while at < end:
                stop = body.find(b"\n", at, end)
                stop = end if stop < 0 else stop
                middle, past = mark.find(body, at, stop)
                name = body[at:middle].strip() if middle >= 0 else b""
                if not name:
                    if body[at:stop].strip():
                        errors, note = errors + 1, note or f"{quoted(body, at, stop)} is no entry"
                    at = stop + 1
                    continue
                found += 1
                key = name.decode("utf-8", "replace")
                if key in value or len(value) >= MAX_ENTRIES:
                    inside.append((key, broken(Data.SEMANTIC, at, stop, "its key stands there more than once")))
                    errors += 1
                else:
                    value[key], _, wrong = fill(body, *trimmed(body, past, stop))
                    if wrong is not None:
                        errors += wrong.errors
                        inside.append((key, wrong))
                at = stop + 1
            if not found:
                return None, end, broken(Data.SYNTAX, start, end, f"there is no entry, but {quoted(body, start, end)}")
            if not errors:
                return value, end, None
            code = Data.SYNTAX if note else Data.NESTED
            return value, end, Descriptor(State.PARTIAL, errors, code, start, end, tuple(inside), note)

        return read

    def printer(self) -> Printer:
        write, sep = self.node.printer(), self.sep.encode()
        return lambda value: b"".join([key.encode() + sep + write(one) + b"\n" for key, one in value.items()])
