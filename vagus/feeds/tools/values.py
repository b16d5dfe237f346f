"""Any value as JSON and as a line of text: also what no format makes, but a function of `map` may."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from vagus.feeds.location import printable

MAX_DEPTH = 64
_QUOTED = re.compile('[",\r\n]')
MAX_PARTS = 1_000_000  # records, mappings and lists of one value


def plain(value: Any) -> Any:
    """A value as JSON builtins: structs as mappings, tuples as lists, bytes and strange things as text.

    NaN and infinity are None; half surrogates become text, as does what is deeper than 64, or comes after a million
    parts (only what a function made can have more: it contains itself).
    """
    return _Plain().of(value, MAX_DEPTH)


class _Plain:
    """One conversion, with what is left of its parts."""

    def __init__(self) -> None:
        self._left = MAX_PARTS

    def of(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return _encodable(str.__str__(value))
        if isinstance(value, int):
            return int(value) if -(1 << 63) <= value < 1 << 64 else _large(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else None
        if isinstance(value, bytes):
            return value.decode(errors="backslashreplace")
        self._left -= 1
        if depth > 0 and self._left > 0:
            if isinstance(value, msgspec.Struct):
                return {name: self.of(getattr(value, name, None), depth - 1) for name in value.__struct_fields__}
            if isinstance(value, dict):
                return {_encodable(str(key)): self.of(part, depth - 1) for key, part in value.items()}
            if isinstance(value, (list, tuple)):
                return [self.of(part, depth - 1) for part in value]
        return f"<{type(value).__name__}>"


def _encodable(text: str) -> str:
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def _large(value: int) -> float | str:
    try:
        return float(value)
    except OverflowError:
        return "an integer beyond 1e308"


def as_json(value: Any) -> bytes:
    """One line of JSON."""
    return msgspec.json.encode(plain(value))


def as_text(value: Any) -> str:
    """A value for a cell or a line: texts and numbers as they are, true and false, nothing for None, the rest as JSON."""
    if isinstance(value, str):
        return _encodable(str.__str__(value))
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float, str)) else msgspec.json.encode(value).decode()


def as_line(value: Any, limit: int) -> str:
    """The same as printable characters of one line, at most `limit` of them."""
    text = printable(as_text(value)[: limit + 1])
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def csv_line(cells: Iterable[str]) -> str:
    """One record of CSV (RFC 4180, but for the line's end); the csv module leaves a lone carriage return unquoted."""
    line = ",".join([_quoted(text) if _QUOTED.search(text) else text for text in cells])
    return (line or '""') + "\n"
