"""Locations with places for data: `http://{}:3121/`, `proc:ping -c 2 {host}`. The data comes from outside: a list that was
fetched. Wherever it stands, it stays what it is there: one word of a command and no option, one host, one part of a
path or of a query; never another host, another folder, a further word. What cannot be that is refused.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import msgspec

from vagus.errors import ConfigError
from vagus.feeds.contracts import SOURCES
from vagus.feeds.location import HTTP, scheme

MAX_VALUE = 1000

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_PATH = re.compile(r"(\w+(\.\w+)*)?\Z")
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_HOST_PART = re.compile(rf"{_HOST}\Z")
_WHOLE_HOST = re.compile(rf"(?:{_HOST}|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?\Z")
_WORD = re.compile(r"[\w.:/@%+=,-]+\Z")  # nothing that a shell at the far end would take for more than a word

Piece = str | tuple[str, ...]
"""Text, or the path of a field: () is the value itself."""


class Template:
    """A location with places for fields of a value. Raises ConfigError for what is none, or not safe to fill."""

    def __init__(self, text: str) -> None:
        self.text = text
        pieces = _pieces(text)
        self.fields = tuple(piece for piece in pieces if not isinstance(piece, str))
        name = scheme(text)
        if not isinstance(pieces[0], str) or ":" not in pieces[0] or name not in SOURCES:
            starts = ", ".join(f"{known}:" for known in SOURCES)
            raise ConfigError(f"location {text[:80]!r} must begin with one of {starts}, before any {{…}}")
        self._fill: Callable[[Any], str]
        if name in HTTP:
            self._fill = _Url(text, pieces).fill
        elif name == "gateway":
            self._fill = lambda value: _filled(pieces, value, _part_of_path(pieces))
        elif name == "file":
            self._fill = lambda value: _within_folder(text, _filled(pieces, value, _file_name), pieces)
        elif name == "proc":
            self._fill = _Command(text).fill
        else:
            self._fill = lambda value: _filled(pieces, value, _word)

    def fill(self, value: Any) -> str:
        """The location for this value. Raises ConfigError when a field is missing, no text or number, or not safe."""
        try:
            return self._fill(value)
        except ConfigError as error:
            raise ConfigError(f"location {self.text[:80]!r}: {error}") from error


Check = Callable[[str, int], str]
"""A field's text and the number of its piece to what stands in the location; raises ConfigError."""


def _pieces(text: str) -> list[Piece]:
    pieces: list[Piece] = [""]

    def add(more: str) -> None:
        if isinstance(pieces[-1], str):
            pieces[-1] += more
        elif more:
            pieces.append(more)

    end = 0
    for found in _PIECE.finditer(text):
        add(text[end : found.start()])
        end = found.end()
        if found[0] in ("{{", "}}"):
            add(found[0][0])
        elif found[1] is None or not _PATH.match(found[1]):
            raise ConfigError(
                f"location {text[:80]!r}: write {{}} for the item, {{field}} for a field of it, {{{{ or }}}} for a brace"
            )
        else:
            pieces.append(tuple(found[1].split(".")) if found[1] else ())
    add(text[end:])
    return pieces


def _filled(pieces: list[Piece], value: Any, check: Check) -> str:
    return "".join(
        piece if isinstance(piece, str) else check(_text(value, piece), number) for number, piece in enumerate(pieces)
    )


def _text(value: Any, path: tuple[str, ...]) -> str:
    name = ".".join(path) or "the item"
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, msgspec.Struct) and step in value.__struct_fields__:
            value = getattr(value, step)
        elif isinstance(value, (list, tuple)) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            value = None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ConfigError(f"{name} is {type(value).__name__}, not a text or number")
    text = "" if isinstance(value, int) and value.bit_length() > MAX_VALUE else str(value)  # digits cost their square
    if not text or len(text) > MAX_VALUE or not text.isprintable():
        raise ConfigError(f"{name} is {text[:40]!r}: it must be 1 to {MAX_VALUE} printable characters")
    return text


class _Url:
    """Fills an address: hosts are hosts, the rest is quoted."""

    def __init__(self, text: str, pieces: list[Piece]) -> None:
        first = pieces[0]
        if not isinstance(first, str) or not first.partition(":")[2].startswith("//"):
            raise ConfigError(f"location {text[:80]!r}: the address of a host begins with http:// or https://")
        self._pieces: list[Piece] = []
        rest = False  # behind the host and port
        for number, piece in enumerate(pieces):
            if isinstance(piece, str) and not rest:
                skip = piece.index("//") + 2 if number == 0 else 0
                found = re.search(r"[/?#\\]", piece[skip:])
                rest = found is not None
                if found is not None:  # host and path are pieces of their own
                    at = skip + found.start()
                    self._host_end = len(self._pieces) + 1
                    self._pieces += (piece[:at], piece[at:])
                    continue
            self._pieces.append(piece)
        if not rest:
            self._host_end = len(self._pieces)

    def fill(self, value: Any) -> str:
        path = _part_of_path(self._pieces)
        filled = [
            piece if isinstance(piece, str) else self._check(_text(value, piece), number, path)
            for number, piece in enumerate(self._pieces)
        ]
        _no_way_up(
            "".join(filled[self._host_end :]), "".join(p for p in self._pieces[self._host_end :] if isinstance(p, str))
        )
        return "".join(filled)

    def _check(self, text: str, number: int, path: Check) -> str:
        if number >= self._host_end:
            return path(text, number)
        before = self._pieces[number - 1]
        after = self._pieces[number + 1] if number + 1 < self._host_end else ""
        whole = isinstance(before, str) and before.endswith(("/", "@")) and after == ""
        if not (_WHOLE_HOST if whole else _HOST_PART).match(text):
            raise ConfigError(f"{text[:60]!r} is not {'a host' if whole else 'part of a host'}")
        return text


def _part_of_path(pieces: list[Piece]) -> Check:
    def check(text: str, number: int) -> str:
        if text in (".", ".."):
            raise ConfigError(f"{text!r} is not a part of a path")
        return quote(text, safe="")

    return check


def _no_way_up(path: str, literal: str) -> None:
    """No part of a path is `.` or `..`, but for those that were written there."""
    for dots in (".", ".."):
        if re.split(r"[/?#]", path).count(dots) > re.split(r"[/?#]", literal).count(dots):
            raise ConfigError(f"a part of the path would be {dots!r}")


def _file_name(text: str, number: int) -> str:
    if "\\" in text:
        raise ConfigError(f"{text[:60]!r} is not part of a file's name")
    return text


def _within_folder(text: str, location: str, pieces: list[Piece]) -> str:
    path = location.partition(":")[2]
    literal = text.partition(":")[2]
    _no_way_up(path, literal)
    if path.startswith(("/", "~")) and not literal.startswith(("/", "~")):
        raise ConfigError(f"{path[:60]!r} would leave the folder")
    if path.startswith("//") and not literal.startswith("//"):
        raise ConfigError(f"{path[:60]!r} would name a host")
    return location


def _word(text: str, number: int) -> str:
    if not _WORD.match(text) or text.startswith("-"):
        raise ConfigError(
            f"{text[:60]!r} cannot be a word of a command: letters, digits and . : / @ % + = , _ - may be in it, and it begins with no -"
        )
    if ":/" in text:
        raise ConfigError(f"{text[:60]!r} would name another place, by its address")
    if ".." in text.split("/"):
        raise ConfigError(f"{text[:60]!r} leads out of a folder")
    return text


class _Command:
    """Fills a command word by word, after it was split."""

    def __init__(self, text: str) -> None:
        try:
            words = shlex.split(text.partition(":")[2])
        except ValueError as error:
            raise ConfigError(f"location {text[:80]!r}: {error}") from error
        self._words = [_pieces(word) for word in words]
        if not self._words or any(not isinstance(piece, str) for piece in self._words[0]):
            raise ConfigError(f"location {text[:80]!r}: which program runs cannot come from data")

    def fill(self, value: Any) -> str:
        return "proc:" + shlex.join(_filled(word, value, _word) for word in self._words)
