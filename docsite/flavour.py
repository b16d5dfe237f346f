"""Markdown as GitHub reads it, made into what Python-Markdown reads alike.

The latter wants an empty line before a list or table, and four spaces before what goes on within a list's item. A block's
file, which `<!-- file: NAME -->` names above it, becomes its title.
"""

from __future__ import annotations

import re

_FENCE = re.compile(r"(\s*)(`{3,}|~{3,})(.*)$")
_ITEM = re.compile(r"(\s*)([-*+]|\d+[.)])(\s+)(?=\S)")
_FILE = re.compile(r"\s*<!-- file: (\S+) -->\s*$")
_STOPS = ("#", "|", ">", "<!--")


def adapted(markdown: str) -> str:
    """The same text for Python-Markdown."""
    out: list[str] = []
    items: list[int] = []  # the columns at which the text of each open item begins
    open_fence = title = ""
    for line in markdown.split("\n"):
        fence = _FENCE.match(line)
        if open_fence:
            out.append(_moved(line, items))
            if fence and fence[2].startswith(open_fence) and not fence[3].strip():
                open_fence = ""
            continue
        if not line.strip():
            out.append("")
            continue
        indent = len(line) - len(line.lstrip())
        item = _ITEM.match(line)
        while items and indent < items[-1] and (item or not out[-1] or line.lstrip().startswith(_STOPS)):
            items.pop()
        if found := _FILE.match(line):
            title = found[1]
            continue
        if fence:
            open_fence = fence[2]
            named = f'{line.rstrip()} title="{title}"' if title and fence[3].strip() else line
            _apart(out, True)
            out.append(_moved(named, items))
            title = ""
            continue
        before = out[-1] if out else ""
        if item:
            _apart(out, not _ITEM.match(before) and not items)
            body = line[item.end() :]
            items.append(item.end())
            out.append("    " * (len(items) - 1) + item[2] + " " * max(1, 4 - len(item[2])) + body)
            continue
        if line.lstrip().startswith("|"):
            _apart(out, not before.lstrip().startswith("|"))
        out.append(_moved(line, items))
    return "\n".join(out)


def _apart(out: list[str], wanted: bool) -> None:
    if wanted and out and out[-1]:
        out.append("")


def _moved(line: str, items: list[int]) -> str:
    """A line within an item, at four spaces for each item that it is in."""
    if not items or not line.strip():
        return line
    indent = len(line) - len(line.lstrip())
    return "    " * len(items) + " " * max(0, indent - items[-1]) + line.lstrip()
