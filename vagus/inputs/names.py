"""Foreign names and nested values as vagus' own: legal kinds, labels and fields, flat typed fields of events."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from vagus.model import MAX_NAME, Level, Scalar
from vagus.netlogger import LEVELS

MAX_EVENT_FIELDS = 200
MAX_TEXT = 32 << 10  # characters of one field; the rest is cut, and said
MAX_DEPTH = 5
_ILLEGAL = re.compile(r"[^A-Za-z0-9_]")
_WORD = re.compile(r"[A-Za-z_]")
_TOP = 1 << 64


@lru_cache(maxsize=4096)
def legal_kind(name: str, otherwise: str) -> str:
    """Dotted words: what may not stand in one becomes `_`, empty words go; `otherwise` when nothing is left."""
    words = [_ILLEGAL.sub("_", word) for word in name[:MAX_NAME].split(".") if word]
    if not words:
        return otherwise
    if not _WORD.match(words[0]):
        words[0] = "_" + words[0]
    return ".".join(words)[:MAX_NAME].rstrip(".")


@lru_cache(maxsize=4096)
def legal_label(name: str) -> str:
    """A label's or field's name: what may not stand in one becomes `_`; `node` becomes `node_`, which is ours."""
    word = _ILLEGAL.sub("_", name[:MAX_NAME]) or "_"
    if not _WORD.match(word):
        word = "_" + word[: MAX_NAME - 1]
    return "node_" if word == "node" else word


@lru_cache(maxsize=4096)
def printable(name: str, otherwise: str) -> str:
    """A name of at most 200 printable characters: others become `?`; `otherwise` when it is empty."""
    name = name[:MAX_NAME]
    return (name if name.isprintable() else "".join(c if c.isprintable() else "?" for c in name)) or otherwise


def level_of(word: Any) -> Level | None:
    """The level that a word of some logger names, or None."""
    return LEVELS.get(word.lower()) if isinstance(word, str) else None


def flatten(record: Mapping[Any, Any], given: Iterable[tuple[str, Scalar]] = ()) -> dict[str, Scalar]:
    """Nested maps as dotted fields, lists as JSON text, bytes as text, nulls left out; behind the `given` fields.

    At most 200 fields; how many more there were is the field `fields_dropped`. Text beyond 32768 characters is cut.
    """
    fields = dict(given)
    dropped = _flatten(record, "", fields, 0)
    if dropped:
        fields["fields_dropped"] = dropped
    return fields


def _flatten(record: Mapping[Any, Any], prefix: str, fields: dict[str, Scalar], depth: int) -> int:
    dropped = 0
    for key, value in record.items():
        name = prefix + cut(key if isinstance(key, str) else as_text(key))
        if isinstance(value, Mapping) and depth < MAX_DEPTH:
            dropped += _flatten(value, name + ".", fields, depth + 1)
        elif len(fields) >= MAX_EVENT_FIELDS - 1 or len(name) > MAX_NAME:
            dropped += 1
        elif value is not None:
            fields[name] = scalar(value)
    return dropped


def scalar(value: Any) -> Scalar:
    """A value as one that a field may hold: text, truth value, whole number of 64 bits, float."""
    if isinstance(value, str):
        return cut(value)
    if isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return value if -(_TOP >> 1) <= value < _TOP else str(value)
    return cut(as_text(value))


def cut(text: str) -> str:
    """Text of at most 32768 characters; an ellipsis says that there was more. Half characters are replaced."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def as_text(value: Any) -> str:
    """Bytes as UTF-8, everything else as JSON."""
    if isinstance(value, (bytes, bytearray)):
        return value.decode("utf-8", "replace")
    try:
        return msgspec.json.encode(value, enc_hook=str).decode()
    except (TypeError, ValueError, RecursionError):
        return repr(value)[:MAX_TEXT]
