"""What is counted of one place of a format: good and bad values, extremes, an exact sum, the distinct values.

Everything can be merged: profiles of parts make that of the whole, whatever the order. Only which 1000 distinct values
are tracked, where there are more, is that of the order in which they came.
"""

from __future__ import annotations

import math
import zlib
from fractions import Fraction
from typing import Any

from vagus.feeds.item import Descriptor
from vagus.feeds.tools.walk import Place, kind_of

TRACKED = 1000  # distinct values; further ones are only counted
MAX_TEXT = 200  # characters of a tracked value
_SHIFT = 1074  # every float is a whole multiple of 2**-1074, so that sums of these are exact
_LARGEST_BITS = 1024  # of an integer that is profiled as a number

Tracked = str | int | float


class Profile:
    """One place. count: numbers (of lists their lengths); missing: None where it may be; codes: errors by code."""

    __slots__ = (
        "_total",
        "bad",
        "codes",
        "count",
        "former",
        "good",
        "max",
        "min",
        "missing",
        "place",
        "untracked",
        "values",
    )

    def __init__(self, place: Place) -> None:
        self.place = place
        self.good = self.bad = self.missing = 0
        self.codes: dict[str, int] = {}
        self.count = 0
        self.min: float | None = None
        self.max: float | None = None
        self.former: tuple[float | None, float | None] = (None, None)  # min and max before the last new one
        self._total = 0  # in units of 2**-1074
        self.values: dict[Tracked, int] = {}
        self.untracked = 0

    def take(self, value: Any, descriptor: Descriptor | None) -> bool:
        """Counts a value; whether it is a number beyond all that came before; `former` has these."""
        if descriptor is not None and descriptor.errors:
            self.bad += 1
            self.codes[descriptor.code.value] = self.codes.get(descriptor.code.value, 0) + 1
            return False
        if value is None:
            if descriptor is None and not self.place.optional and self.place.kind != "any":
                self.bad += 1  # nothing is known of it but that it should be there
            else:
                self.missing += 1
            return False
        self.good += 1
        return self._profile(value)

    def _profile(self, value: Any) -> bool:
        kind = type(value)
        if kind is str:
            self._track(value if len(value) <= MAX_TEXT else _clipped(value))
            return False
        if self.place.kind == "union":
            self._track(kind.__name__)
            return False
        if kind is int or kind is float:
            return self._number(value)
        if kind is bool:
            self._track("true" if value else "false")
            return False
        of = kind_of(value)
        if of in ("list", "map"):
            return self._number(len(value), track=False)
        if of in ("int", "float"):
            return self._number(int(value) if of == "int" else float(value))
        if of != "record":
            self._track(_shown(value))
        return False

    def _number(self, value: Any, track: bool = True) -> bool:
        if isinstance(value, float):
            if not math.isfinite(value):
                self._track(str(value))
                return False
            top, bottom = value.as_integer_ratio()
            self._total += top << (_SHIFT + 1 - bottom.bit_length())
        elif value.bit_length() > _LARGEST_BITS - 1:
            self._track("an integer of more than 1023 bits")
            return False
        else:
            self._total += value << _SHIFT
        if track:
            self._track(value)
        self.count += 1
        if self.min is None or self.max is None:
            self.former = None, None
            self.min = self.max = value
            return True
        if self.min <= value <= self.max:
            return False
        self.former = self.min, self.max
        self.min, self.max = min(self.min, value), max(self.max, value)
        return True

    def _track(self, value: Tracked, times: int = 1) -> None:
        known = self.values.get(value)
        if known is not None:
            self.values[value] = known + times
        elif len(self.values) < TRACKED:
            self.values[value] = times
        else:
            self.untracked += times

    @property
    def sum(self) -> Fraction:
        """Of all numbers, exactly."""
        return Fraction(self._total, 1 << _SHIFT)

    @property
    def mean(self) -> float | None:
        """Of all numbers, correctly rounded."""
        return float(self.sum / self.count) if self.count else None

    def merge(self, other: Profile) -> None:
        """Adds what another one counted of the same place."""
        for name in ("good", "bad", "missing", "count", "untracked", "_total"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for code, times in other.codes.items():
            self.codes[code] = self.codes.get(code, 0) + times
        for value, times in other.values.items():
            self._track(value, times)
        if other.min is not None and other.max is not None:
            self.min = other.min if self.min is None else min(self.min, other.min)
            self.max = other.max if self.max is None else max(self.max, other.max)


def _clipped(text: str) -> str:
    return f"{text[:MAX_TEXT]}… ({len(text)} characters, {zlib.crc32(text.encode(errors='surrogatepass')):08x})"


def _shown(value: Any) -> str:
    """What no format makes, but a function of `map` may."""
    if isinstance(value, str):
        return str.__str__(value)[:MAX_TEXT]
    if isinstance(value, bytes):
        return f"0x{value[: MAX_TEXT // 2].hex()}"
    return f"<{type(value).__name__}>"
