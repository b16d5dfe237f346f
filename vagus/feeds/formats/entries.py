"""Records of `Key: values` lines, such as CoMon's node report: declared keys are typed, a broken field is counted."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from vagus.errors import ConfigError, NoData
from vagus.feeds.contracts import ANY_SHAPE
from vagus.feeds.item import Data, Descriptor, described

MAX_FIELDS = 2000
MAX_VALUES = 10_000  # of one list
MAX_KEYS = 10_000  # of one record without declared fields

_INT = re.compile(r"[+-]?\d{1,20}\Z", re.ASCII)
_FLOAT = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,3})?\Z", re.ASCII)
_BOOLS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class _Semantic(ValueError):
    """Well written, but not a possible value."""


def _int(text: str) -> int:
    if not _INT.match(text):
        raise ValueError(text)
    value = int(text)
    if not -(1 << 63) <= value < 1 << 64:
        raise _Semantic(text)
    return value


def _float(text: str) -> float:
    if not _FLOAT.match(text):
        if text.lower().lstrip("+-") in ("nan", "inf", "infinity"):
            raise _Semantic(text)
        raise ValueError(text)
    value = float(text)
    if not math.isfinite(value):
        raise _Semantic(text)
    return value


def _bool(text: str) -> bool:
    try:
        return _BOOLS[text.lower()]
    except KeyError:
        raise ValueError(text) from None


_SCALARS: Mapping[str, Callable[[str], Any]] = {"str": str, "int": _int, "float": _float, "bool": _bool}
_TYPE = re.compile(r"(?:(str|int|float|bool)|list\[(str|int|float|bool)\])(\?)?\Z")


class _Field(msgspec.Struct, frozen=True):
    convert: Callable[[str], Any]
    many: bool
    optional: bool
    min: float
    max: float

    def parse(self, text: str) -> Any:
        """The typed value. Raises ValueError, and _Semantic for a well-written impossible one."""
        if not self.many:
            return self._one(text)
        words = text.split()
        if len(words) > MAX_VALUES:
            raise _Semantic(text[:40])
        return [self._one(word) for word in words]

    def _one(self, text: str) -> Any:
        value = self.convert(text)
        if not isinstance(value, str) and not self.min <= value <= self.max:
            raise _Semantic(text)
        return value


class Entries:
    """A body of `Key: values` lines as a dict.

    fields: key → type: `str`, `int`, `float`, `bool`, `list[…]` of these (split at white space), `?` after it when
    the key may be absent; or `{type: float, min: 0, max: 100}`. Only declared keys are in the value; without any,
    every key is, as text. sep: what ends a key. Raises ConfigError for a field that is not declared so.
    """

    name = "entries"

    def __init__(self, fields: Mapping[str, Any] | None = None, sep: str = ":") -> None:
        if not sep or not isinstance(sep, str):
            raise ConfigError(f"format entries: sep must be at least one character, got {sep!r}")
        if fields is not None and not isinstance(fields, Mapping):
            raise ConfigError(f"format entries: fields must map keys to types, got {fields!r}"[:200])
        if len(fields or {}) > MAX_FIELDS:
            raise ConfigError(f"format entries: {len(fields or {})} fields; at most {MAX_FIELDS} are allowed")
        self._sep = sep
        self._fields = {str(key): _declared(str(key), spec) for key, spec in (fields or {}).items()}

    shape = ANY_SHAPE

    def parse(self, body: bytes) -> tuple[dict[str, Any] | None, Descriptor]:
        """The value and its descriptor; None when nothing could be made of the body."""
        value, code, errors = self._parse(body)
        return value, described(code, errors, len(body))

    def print(self, value: Any) -> bytes:
        """Raises NoData: not printed yet."""
        raise NoData(f"format {self.name} cannot be printed")

    def _parse(self, body: bytes) -> tuple[dict[str, Any] | None, Data, int]:
        """The record. A broken or absent field is None and counted: Syntax, or Semantic for an impossible value.

        A line without `sep` is a Syntax error, a repeated key a Semantic one (the first counts). None when nothing
        in the body is an entry.
        """
        text = body.decode("utf-8", errors="replace")
        value: dict[str, Any] = {}
        syntax = semantic = entries = 0
        for line in text.split("\n"):
            key, sep, rest = line.partition(self._sep)
            key = key.strip()
            if not sep or not key:
                syntax += bool(line.strip())
                continue
            entries += 1
            field = self._fields.get(key)
            if field is None and self._fields:
                continue
            if key in value or len(value) >= MAX_KEYS:
                semantic += 1
                continue
            try:
                value[key] = rest.strip() if field is None else field.parse(rest.strip())
            except _Semantic:
                value[key] = None
                semantic += 1
            except ValueError:
                value[key] = None
                syntax += 1
        if not entries:
            return None, Data.SYNTAX, max(1, syntax)
        for key, field in self._fields.items():
            if key not in value:
                value[key] = None
                syntax += not field.optional
        code = Data.SYNTAX if syntax else Data.SEMANTIC if semantic else Data.GOOD
        return value, code, syntax + semantic


def _declared(key: str, spec: Any) -> _Field:
    options = spec if isinstance(spec, Mapping) else {"type": spec}
    found = _TYPE.match(str(options.get("type", "")))
    unknown = set(options) - {"type", "min", "max"}
    if not found or unknown:
        raise ConfigError(
            f"format entries: field {key!r} is declared as {spec!r}; write str, int, float or bool, or list[…] of "
            "one, with ? after it when it may be absent, or {type: …, min: …, max: …}"
        )
    bounds = options.get("min", -math.inf), options.get("max", math.inf)
    if not all(isinstance(bound, (int, float)) for bound in bounds):
        raise ConfigError(f"format entries: field {key!r}: min and max must be numbers, got {bounds}")
    return _Field(_SCALARS[found[1] or found[2]], bool(found[2]), bool(found[3]), *map(float, bounds))
