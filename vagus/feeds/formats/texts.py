"""Text up to a character, of fixed width, up to a regex, matching a regex; words; bytes as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vagus.errors import NoData
from vagus.feeds.contracts import Shape
from vagus.feeds.formats.nodes import (
    MAX_WIDTH,
    Node,
    Printer,
    Reader,
    Reading,
    broken,
    check_number,
    filled,
    fixed,
    literal,
    quoted,
    refuse,
    user_regex,
)
from vagus.feeds.item import Data

ENCODINGS = ("utf-8", "ascii", "latin-1")  # of one byte or more a character, each with ASCII in it


@dataclass(frozen=True)
class Str(Node[str]):
    """Text. Without an end of its own it goes up to what its surroundings say; else one of

    until: up to this text (which is not part of it) or the end; until_regex: up to where this matches, or the end;
    matching: as far as this matches; width: so many bytes, with `pad` taken from the right end.
    Regular expressions are RE2's. Bytes that the encoding does not know are a SYNTAX error, the text is kept.
    """

    until: str | None = None
    width: int | None = None
    until_regex: str | None = None
    matching: str | None = None
    pad: str = ""
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        if sum(end is not None for end in (self.until, self.width, self.until_regex, self.matching)) > 1:
            raise refuse("a Str has at most one of until, width, until_regex and matching")
        if self.encoding not in ENCODINGS:
            raise refuse(f"a Str's encoding is one of {', '.join(ENCODINGS)}, not {self.encoding!r}")
        if self.until is not None:
            literal("a Str's until", self.until)
        if self.width is not None:
            check_number("a Str's width", self.width, 1, MAX_WIDTH)
        for name, text in (("until_regex", self.until_regex), ("matching", self.matching)):
            if text is not None:
                user_regex(text, f"a Str's {name}")
        if self.pad and (self.width is None or len(literal("a Str's pad", self.pad)) != 1):
            raise refuse("a Str's pad is one ASCII character, beside width")

    @property
    def shape(self) -> Shape:
        return Shape("string")

    @property
    def open(self) -> bool:
        return self.until is None and self.width is None and self.until_regex is None and self.matching is None

    def _decoded(self) -> Reader:
        encoding, pad = self.encoding, self.pad

        def fill(body: bytes, start: int, end: int) -> Reading:
            try:
                text = body[start:end].decode(encoding)
                wrong = None
            except UnicodeDecodeError:
                text = body[start:end].decode(encoding, "replace")
                wrong = broken(Data.SYNTAX, start, end, f"bytes that are not {encoding}")
            return (text.rstrip(pad) if pad else text), end, wrong

        return fill

    def reader(self) -> Reader:
        fill = self._decoded()
        if self.width is not None:
            return fixed(fill, self.width)
        if self.until is not None:
            stop = self.until.encode(self.encoding if self.encoding != "ascii" else "utf-8")

            def up_to(body: bytes, start: int, end: int) -> Reading:
                at = body.find(stop, start, end)
                return fill(body, start, end if at < 0 else at)

            return up_to
        if self.until_regex is not None:
            search = user_regex(self.until_regex, "until_regex").search

            def up_to_match(body: bytes, start: int, end: int) -> Reading:
                found = search(body, start, end)
                return fill(body, start, end if found is None else found.start())

            return up_to_match
        if self.matching is not None:
            match, pattern = user_regex(self.matching, "matching").match, self.matching

            def matching(body: bytes, start: int, end: int) -> Reading:
                found = match(body, start, end)
                if found is None:
                    note = f"{quoted(body, start, end)} does not match {pattern[:60]}"
                    return None, start, broken(Data.SYNTAX, start, start, note)
                return fill(body, start, found.end())

            return matching
        return fill

    def filler(self) -> Reader:
        return self._decoded() if self.open else filled(self.reader())

    def printer(self) -> Printer:
        width, pad, encoding = self.width or 0, self.pad or " ", self.encoding
        return lambda value: value.encode(encoding).ljust(width if self.pad else 0, pad.encode())


@dataclass(frozen=True)
class Bytes(Node[bytes]):
    """Bytes as they are: so many, or as many as the surroundings say."""

    width: int | None = None

    def __post_init__(self) -> None:
        if self.width is not None:
            check_number("a Bytes' width", self.width, 1, MAX_WIDTH)

    @property
    def shape(self) -> Shape:
        return Shape("bytes")

    @property
    def open(self) -> bool:
        return self.width is None

    @property
    def binary(self) -> bool:
        return True

    def reader(self) -> Reader:
        def fill(body: bytes, start: int, end: int) -> Reading:
            return body[start:end], end, None

        return fill if self.width is None else fixed(fill, self.width)

    def printer(self) -> Printer:
        def write(value: Any) -> bytes:
            if not isinstance(value, bytes):
                raise TypeError(f"{type(value).__name__} is not bytes")
            return value

        return write


@dataclass(frozen=True)
class Choice(Node[str]):
    """One of some words; where several fit, the longest."""

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.words, (tuple, list)) or not 1 <= len(self.words) <= 1000:
            raise refuse(f"a Choice has a list of 1 to 1000 words, got {str(self.words)[:100]!r}")
        if len({literal("a Choice's word", word) for word in self.words}) < len(self.words):
            raise refuse(f"a Choice has different words, got {str(self.words)[:100]}")

    @property
    def shape(self) -> Shape:
        return Shape("string")

    def reader(self) -> Reader:
        words = {word.encode(): word for word in self.words}
        lengths = sorted({len(word) for word in words}, reverse=True)
        shown = ", ".join(self.words)[:80]

        def read(body: bytes, start: int, end: int) -> Reading:
            for length in lengths:
                if start + length <= end and (word := words.get(body[start : start + length])) is not None:
                    return word, start + length, None
            return None, start, broken(Data.SYNTAX, start, start, f"{quoted(body, start, end)} is none of {shown}")

        return read

    def printer(self) -> Printer:
        words = {word: word.encode() for word in self.words}

        def write(value: Any) -> bytes:
            if value not in words:
                raise NoData(f"{value!r} is none of {', '.join(words)}"[:200])
            return words[value]

        return write
