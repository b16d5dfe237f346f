"""Which numbers of an item a tool takes: chosen by expressions, or all that there are; and which series it belongs to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vagus.errors import ConfigError
from vagus.feeds.contracts import ToolContext
from vagus.feeds.expression import Expression, check_names, compile_expression
from vagus.feeds.item import Item
from vagus.feeds.location import printable, shown
from vagus.feeds.signals import leaves
from vagus.feeds.tools.values import plain

MAX_FIELDS = 500
MAX_TEXT = 500


def expression_of(option: str, text: str, context: ToolContext) -> Expression:
    """An expression among the options, checked against the feed's shape. Raises ConfigError."""
    try:
        found = compile_expression(text)
    except ConfigError as error:
        raise ConfigError(f"{option}: {error}") from error
    check_names(option, found, context.shape)
    return found


class Numbers:
    """The numbers of items by name: those of `fields` (name: expression, or expressions that are their own names).

    Without fields: every number of the value by its path, as `signals.leaves` names it. Raises ConfigError.
    """

    def __init__(self, fields: Sequence[str] | Mapping[str, str], context: ToolContext) -> None:
        named = fields.items() if isinstance(fields, Mapping) else [(text, text) for text in fields]
        if len(named) > MAX_FIELDS:
            raise ConfigError(f"{len(named)} fields; at most {MAX_FIELDS} are allowed")
        self._chosen = {name: expression_of("fields", text, context) for name, text in named}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the chosen fields; none where all are taken."""
        return tuple(self._chosen)

    def of(self, item: Item[Any]) -> dict[str, float]:
        """What this item has; finite numbers alone, true is 1."""
        if not self._chosen:
            return {name: value for name, value in leaves(item.value).items() if math.isfinite(value)}
        found = {}
        for name, expression in self._chosen.items():
            value = expression.evaluate(item.value, item.meta)
            if isinstance(value, (int, float)) and abs(value) < 1e308:  # not NaN either
                found[name] = float(value)
        return found


class Key:
    """What tells series apart: the location, or what an expression gives; None where that is null."""

    def __init__(self, text: str, context: ToolContext) -> None:
        self._expression = expression_of("key", text, context) if text else None

    def of(self, item: Item[Any]) -> str | None:
        """The series of an item."""
        if self._expression is None:
            return item.meta.location
        return text_of(self._expression.evaluate(item.value, item.meta))


def text_of(value: Any, limit: int = MAX_TEXT) -> str | None:
    """A value as a short, printable text; None for null."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    return shown(value, limit) if isinstance(value, str) else printable(str(plain(value))[:limit])
