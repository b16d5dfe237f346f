"""Layouts of positional records: text with `{field}` in it, `{{` and `}}` for braces."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vagus.feeds.formats.types import MAX_PATTERN, refuse

MAX_LAYOUT = 50 * MAX_PATTERN
_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")


def template(layout: object, names: Sequence[str]) -> tuple[str, list[str]]:
    """The text before the first field and behind each. Raises ConfigError unless the fields are in it, in order."""
    if not isinstance(layout, str) or len(layout) > MAX_LAYOUT:
        raise refuse(
            f"layout must be text of at most {MAX_LAYOUT} characters with {{field}} in it, got {layout!r}"[:200]
        )
    texts, found = [""], []
    for part in _PART.finditer(layout):
        if part[1] is not None:
            found.append(part[1])
            texts.append("")
        elif part[0] in ("{", "}"):
            raise refuse(f"layout has a single {part[0]} at character {part.start()}; write {part[0] * 2}")
        else:
            texts[-1] += part[0][0] if part[0] in ("{{", "}}") else part[0]
    if found != list(names):
        raise refuse(f"layout names {', '.join(found) or 'no field'}; it must name {', '.join(names)}, in this order")
    return texts[0], texts[1:]
