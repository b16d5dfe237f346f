"""Numbers: whole and fractional, as text and as bytes; true and false."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from vagus.feeds.contracts import Shape
from vagus.feeds.formats.nodes import (
    GREATEST_INT,
    LEAST_INT,
    MAX_NUMBER_WIDTH,
    Node,
    Printer,
    Reader,
    Reading,
    broken,
    check_number,
    fixed,
    literal,
    quoted,
    refuse,
    trimmed,
)
from vagus.feeds.item import Data


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
