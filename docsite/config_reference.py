"""The files of settings as pages: every key of the published schemas with type, default, and what the source says of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from docsite.schema import default_text, described, name_of, type_text
from docsite.source import ROOT, Source
from docsite.words import anchor, code, paragraphs, prose, table

ABOUT = {
    "vagus": "everything about a node or a cluster",
    "controller": "one controller",
    "campaign": "injections, one after the other",
    "train": "what a policy learns from",
    "app": "an application that `vagus experiment app` deploys",
    "variants": "the policies that `vagus experiment slo` compares",
}


def pages() -> dict[str, str]:
    """Pages by their path below docs/: an index, and one for each file."""
    rows = [(f"[`{kind}.yaml`]({kind}.md)", what) for kind, what in ABOUT.items()]
    index = (
        "# Settings\n\nEvery key has a default unless it says *required*; an unknown one is an error. "
        "A *duration* is a number of seconds, or text such as `5s`, `10m`, `24h`, `7d`. "
        "`vagus config show` prints all values, `vagus config check FILE` finds mistakes, `vagus config schema KIND` "
        "prints the schema for editors.\n\n"
    )
    return {
        "reference/config/index.md": index + table(("File", "What it says"), rows) + "\n",
        **{f"reference/config/{kind}.md": page(kind) for kind in ABOUT},
    }


def schema_of(kind: str, root: Path = ROOT) -> dict[str, Any]:
    """The published schema."""
    found: dict[str, Any] = json.loads((root / "schemas" / f"{kind}.schema.json").read_text("utf-8"))
    return found


def keys(schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each structure of a schema with each of its keys."""
    for name, structure in schema["$defs"].items():
        for key in structure.get("properties", {}):
            yield name, key


def page(kind: str) -> str:
    """The page of one file: its own keys, then each structure where it stands first."""
    schema = schema_of(kind)
    structures, top = schema["$defs"], name_of(schema)
    places = _places(structures, top)
    parts = [f"# {kind}.yaml"]
    for name in places:
        structure, where = structures[name], places[name]
        if name != top:
            parts.append(f"## {where[0]}")
        parts.append(paragraphs(structure.get("description", "")))
        if len(where) > 1:
            parts.append("Also at " + ", ".join(code(place) for place in where[1:]) + ".")

        def link(other: str) -> str:
            return f"[{prose(places[other][0])}](#{anchor(places[other][0])})" if other != top else code(f"{kind}.yaml")

        said = comments().get(name, {})
        rows = [
            (code(key), _type(value, link), default_text(value), _meaning(said.get(key, ""), value, structures))
            for key, value in structure.get("properties", {}).items()
        ]
        parts.append(table(("Key", "Type", "Default", "Meaning"), rows))
    return "\n\n".join(filter(None, parts)) + "\n"


def _type(value: Mapping[str, Any], link: Any) -> str:
    return "duration" if described(value).startswith("seconds, or text") else type_text(value, link)


def _meaning(comment: str, value: Mapping[str, Any], structures: Mapping[str, Any]) -> str:
    """What the source says; of a structure without a word there, what the structure is."""
    more = described(value)
    if not comment and not more and (inner := next(_refers(value), None)):
        more = str(structures[inner[0]].get("description", "")).partition("\n\n")[0]
    if more.startswith("seconds, or text"):
        more = ""
    return prose("; ".join(filter(None, (comment, more))))


def _places(structures: Mapping[str, Any], top: str) -> dict[str, list[str]]:
    """Where each structure stands, as paths of keys (`[]` a list's elements, `.NAME` a map's), in the order of the file."""
    found: dict[str, list[str]] = {top: [""]}
    queue = [(top, "")]
    while queue:
        name, path = queue.pop(0)
        for key, value in structures[name].get("properties", {}).items():
            for other, tail in _refers(value):
                place = f"{path}.{key}{tail}".lstrip(".")
                if other == name:
                    continue
                if other not in found:
                    queue.append((other, place))
                if place not in found.setdefault(other, []):
                    found[other].append(place)
    return found


def _refers(value: Any, tail: str = "") -> Iterator[tuple[str, str]]:
    if not isinstance(value, Mapping):
        return
    if name := name_of(value):
        yield name, tail
    for part in (*value.get("anyOf", ()), *value.get("oneOf", ()), *value.get("prefixItems", ())):
        yield from _refers(part, tail)
    yield from _refers(value.get("items"), tail + "[]")
    yield from _refers(value.get("additionalProperties"), tail + ".NAME")


@cache
def comments() -> dict[str, dict[str, str]]:
    """What the source of vagus.config says behind each key of each structure."""
    files = sorted((ROOT / "vagus" / "config").glob("*.py"))
    sources = [Source(f"vagus.config.{file.stem}") for file in files if file.stem != "__init__"]
    return {c.name: {m.name: m.comment for m in c.members} for source in sources for c in source.classes()}
