"""Links between the Markdown files of this repository as they stand in Git: to files, folders and headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from docsite.shown import links, resolved
from docsite.words import anchor

FILES = ("*.md", "docs/**/*.md", "examples/**/*.md", "benchmarks/**/*.md", "packaging/**/*.md", "tests/**/*.md")


def broken(root: Path) -> list[str]:
    """Links that lead nowhere, as `FILE: TARGET: why`; empty when all is well."""
    found = []
    for file in sorted({file for pattern in FILES for file in root.glob(pattern)}):
        source = file.relative_to(root).as_posix()
        for target in dict.fromkeys(links(file.read_text("utf-8"))):
            why = _why(root, source, target)
            found += [f"{source}: {target}: {why}"] if why else []
    return found


def _why(root: Path, source: str, target: str) -> str:
    path, _, place = target.partition("#")
    there = root / (resolved(path, source) if path else source)
    if not there.resolve().is_relative_to(root.resolve()):
        return "outside of this repository"
    if not there.exists():
        return "no such file"
    if place and there.suffix == ".md" and place not in anchors(there.read_text("utf-8")):
        return "no such heading"
    return ""


def anchors(markdown: str) -> set[str]:
    """What GitHub calls the headings of a text; the second of a name is NAME-1."""
    found: dict[str, int] = {}
    names = set()
    for heading in _headings(markdown):
        name = anchor(re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", ""))
        count = found.get(name, 0)
        found[name] = count + 1
        names.add(f"{name}-{count}" if count else name)
    return names


def _headings(markdown: str) -> Iterator[str]:
    fence = ""
    for line in markdown.split("\n"):
        marks = re.match(r"\s*(`{3,}|~{3,})", line)
        if fence:
            fence = "" if marks and marks[1].startswith(fence) else fence
        elif marks:
            fence = marks[1]
        elif found := re.match(r"#{1,6}\s+(.*?)\s*#*\s*$", line):
            yield found[1]
