"""JSON of bounded size and depth."""

from __future__ import annotations

from typing import Any

import msgspec

from vagus.errors import ConfigError, NoData
from vagus.feeds.contracts import ANY_SHAPE
from vagus.feeds.item import Data, Descriptor, described

MAX_INT = (1 << 64) - 1
MIN_INT = -(1 << 63)


class Json:
    """A body as JSON builtins. max_depth: of nesting; max_bytes: of the body. Strict JSON: no NaN, no comments."""

    name = "json"

    def __init__(self, max_depth: int = 64, max_bytes: int = 16 << 20) -> None:
        if not 1 <= max_depth <= 500:  # the walk below recurses
            raise ConfigError(f"format json: max_depth must be 1 to 500, got {max_depth}")
        if max_bytes < 1:
            raise ConfigError(f"format json: max_bytes must be at least 1, got {max_bytes}")
        self._max_depth = max_depth
        self._max_bytes = max_bytes

    shape = ANY_SHAPE

    def parse(self, body: bytes) -> tuple[Any, Descriptor]:
        """The value and its descriptor; None when nothing could be made of the body."""
        value, code, errors = self._parse(body)
        return value, described(code, errors, len(body))

    def print(self, value: Any) -> bytes:
        """Raises NoData: not printed yet."""
        raise NoData(f"format {self.name} cannot be printed")

    def _parse(self, body: bytes) -> tuple[Any, Data, int]:
        """The value; None and Syntax when it is not JSON, None and Semantic when too large or too deep.

        Integers beyond 64 bits become floats (None beyond 1e308), each counted as a Semantic error.
        """
        if len(body) > self._max_bytes:
            return None, Data.SEMANTIC, 1
        try:
            value = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeError):
            return None, Data.SYNTAX, 1
        except RecursionError:
            return None, Data.SEMANTIC, 1
        try:
            value, errors = _bounded(value, self._max_depth)
        except RecursionError:
            return None, Data.SEMANTIC, 1
        return value, Data.SEMANTIC if errors else Data.GOOD, errors


def _bounded(value: Any, depth: int) -> tuple[Any, int]:
    """The value with its integers brought to 64 bits, in place, and how many were; RecursionError when too deep."""
    if isinstance(value, int) and not MIN_INT <= value <= MAX_INT:
        return (float(value) if abs(value) < 10**308 else None), 1
    errors = 0
    if isinstance(value, (dict, list)):
        if depth == 0:
            raise RecursionError
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(part, (dict, list, int)):
                value[key], wrong = _bounded(part, depth - 1)
                errors += wrong
    return value, errors
