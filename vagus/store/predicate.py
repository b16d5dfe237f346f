"""Predicates on the fields of events: `VAL>2`, `DST=10.1.1.11`, `prog=~"nl.*"`.

The field's own type decides: a number is compared as one, and a text as text (in the order of code points). What
cannot be read as that type does not match, and neither does an event without the field. A quoted value is a text only.
Patterns look at the first 2000 characters of a text.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

from vagus.errors import ConfigError
from vagus.model import Scalar
from vagus.selector import compile_pattern

MAX_TEXT = 500
MAX_PREDICATES = 20
MAX_MATCHED = 2000  # characters of a text that a pattern is asked about: it may take the square of that
_FORM = re.compile(r"\s*([^\s=!<>~\"]+)\s*(=~|!~|!=|<=|>=|=|<|>)\s*(.*?)\s*", re.DOTALL)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Predicate:
    """One comparison: `name`, `operator` (= != < <= > >= =~ !~) and a value. Raises ConfigError for anything else."""

    __slots__ = ("_flag", "_number", "_pattern", "_text", "name", "operator", "text")

    def __init__(self, text: str) -> None:
        found = _FORM.fullmatch(text) if len(text) <= MAX_TEXT else None
        if not found:
            raise ConfigError(
                f"predicate {text[:80]!r} is not FIELD, one of = != < <= > >= =~ !~, and a value (VAL>2, DST=10.1.1.11); "
                f"at most {MAX_TEXT} characters"
            )
        self.text = text
        self.name, self.operator, raw = found.groups()
        quoted = len(raw) >= 2 and raw[0] == raw[-1] == '"'
        self._text = re.sub(r"\\(.)", r"\1", raw[1:-1]) if quoted and self.operator[-1] != "~" else raw
        self._number = None if quoted else _number(raw)
        self._flag = None if quoted else {"true": True, "false": False}.get(raw)
        self._pattern = None
        if self.operator[-1] == "~":
            self._pattern = compile_pattern(raw[1:-1] if quoted else raw, f"pattern of {self.name}")

    def __repr__(self) -> str:
        return f"Predicate({self.text!r})"

    def matches(self, value: Scalar | None) -> bool:
        """Whether a field with this value (None: the event has no such field) is meant."""
        if value is None:
            return False
        if self._pattern is not None:
            if not isinstance(value, str):
                return False
            return (self._pattern.fullmatch(value[:MAX_MATCHED]) is not None) == (self.operator == "=~")
        if isinstance(value, bool):
            return (
                self._flag is not None and self.operator in ("=", "!=") and _COMPARE[self.operator](value, self._flag)
            )
        if isinstance(value, str):
            if self._number is not None and self.operator not in ("=", "!="):
                return False  # 10 > 9 must not become "10" < "9"
            return _COMPARE[self.operator](value, self._text)
        return self._number is not None and _COMPARE[self.operator](value, self._number)

    def index_values(self) -> list[str]:
        """For `=`: what `index_value` gives of every value that matches; else nothing."""
        if self.operator != "=":
            return []
        values: list[Scalar] = [self._text]
        values += [value for value in (self._number, self._flag) if value is not None]
        return [found for value in values if (found := index_value(value))]


def index_value(value: Scalar) -> str:
    """A value as text in an index, equal for values that are equal; empty for one that equals nothing (NaN)."""
    if isinstance(value, bool):
        return f"b:{value}"
    if isinstance(value, str):
        return f"s:{value}"
    if not math.isfinite(value):
        return "" if math.isnan(value) else f"n:{value}"
    return f"n:{int(value) if value == int(value) else repr(value)}"


def parse_all(texts: Sequence[str]) -> tuple[Predicate, ...]:
    """Predicates that must all hold. Raises ConfigError, which says which one is malformed."""
    if len(texts) > MAX_PREDICATES:
        raise ConfigError(f"{len(texts)} predicates; at most {MAX_PREDICATES} are allowed")
    return tuple(Predicate(text) for text in texts)


def _number(text: str) -> int | float | None:
    try:
        return int(text) if len(text) < 40 else None
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return None
    return None if math.isnan(number) else number
