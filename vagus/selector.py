"""Selectors: `kind[.field]{label="v", label=~"re", label!="v", label!~"re"}`; `*` crosses dots.

`host.cpu` selects every field of kind `host.cpu`; `host.cpu.user` one field; `host.*` all of every kind below host.
`node` is a label like any other. Pure text and regular expressions; no numpy.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from vagus.errors import ConfigError
from vagus.model import Field, Stream

MAX_SELECTOR = 2000
_NAME = re.compile(r"[A-Za-z0-9_.*]+")
_MATCHER = re.compile(r'\s*([A-Za-z_][A-Za-z0-9_]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*(,|$)')
_NESTED_REPEAT = re.compile(r"\([^()]*[*+}][^()]*\)\s*[*+{]")


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
        self._name = re.compile(".*".join(re.escape(part) for part in name.split("*")) + r"\Z")
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
    if len(value) > 200 or _NESTED_REPEAT.search(value):
        raise ConfigError(f"{what} {value[:80]!r} is too long or repeats a repeated group, which can take forever")
    try:
        return re.compile(value)
    except re.error as error:
        raise ConfigError(f"{what} {value[:80]!r} is not a regular expression: {error}") from error


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
