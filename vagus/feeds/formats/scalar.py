"""Words with a declared type: `int`, `float`, `bool`, `str`, `?` behind it, bounds."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from vagus.errors import ConfigError
from vagus.feeds.contracts import Kind, Shape

_INT = re.compile(r"[+-]?\d{1,20}\Z", re.ASCII)
_FLOAT = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,3})?\Z", re.ASCII)
_BOOLS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_TYPE = re.compile(r"(str|int|float|bool)(\?)?\Z")
_NOT_FINITE = ("nan", "inf", "infinity")


class Impossible(ValueError):
    """Well written, but not a possible value: a SEMANTIC error, where other ValueErrors are SYNTAX."""


def read_int(text: str) -> int:
    """Decimal digits of up to 64 bits, signed or not. Raises ValueError, and Impossible beyond 64 bits."""
    if not _INT.match(text):
        raise ValueError(f"not an integer: {text[:40]!r}")
    value = int(text)
    if not -(1 << 63) <= value < 1 << 64:
        raise Impossible(f"beyond 64 bits: {text}")
    return value


def read_float(text: str) -> float:
    """A finite decimal number. Raises ValueError, and Impossible for NaN and what is infinite."""
    if not _FLOAT.match(text):
        kind = Impossible if text.lower().lstrip("+-") in _NOT_FINITE else ValueError
        raise kind(f"not a finite number: {text[:40]!r}")
    value = float(text)
    if not math.isfinite(value):
        raise Impossible(f"not a finite number: {text[:40]}")
    return value


def read_bool(text: str) -> bool:
    """true, yes, on, 1 or false, no, off, 0, in any case. Raises ValueError."""
    try:
        return _BOOLS[text.lower()]
    except KeyError:
        raise ValueError(f"neither true nor false: {text[:40]!r}") from None


_READ: Mapping[str, Callable[[str], Any]] = {"str": str, "int": read_int, "float": read_float, "bool": read_bool}
_KINDS: Mapping[str, Kind] = {"str": "string", "int": "int", "float": "float", "bool": "bool"}


class Scalar(msgspec.Struct, frozen=True):
    """A declared type of a word. optional: an empty or absent one is None and no error."""

    type: str = "str"
    optional: bool = False
    min: float = -math.inf
    max: float = math.inf

    @property
    def shape(self) -> Shape:
        """None stands for a broken word too, but only an optional one has it as a good value."""
        shape = Shape(_KINDS[self.type])
        return Shape("optional", parts=(("", shape),)) if self.optional else shape

    def read(self, text: str) -> Any:
        """The value. Raises ValueError for what is not written so, Impossible for what is out of bounds."""
        if self.optional and not text:
            return None
        value = _READ[self.type](text)
        if self.type != "str" and not self.min <= value <= self.max:
            raise Impossible(f"{text[:40]} is not within {self.min:g} to {self.max:g}")
        return value


def declared(where: str, spec: Any) -> Scalar:
    """The type that is written `int`, `float?`, … or `{type: int, min: 0, max: 9}`. Raises ConfigError."""
    options = spec if isinstance(spec, Mapping) else {"type": spec}
    found = _TYPE.match(str(options.get("type", "")))
    if not found or set(options) - {"type", "min", "max"}:
        raise ConfigError(
            f"{where} is declared as {spec!r}; write str, int, float or bool, with ? after it when it may be absent, "
            "or {type: …, min: …, max: …}"
        )
    bounds = options.get("min", -math.inf), options.get("max", math.inf)
    if not all(isinstance(bound, (int, float)) for bound in bounds):
        raise ConfigError(f"{where}: min and max must be numbers, got {bounds}")
    return Scalar(found[1], bool(found[2]), *map(float, bounds))
