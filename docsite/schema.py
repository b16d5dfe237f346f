"""JSON schemas as text: the type, the bounds and the default of a value in a few words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from docsite.words import code, prose

Link = Callable[[str], str]
_NAMES = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "null": "none"}
_LONG = 60  # characters of a default that are shown


def name_of(schema: Mapping[str, Any]) -> str:
    """The name of the structure that it refers to, or nothing."""
    return str(schema.get("$ref", "")).rpartition("/")[2]


def type_text(schema: Mapping[str, Any], link: Link) -> str:
    """What may stand there, as Markdown; `link` makes one of a structure's name."""
    if name := name_of(schema):
        return link(name)
    if "anyOf" in schema or "oneOf" in schema:
        parts = [type_text(part, link) for part in schema.get("anyOf") or schema["oneOf"]]
        return " or ".join(dict.fromkeys(parts))
    if "enum" in schema:
        return ", ".join(code(_plain(value)) for value in schema["enum"])
    if "const" in schema:
        return code(_plain(schema["const"]))
    kind = schema.get("type", "")
    if isinstance(kind, list):
        return " or ".join(_NAMES.get(str(one), str(one)) for one in kind)
    if kind == "array":
        if "prefixItems" in schema:
            return "[" + ", ".join(type_text(part, link) for part in schema["prefixItems"]) + "]"
        items = schema.get("items")
        return f"list of {type_text(items, link)}" if isinstance(items, Mapping) and items else "list"
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"map of names to {type_text(values, link)}" if isinstance(values, Mapping) and values else "map"
    return _bounded(_NAMES.get(kind, kind or "anything"), schema)


def _bounded(kind: str, schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    words = []
    if low is not None and high is not None:
        words.append(f"{low} to {high}")
    else:
        words += [f"{sign} {value}" for sign, value in (("≥", low), ("≤", high)) if value is not None]
    words += [f"{sign} {value}" for sign, value in ((">", above), ("<", below)) if value is not None]
    if schema.get("maxLength") is not None:
        words.append(f"at most {schema['maxLength']} characters")
    return prose(kind) + (f", {', '.join(words)}" if words else "")


def default_text(schema: Mapping[str, Any]) -> str:
    """The default as code, shortened; nothing for a structure, whose keys have their own."""
    if "default" not in schema:
        return "required"
    value = schema["default"]
    if isinstance(value, Mapping) and value:
        return ""
    text = json.dumps(value, ensure_ascii=False)
    return code(text) if len(text) <= _LONG else code(text[:_LONG].rstrip() + " …")


def described(schema: Mapping[str, Any]) -> str:
    """The description of a value, or of the one alternative that has one."""
    alternatives = [schema, *(schema.get("anyOf") or schema.get("oneOf") or ())]
    return next((str(one["description"]) for one in alternatives if "description" in one), "")


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
