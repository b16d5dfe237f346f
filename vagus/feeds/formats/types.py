"""The types of the format language: what stands at a place of a body, how it is read there and printed back.

After PADS (Fisher and Gruber, PLDI 2005): each reading gives a value and, unless all is well, a parse descriptor; a
part that is broken is None and never loses what is around it. All positions are of bytes. A type reads a *prefix* of
what is before it (`reader`), or must *fill* a known span (`filler`); an *open* type, such as a string without an end
of its own, can only fill, so whoever holds it finds the end. Types are immutable descriptions; what reads is made from
them once. Composed types are in compounds.py, timestamps in timestamps.py, records in record.py.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from msgspec.structs import replace

from vagus.errors import ConfigError, NoData
from vagus.feeds.contracts import Shape
from vagus.feeds.item import Data, Descriptor, State

T = TypeVar("T")

Reading = tuple[Any, int, "Descriptor | None"]
Reader = Callable[[bytes, int, int], Reading]
"""(body, start, end) → value, where it ended, what is wrong (None: nothing). Never raises, never looks past `end`."""

Printer = Callable[[Any], bytes]
"""Raises NoData, TypeError, ValueError, AttributeError or OverflowError for a value that is not of the type."""

MAX_NUMBER_WIDTH = 40
MAX_PATTERN = 2000
MAX_REGEX_MEMORY_BYTES = 8 << 20
MAX_WIDTH = 1 << 20
MAX_DEPTH = 24

LEAST_INT, GREATEST_INT = -(1 << 63), (1 << 64) - 1


def broken(code: Data, start: int, end: int, note: str) -> Descriptor:
    """The descriptor of one broken part."""
    return Descriptor(State.PARTIAL, 1, code, start, end, (), note)


def quoted(body: bytes, start: int, end: int) -> str:
    """The beginning of a piece of a body, for notes."""
    piece = body[start : min(end, start + 30)].decode("utf-8", "replace")
    return repr(piece) + ("…" if end - start > 30 else "")


def refuse(what: str) -> ConfigError:
    return ConfigError(f"format: {what}")


def check_number(what: str, value: object, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise refuse(f"{what} must be a whole number from {least} to {most}, got {value!r}")


def literal(what: str, text: object) -> bytes:
    """A non-empty piece of text, as it stands in a body."""
    if not isinstance(text, str) or not text or len(text) > MAX_PATTERN:
        raise refuse(f"{what} must be text of 1 to {MAX_PATTERN} characters, got {str(text)[:50]!r}")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise refuse(f"{what} has half of a surrogate pair: {text[:50]!r}") from None


def user_regex(text: object, what: str) -> Any:
    """A user's regular expression, as RE2: linear time on any body. Raises ConfigError."""
    import re2

    if not isinstance(text, str) or not 0 < len(text) <= MAX_PATTERN:
        raise refuse(f"{what} must be a regular expression of 1 to {MAX_PATTERN} characters, got {str(text)[:50]!r}")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_REGEX_MEMORY_BYTES
    try:
        return re2.compile(text, options)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0] if error.args else error
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise refuse(f"{what}: {text[:200]!r} is not a regular expression of RE2: {reason}") from error


@dataclass(frozen=True)
class Node(Generic[T]):
    """One type of the language. Raises ConfigError when it is declared wrongly."""

    @property
    def shape(self) -> Shape:
        raise NotImplementedError

    @property
    def open(self) -> bool:
        """Whether only its surroundings tell where it ends."""
        return False

    @property
    def binary(self) -> bool:
        """Whether a newline at the end of a body may be part of it."""
        return False

    @property
    def parts(self) -> tuple[Node[Any], ...]:
        return ()

    def reader(self) -> Reader:
        """Reads a prefix; of an open type, everything."""
        raise NotImplementedError

    def filler(self) -> Reader:
        """Reads exactly the span that is given."""
        return filled(self.reader())

    def printer(self) -> Printer:
        raise NotImplementedError


def filled(read: Reader) -> Reader:
    """A reader of a prefix made to fill its span: with something left over, it is not such a value."""

    def fill(body: bytes, start: int, end: int) -> Reading:
        value, at, wrong = read(body, start, end)
        if wrong is None and at != end:
            return None, end, broken(Data.SYNTAX, start, end, f"{quoted(body, at, end)} is left over")
        return value, end, wrong

    return fill


def kept(read: Reader, also: bytes = b"") -> Reader:
    """As `filled`, for values of parts, which are kept; nothing is said of bytes of `also` that are left over."""

    def fill(body: bytes, start: int, end: int) -> Reading:
        value, at, wrong = read(body, start, end)
        if at == end or (also and not body[at:end].strip(also)):
            return value, end, wrong
        if wrong is not None and value is None:
            return value, end, replace(wrong, end=end)
        inside, errors = (wrong.inside, wrong.errors) if wrong else ((), 0)
        note = (wrong.note if wrong else "") or f"{quoted(body, at, end)} is left over"
        return value, end, Descriptor(State.PANIC, errors + 1, Data.SYNTAX, start, end, inside, note)

    return fill


def depth(node: Node[Any]) -> int:
    return 1 + max((depth(part) for part in node.parts), default=0)


def trimmed(body: bytes, start: int, end: int) -> tuple[int, int]:
    """A span without the blanks around it."""
    text = body[start:end]
    left = start + len(text) - len(text.lstrip())
    return left, left + len(text.strip())


def matched(
    pattern: re.Pattern[bytes], what: str, convert: Callable[[bytes, int, int], Reading]
) -> tuple[Reader, Reader]:
    """Reader and filler of what a regular expression of ours tells; blanks around it are allowed where it fills."""
    match = pattern.match

    def read(body: bytes, start: int, end: int) -> Reading:
        found = match(body, start, end)
        if found is None:
            return None, start, broken(Data.SYNTAX, start, start, f"no {what} at {quoted(body, start, end)}")
        return convert(body, start, found.end())

    def fill(body: bytes, start: int, end: int) -> Reading:
        left, right = start, end
        found = match(body, start, end)
        if found is None or found.end() != end:
            left, right = trimmed(body, start, end)
            found = match(body, left, right)
        if found is None or found.end() != right:
            return None, end, broken(Data.SYNTAX, start, end, f"{quoted(body, start, end)} is no {what}")
        value, _, wrong = convert(body, left, right)
        return value, end, wrong

    return read, fill


_DIGITS = {
    2: re.compile(rb"[+-]?[01]+"),
    8: re.compile(rb"[+-]?[0-7]+"),
    10: re.compile(rb"[+-]?[0-9]+"),
    16: re.compile(rb"[+-]?[0-9a-fA-F]+"),
}
_PRINTED = {2: "b", 8: "o", 10: "d", 16: "x"}


@dataclass(frozen=True)
class Int(Node[int]):
    """A whole number as text. bits: 8, 16, 32 or 64 with `signed`; None: -2^63 to 2^64-1. min, max: narrower still.

    base: 2, 8, 10 or 16. width: so many bytes, blanks included, where nothing else tells its end.
    """

    bits: int | None = None
    signed: bool = True
    min: int | None = None
    max: int | None = None
    base: int = 10
    width: int | None = None

    def __post_init__(self) -> None:
        if self.bits not in (None, 8, 16, 32, 64):
            raise refuse(f"an Int has 8, 16, 32 or 64 bits, not {self.bits!r}")
        if not isinstance(self.signed, bool):
            raise refuse(f"an Int is signed or not: true or false, not {self.signed!r}")
        if self.base not in _DIGITS:
            raise refuse(f"an Int is to the base 2, 8, 10 or 16, not {self.base!r}")
        for name, value in (("min", self.min), ("max", self.max)):
            if value is not None:
                check_number(f"an Int's {name}", value, LEAST_INT, GREATEST_INT)
        if self.width is not None:
            check_number("an Int's width", self.width, 1, MAX_NUMBER_WIDTH)

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the greatest allowed value."""
        if self.bits is None:
            least, most = LEAST_INT if self.signed else 0, GREATEST_INT
        elif self.signed:
            least, most = -(1 << self.bits - 1), (1 << self.bits - 1) - 1
        else:
            least, most = 0, (1 << self.bits) - 1
        return max(least, least if self.min is None else self.min), min(most, most if self.max is None else self.max)

    @property
    def shape(self) -> Shape:
        return Shape("int")

    def _both(self) -> tuple[Reader, Reader]:
        least, most = self.bounds
        base = self.base

        def convert(body: bytes, start: int, end: int) -> Reading:
            try:
                value = int(body[start:end], base)
            except ValueError:  # thousands of digits
                value = most + 1
            if not least <= value <= most:
                note = f"{quoted(body, start, end)} is not from {least} to {most}"
                return None, end, broken(Data.SEMANTIC, start, end, note)
            return value, end, None

        read, fill = matched(_DIGITS[base], "whole number", convert)
        return (fixed(fill, self.width), fill) if self.width else (read, fill)

    def reader(self) -> Reader:
        return self._both()[0]

    def filler(self) -> Reader:
        return self._both()[1]

    def printer(self) -> Printer:
        kind, width = _PRINTED[self.base], self.width or 0
        return lambda value: format(int(value), kind).rjust(width).encode()


def fixed(fill: Reader, width: int) -> Reader:
    """A filler as a reader of exactly so many bytes."""

    def read(body: bytes, start: int, end: int) -> Reading:
        if end - start < width:
            note = f"{width} bytes are needed, {end - start} are left"
            return None, start, broken(Data.SYNTAX, start, end, note)
        return fill(body, start, start + width)

    return read


_FLOAT = re.compile(rb"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|nan|inf(?:inity)?)", re.IGNORECASE)
GREATEST_FLOAT32 = 3.4028234663852886e38


@dataclass(frozen=True)
class Float(Node[float]):
    """A number as text, finite. bits: 32 or 64: its range. min, max: narrower still."""

    bits: int = 64
    min: float | None = None
    max: float | None = None
    width: int | None = None

    def __post_init__(self) -> None:
        if self.bits not in (32, 64):
            raise refuse(f"a Float has 32 or 64 bits, not {self.bits!r}")
        for name, value in (("min", self.min), ("max", self.max)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or value != value):
                raise refuse(f"a Float's {name} must be a number, got {value!r}")
        if self.width is not None:
            check_number("a Float's width", self.width, 1, MAX_NUMBER_WIDTH)

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest allowed value, both finite."""
        most = GREATEST_FLOAT32 if self.bits == 32 else 1.7976931348623157e308
        return max(-most, -most if self.min is None else self.min), min(most, most if self.max is None else self.max)

    @property
    def shape(self) -> Shape:
        return Shape("float")

    def _both(self) -> tuple[Reader, Reader]:
        least, most = self.bounds

        def convert(body: bytes, start: int, end: int) -> Reading:
            value = float(body[start:end])
            if not least <= value <= most:
                span = "a finite number" if not math.isfinite(value) else f"from {least:g} to {most:g}"
                return None, end, broken(Data.SEMANTIC, start, end, f"{quoted(body, start, end)} is not {span}")
            return value, end, None

        read, fill = matched(_FLOAT, "number", convert)
        return (fixed(fill, self.width), fill) if self.width else (read, fill)

    def reader(self) -> Reader:
        return self._both()[0]

    def filler(self) -> Reader:
        return self._both()[1]

    def printer(self) -> Printer:
        width = self.width or 0
        return lambda value: repr(float(value)).rjust(width).encode()


BOOLS = {
    b"true": True,
    b"yes": True,
    b"on": True,
    b"1": True,
    b"false": False,
    b"no": False,
    b"off": False,
    b"0": False,
}
_BOOL = re.compile(rb"true|yes|on|1|false|no|off|0", re.IGNORECASE)


@dataclass(frozen=True)
class Bool(Node[bool]):
    """true, yes, on, 1 or false, no, off, 0, in small or capital letters. words: how the two are printed."""

    words: tuple[str, str] = ("true", "false")

    def __post_init__(self) -> None:
        if not (
            isinstance(self.words, (tuple, list))
            and len(self.words) == 2
            and BOOLS.get(literal("a Bool's words", self.words[0]).lower()) is True
            and BOOLS.get(literal("a Bool's words", self.words[1]).lower()) is False
        ):
            raise refuse(f"a Bool's words are one of true, yes, on, 1 and one of false, no, off, 0, not {self.words!r}")

    @property
    def shape(self) -> Shape:
        return Shape("bool")

    def _both(self) -> tuple[Reader, Reader]:
        return matched(_BOOL, "true or false", lambda body, start, end: (BOOLS[body[start:end].lower()], end, None))

    def reader(self) -> Reader:
        return self._both()[0]

    def filler(self) -> Reader:
        return self._both()[1]

    def printer(self) -> Printer:
        true, false = (word.encode() for word in self.words)
        words = {True: true, False: false}
        return lambda value: words[value]


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
class Binary(Node[Any]):
    """A number as bytes: kind int (8 to 64 bits) or float (32 or 64); order: big or little endian."""

    bits: int
    signed: bool = True
    order: Literal["big", "little"] = "big"
    kind: Literal["int", "float"] = "int"

    def __post_init__(self) -> None:
        if self.kind not in ("int", "float") or self.order not in ("big", "little"):
            raise refuse(f"a Binary is an int or a float, big or little, not {self.kind!r}, {self.order!r}")
        allowed = (8, 16, 24, 32, 48, 64) if self.kind == "int" else (32, 64)
        if self.bits not in allowed:
            raise refuse(f"a Binary {self.kind} has {', '.join(map(str, allowed))} bits, not {self.bits!r}")

    @property
    def shape(self) -> Shape:
        return Shape(self.kind)

    @property
    def binary(self) -> bool:
        return True

    def _code(self) -> str:
        return (">" if self.order == "big" else "<") + ("f" if self.bits == 32 else "d")

    def reader(self) -> Reader:
        width, order, signed = self.bits // 8, self.order, self.signed
        unpack = struct.Struct(self._code()).unpack_from

        def whole(body: bytes, start: int, end: int) -> Reading:
            return int.from_bytes(body[start:end], order, signed=signed), end, None

        def real(body: bytes, start: int, end: int) -> Reading:
            [value] = unpack(body, start)
            if not math.isfinite(value):
                return None, end, broken(Data.SEMANTIC, start, end, f"{value} is not a finite number")
            return value, end, None

        return fixed(whole if self.kind == "int" else real, width)

    def printer(self) -> Printer:
        width, order, signed = self.bits // 8, self.order, self.signed
        if self.kind == "int":
            return lambda value: int(value).to_bytes(width, order, signed=signed)
        pack = struct.Struct(self._code()).pack
        return pack


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
