"""The HTTP interface as pages, out of the published OpenAPI description: every route, and every structure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from docsite.schema import default_text, described, type_text
from docsite.source import ROOT
from docsite.words import anchor, code, paragraphs, prose, table

Described = Mapping[str, Any]
_FILES = (".css", ".js", ".svg")


def pages() -> dict[str, str]:
    """Pages by their path below docs/: the routes, and the structures of bodies and answers."""
    described_all = json.loads((ROOT / "schemas" / "openapi.json").read_text("utf-8"))
    return {"reference/http.md": routes(described_all), "reference/http-types.md": types(described_all)}


def routes(openapi: Described) -> str:
    """Every route but the files of the pages, by its path."""
    found = [
        (method.upper(), path, operation)
        for path, operations in openapi["paths"].items()
        for method, operation in operations.items()
        if not path.endswith(_FILES)
    ]
    rows = [
        (f"[`{method} {path}`](#{anchor(f'{method} {path}')})", prose(operation.get("summary", "")))
        for method, path, operation in found
    ]
    head = (
        "# HTTP\n\nOf the gateway of each node; [structures](http-types.md) has the bodies and answers. Every request "
        "but those that say so needs `Authorization: Bearer TOKEN`. Errors have a status of 400 or more and "
        "[ErrorAnswer](http-types.md#erroranswer) as their body.\n\n"
    )
    return head + table(("Route", "What"), rows) + "\n\n" + "\n\n".join(_route(*route) for route in found) + "\n"


def _route(method: str, path: str, operation: Described) -> str:
    text = operation.get("description") or operation.get("summary", "")
    parts = [f"## {method} {prose(path)}", paragraphs(text)]
    if {} in operation.get("security", [None]):
        parts.append("*Needs no token.*")
    parameters = [
        (code(one["name"]), one["in"], type_text(one["schema"], _link), _default(one), prose(described(one["schema"])))
        for one in operation.get("parameters", ())
    ]
    parts.append(table(("Parameter", "In", "Type", "Default", "Meaning"), parameters))
    if body := operation.get("requestBody"):
        parts.append("Body: " + _content(body.get("content", {})) + ".")
    answers = operation.get("responses", {})
    parts.append(
        "\n".join(
            f"- {code(status)} {prose(answer.get('description', ''))}"
            + (f": {_content(answer['content'])}" if answer.get("content") else "")
            for status, answer in answers.items()
            if status < "400"
        )
    )
    if errors := [code(status) for status in answers if status >= "400"]:
        parts.append("Errors: " + ", ".join(errors) + ".")
    return "\n\n".join(filter(None, parts))


def _default(parameter: Described) -> str:
    if parameter.get("required"):
        return "required"
    return default_text(parameter["schema"]) if "default" in parameter["schema"] else ""


def _content(content: Described) -> str:
    """The structure, with the media types in which it comes; a type without one by its name alone."""
    by_text: dict[str, list[str]] = {}
    for media, one in content.items():
        schema = one.get("schema")
        by_text.setdefault(type_text(schema, _link) if schema else "", []).append(code(media))
    return "; ".join(f"{text} as {', '.join(names)}" if text else ", ".join(names) for text, names in by_text.items())


def types(openapi: Described) -> str:
    """Every structure with its fields."""
    parts = ["# Structures of HTTP", "Of the bodies and answers of the [routes](http.md)."]
    for name, structure in sorted(openapi["components"]["schemas"].items()):
        needed = structure.get("required", ())
        rows = [
            (
                code(key),
                type_text(value, lambda other: f"[{other}](#{anchor(other)})"),
                "required" if key in needed else (default_text(value) if "default" in value else ""),
                prose(described(value)),
            )
            for key, value in structure.get("properties", {}).items()
        ]
        parts += [f"## {name}", paragraphs(structure.get("description", ""))]
        parts.append(table(("Field", "Type", "Default", "Meaning"), rows) or _plain(structure))
    return "\n\n".join(filter(None, parts)) + "\n"


def _plain(structure: Described) -> str:
    return type_text(structure, lambda other: f"[{other}](#{anchor(other)})") + "."


def _link(name: str) -> str:
    return f"[{name}](http-types.md#{anchor(name)})"
