"""Selectors: `kind[.field]{label="v", label=~"re", label!="v", label!~"re"}`; `*` crosses dots.

`host.cpu` selects every field of kind `host.cpu`; `host.cpu.user` one field; `host.*` all of every kind below host.
`node` is a label like any other. Pure text and regular expressions; no numpy.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import translate
from functools import lru_cache
from itertools import pairwise
from typing import Any

from vagus.errors import ConfigError
from vagus.model import Field, Stream

MAX_SELECTOR = 2000
_NAME = re.compile(r"[A-Za-z0-9_.*]+")
_MATCHER = re.compile(r'\s*([A-Za-z_][A-Za-z0-9_]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*(,|$)')
MAX_PATTERN = 200
MAX_CHOICES = 8
_parser: Any = getattr(re, "_parser", None) or importlib.import_module("sre_parse")  # its name before Python 3.11


class Selector:
    """A compiled selector. Raises ConfigError, with the position, when the text is malformed."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_SELECTOR:
            raise ConfigError(f"selector is {len(text)} characters long; at most {MAX_SELECTOR} are allowed")
        self.text = text.strip()
        name, brace, rest = self.text.partition("{")
        name = name.strip()
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"selector {text[:80]!r}: expected a name such as 'host.cpu.user' or 'host.*', got {name[:80]!r}"
            )
        self._literal = "" if "*" in name else name
        self._name = re.compile(translate(name))  # which, unlike `.*`, never tries the same twice
        self._labels: list[tuple[str, Callable[[str], bool]]] = []
        if brace:
            if not rest.endswith("}"):
                raise ConfigError(f"selector {text[:80]!r}: missing '}}' at the end")
            self._parse_labels(rest[:-1])

    def _parse_labels(self, body: str) -> None:
        position = 0
        while body[position:].strip():
            found = _MATCHER.match(body, position)
            if not found:
                raise ConfigError(
                    f'selector {self.text[:80]!r}: expected label="value" at {body[position : position + 30]!r}'
                )
            label, operator, raw, _ = found.groups()
            self._labels.append((label, _test(operator, re.sub(r"\\(.)", r"\1", raw) if operator in "!=" else raw)))
            position = found.end()

    def fields(self, stream: Stream) -> list[int]:
        """Indexes of the fields of `stream` that are selected; empty when the stream is not."""
        if self._literal and not self._literal.startswith(stream.kind):
            return []  # most streams of a node, without a look at their fields
        for label, accepts in self._labels:
            if not accepts(stream.node if label == "node" else stream.labels.get(label, "")):
                return []
        if self._name.match(stream.kind):
            return list(range(len(stream.fields)))
        return [i for i, f in enumerate(stream.fields) if self._name.match(f"{stream.kind}.{f.name}")]

    def accepts(self, value_of: Callable[[str], str]) -> bool:
        """Whether the labels alone accept what has these values; `value_of` gives "" for a label that is missing."""
        return all(accepts(value_of(label)) for label, accepts in self._labels)

    def narrow(self, stream: Stream) -> tuple[Field, ...]:
        """The selected fields themselves."""
        return tuple(stream.fields[i] for i in self.fields(stream))

    def matches(self, stream: Stream) -> bool:
        """Whether any field of `stream` is selected."""
        return bool(self.fields(stream))

    def __repr__(self) -> str:
        return f"Selector({self.text!r})"


def _test(operator: str, value: str) -> Callable[[str], bool]:
    if operator == "=":
        return lambda actual: actual == value
    if operator == "!=":
        return lambda actual: actual != value
    pattern = compile_pattern(value)
    if operator == "=~":
        return lambda actual: pattern.fullmatch(actual) is not None
    return lambda actual: pattern.fullmatch(actual) is None


def compile_pattern(value: str, what: str = "label pattern") -> re.Pattern[str]:
    """A regular expression from outside, refused where it is malformed or could take forever. Raises ConfigError."""
    if len(value) > MAX_PATTERN:
        raise ConfigError(f"{what} {value[:80]!r} is too long: {len(value)} characters; at most {MAX_PATTERN}")
    try:
        choices = _choices(_parser.parse(value))
        found = re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigError(f"{what} {value[:80]!r} is not a regular expression: {error}") from error
    if choices > MAX_CHOICES:
        raise ConfigError(
            f"{what} {value[:80]!r} could take forever: it repeats what repeats or has alternatives, or has more than two "
            "parts like .* before its end; ask with several patterns instead"
        )
    return found


def _choices(parsed: Sequence[Any], inside: bool = False) -> int:
    """How much a match may try, as a logarithm: 3 for what may end at any place, 1 for what may at a few.

    Nothing for the last part of all, and for what ends where its next character is. Beyond MAX_CHOICES for choices
    that are repeated, and references back.
    """
    count, steps = 0, _flat(parsed)
    for (kind, about), (next_kind, next_about) in pairwise([*steps, ("", None)]):
        if kind.endswith("_REPEAT"):
            least, most, body = about
            varies = least != most and (inside or bool(next_kind))
            if (inside and varies) or (most > 1 and _choices(body, True)):
                return MAX_CHOICES + 1
            count += _choices(body, inside) if most <= 1 else 0
            if varies and (count >= 3 or next_kind != "LITERAL" or not _excludes(body, chr(next_about))):
                count += 1 if most - least <= 3 else 3
        elif kind == "BRANCH":
            count += (
                max(_choices([*branch, (next_kind, next_about)]) for branch in about[1]) + len(about[1]).bit_length()
            )
            count += MAX_CHOICES * inside
        elif kind.startswith("ASSERT"):
            count += _choices([*about[1], ("END", None)], inside)
        elif kind not in ("LITERAL", "NOT_LITERAL", "IN", "ANY", "AT", "END", ""):
            return MAX_CHOICES + 1
    return count


def _flat(parsed: Iterable[Any]) -> list[tuple[str, Any]]:
    """The steps with those of plain groups among them."""
    steps: list[tuple[str, Any]] = []
    for step, about in parsed:
        steps += _flat(about[-1]) if str(step) == "SUBPATTERN" else [(str(step), about)]
    return steps


def _excludes(body: Iterable[Any], character: str) -> bool:
    """Whether a repeated part, one character of a set, cannot be this character."""
    code, members = ord(character), _flat(body)
    if [kind for kind, _ in members] == ["IN"]:
        members = [(str(kind), about) for kind, about in members[0][1]]
    return not any(
        k not in ("LITERAL", "RANGE", "CATEGORY")
        or (k == "LITERAL" and v == code)
        or (k == "RANGE" and v[0] <= code <= v[1])
        or (k == "CATEGORY" and (str(v) != "CATEGORY_DIGIT" or character.isdigit()))
        for k, v in members
    )


@lru_cache(maxsize=256)
def parse(text: str) -> Selector:
    """The compiled selector of `text`, cached. Raises ConfigError."""
    return Selector(text)


DERIVED = (".forecast", ".mse")


def is_derived(text: str) -> bool:
    """Whether a selector asks for predictions: `host.cpu.user.forecast`, `net.*.mse{dev="eth0"}`."""
    return text.partition("{")[0].strip().endswith(DERIVED)


def parse_stored(text: str) -> Selector:
    """As `parse`, for those who follow what is stored: raises ConfigError also for predictions."""
    if is_derived(text):
        raise ConfigError(
            f"{text[:80]!r}: predictions are derived from what is stored when they are asked for, with a query; "
            "follow the series itself"
        )
    return parse(text)
