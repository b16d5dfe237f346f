"""JSON of bounded size and depth."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from vagus.errors import ConfigError, NoData
from vagus.feeds.contracts import ANY_SHAPE
from vagus.feeds.formats.faults import MAX_NOTE, Faults, whole
from vagus.feeds.formats.inverse import inverse
from vagus.feeds.item import GOOD, Data, Descriptor, State

MAX_INT = (1 << 64) - 1
MIN_INT = -(1 << 63)

_BYTE = re.compile(r"\(byte (\d+)\)")


class Json:
    """A body as JSON builtins. max_depth: of nesting; max_bytes: of the body. Strict JSON: no NaN, no comments."""

    name = "json"
    shape = ANY_SHAPE

    def __init__(self, max_depth: int = 64, max_bytes: int = 16 << 20) -> None:
        check_depth(self.name, max_depth)
        if max_bytes < 1:
            raise ConfigError(f"format json: max_bytes must be at least 1, got {max_bytes}")
        self._max_depth = max_depth
        self._max_bytes = max_bytes

    def parse(self, body: bytes) -> tuple[Any, Descriptor]:
        """The value; None and SYNTAX when it is not JSON, None and SEMANTIC when too large or too deep.

        Integers beyond 64 bits become floats (None beyond 1e308): each is a SEMANTIC part below its keys and indices.
        """
        if len(body) > self._max_bytes:
            return None, whole(body, f"more than max_bytes={self._max_bytes}", Data.SEMANTIC)
        return parse_json(body, self._max_depth)

    def print(self, value: Any) -> bytes:
        """Compact JSON. Raises NoData for what JSON has not: other keys than strings, NaN, bytes, times."""
        return inverse(self, value, print_json(self.name, value))


def check_depth(name: str, max_depth: int) -> None:
    """Raises ConfigError for a depth that the walk below could not take."""
    if not 1 <= max_depth <= 500:
        raise ConfigError(f"format {name}: max_depth must be 1 to 500, got {max_depth}")


def parse_json(body: bytes, max_depth: int, start: int = 0) -> tuple[Any, Descriptor]:
    """One JSON value and its descriptor, whose spans count from `start`."""
    end = start + len(body)
    try:
        value = msgspec.json.decode(body)
        if isinstance(value, (dict, list, int)):
            value, found = _bounded(value, max_depth)
            return value, msgspec.structs.replace(found, start=start, end=end)
        return value, Descriptor(start=start, end=end)
    except (msgspec.DecodeError, UnicodeError) as error:
        at = _BYTE.search(str(error))
        return None, Descriptor(
            State.PANIC, 1, Data.SYNTAX, start + int(at[1]) if at else start, end, note=str(error)[:MAX_NOTE]
        )
    except RecursionError:
        note = f"nested deeper than max_depth={max_depth}"
        return None, Descriptor(State.PANIC, 1, Data.SEMANTIC, start, end, note=note)


def print_json(name: str, value: Any) -> bytes:
    """Compact JSON. Raises NoData for what cannot be encoded."""
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise NoData(f"format {name} cannot print this value: {error}") from error


def _bounded(value: Any, depth: int) -> tuple[Any, Descriptor]:
    """The value with its integers brought to 64 bits, in place; RecursionError when too deep."""
    if isinstance(value, int):
        if MIN_INT <= value <= MAX_INT:
            return value, GOOD
        told = Descriptor(State.PARTIAL, 1, Data.SEMANTIC, note="an integer beyond 64 bits")
        return (float(value) if abs(value) < 10**308 else None), told
    if depth == 0:
        raise RecursionError
    faults = None
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(part, (dict, list, int)):
            value[key], found = _bounded(part, depth - 1)
            if found.errors:
                faults = faults or Faults()
                faults.part(key, found)
    return value, faults.descriptor(0, 0) if faults else GOOD
