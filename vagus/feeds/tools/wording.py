"""Texts with values of an item in them: `{location} has load {load1}`."""

from __future__ import annotations

import re
from typing import Any

from vagus.errors import ConfigError
from vagus.feeds.contracts import ToolContext
from vagus.feeds.expression import Expression
from vagus.feeds.item import Item
from vagus.feeds.tools.fields import expression_of, text_of

MAX_TEXT = 1000
_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_META = {"location": "meta.location", "feed": "meta.feed", "part": "meta.part", "note": "meta.note"}


class Wording:
    """A text in which each `{expression}` stands for what it gives of an item; {{ and }} for braces.

    {location}, {feed}, {part} and {note} are those of the item's meta; a field of such a name is `{$.location}`. What is
    missing reads `?`. What came from outside is only ever inserted, made printable. Raises ConfigError.
    """

    def __init__(self, option: str, text: str, context: ToolContext) -> None:
        self._parts: list[str | Expression] = []
        at = 0
        for found in _PART.finditer(text):
            self._parts.append(text[at : found.start()])
            at = found.end()
            if found[0] in ("{{", "}}"):
                self._parts.append(found[0][0])
            elif found[1] is None:
                raise ConfigError(
                    f"{option}: a brace without its other at character {found.start() + 1}: {text[:100]!r}"
                )
            else:
                inner = found[1].strip()
                self._parts.append(expression_of(option, _META.get(inner, inner), context))
        self._parts.append(text[at:])

    def of(self, item: Item[Any]) -> str:
        """The text of an item, at most MAX_TEXT characters."""
        return self._of(item)[0]

    def whole(self, item: Item[Any]) -> str | None:
        """The same; None where something in it is missing."""
        text, missing = self._of(item)
        return None if missing else text

    def _of(self, item: Item[Any]) -> tuple[str, bool]:
        pieces, missing = [], False
        for part in self._parts:
            if isinstance(part, str):
                pieces.append(part)
            else:
                value = part.evaluate(item.value, item.meta)
                text = _rounded(value) if isinstance(value, float) else text_of(value)
                missing = missing or text is None
                pieces.append(text or "?")
        return "".join(pieces)[:MAX_TEXT], missing


def _rounded(value: float) -> str | None:
    return None if value != value else f"{value:.6g}"
