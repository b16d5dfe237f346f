"""Text of the code as Markdown: nothing in it is taken for markup but `code`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_CODE = re.compile(r"(?<!`)(`[^`\n]+`)(?!`)")
_MARKUP = re.compile(r"[\\*_\[\]{}]|^[#+-]|^\d+\.|[&<>|]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"}  # a backslash before these would be seen


def prose(text: str) -> str:
    """One paragraph: line breaks are spaces, markup is escaped outside of `code`."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(part if i % 2 else _escaped(part) for i, part in enumerate(parts))


def _escaped(text: str) -> str:
    return _MARKUP.sub(lambda found: _ENTITIES.get(found[0]) or _marked(found[0]), text).replace("`", "\\`")


def _marked(text: str) -> str:
    return f"{text[:-1]}\\." if text[0].isdigit() else f"\\{text}"  # a number at the start would begin a list


def paragraphs(text: str) -> str:
    """Paragraphs, divided by empty lines."""
    return "\n\n".join(prose(part) for part in re.split(r"\n\s*\n", text.strip()) if part.strip())


def code(text: str) -> str:
    """Text as `code`, also where it has back-ticks of its own; nothing when it is empty."""
    text = " ".join(text.split())
    if not text:
        return ""
    marks = "``" if "`" in text else "`"
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{marks}{pad}{text}{pad}{marks}"


def block(text: str, language: str) -> str:
    """A fenced block, whose fence is longer than any within."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already, without the columns that are empty in all rows; empty without rows."""
    cells = [list(row) for row in rows]
    if not cells:
        return ""
    kept = [i for i in range(len(head)) if i == 0 or any(row[i] for row in cells)]
    lines = [[head[i] for i in kept], ["---"] * len(kept), *([row[i] for i in kept] for row in cells)]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """A pipe inside of code would end the cell for some readers of Markdown."""
    return _CODE.sub(lambda found: _piped(found[1]), text)


def _piped(span: str) -> str:
    if "|" not in span:
        return span
    inner = span[1:-1].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "&#124;<wbr>")
    return f"<code>{inner}</code>"


def anchor(text: str) -> str:
    """What a heading is called in addresses, as GitHub does it: lower case, words and hyphens only."""
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
