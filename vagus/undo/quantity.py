"""Kubernetes' quantities, exactly: `500m`, `1.5`, `128Mi`, `1e3`, `2E` (apimachinery's resource.Quantity)."""

from __future__ import annotations

import re
from fractions import Fraction

_QUANTITY = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))((?:[eE][+-]?[0-9]{1,3})|[KMGTPE]i|[numkMGTPE])?\Z")
_BINARY: dict[str, int] = {name: 1 << 10 * power for power, name in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)}
_DECIMAL = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "k": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
    "P": Fraction(10**15),
    "E": Fraction(10**18),
}
_MAX_TEXT = 64


def parse(text: str) -> Fraction:
    """The value of a quantity. Raises ValueError."""
    found = _QUANTITY.match(text) if len(text) <= _MAX_TEXT else None
    if found is None:
        raise ValueError(f"{text[:_MAX_TEXT]!r} is no quantity such as 500m, 1.5, 128Mi or 1e3")
    number, suffix = Fraction(found[1]), found[2] or ""
    if suffix in _BINARY:
        return number * _BINARY[suffix]
    if suffix in _DECIMAL:
        return number * _DECIMAL[suffix]
    power = int(suffix[1:] or 0) if suffix else 0
    return number * Fraction(f"1e{power}")


def cores(value: float) -> str:
    """CPU cores as a quantity, to the thousandth, which is the finest that Kubernetes limits: `1500m`, `2`."""
    thousandths = round(value * 1000)
    return f"{thousandths}m" if thousandths % 1000 else str(thousandths // 1000)


def size(value: float) -> str:
    """Bytes as a quantity with the largest binary suffix that is exact: `128Mi`, `1000`."""
    number = int(value)
    for suffix, unit in reversed(_BINARY.items()):
        if number and number % unit == 0:
            return f"{number // unit}{suffix}"
    return str(number)
