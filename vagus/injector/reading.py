"""Reads intensities: a share, an amount with its unit, and what is wrong with others."""

from __future__ import annotations

import re
from collections.abc import Mapping

from vagus.errors import ConfigError

_NUMBER = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-z%/]{0,10})\Z")

BYTES_S = {
    unit + per: factor
    for unit, factor in {
        "B": 1.0,
        "kB": 1e3,
        "MB": 1e6,
        "GB": 1e9,
        "KiB": 1024.0,
        "MiB": 1024.0**2,
        "GiB": 1024.0**3,
    }.items()
    for per in ("/s", "ps")
}
BYTES = {unit.removesuffix("/s"): factor for unit, factor in BYTES_S.items() if unit.endswith("/s")}
PERCENT = {"%": 0.01}


def amount(what: str, text: str, units: Mapping[str, float], such_as: str) -> tuple[float, str]:
    """The number in the unit's own terms (factor applied), and the unit. Raises ConfigError for 0, too, and no unit."""
    found = _NUMBER.match(text.strip())
    by_case = {unit.lower(): unit for unit in units}
    unit = by_case.get(found[2].lower()) if found else None
    if found is None or unit is None:
        raise ConfigError(f"{what}: the intensity {text[:40]!r} is not {such_as}")
    value = float(found[1]) * units[unit]
    if not value > 0:
        raise ConfigError(f"{what}: the intensity {text[:40]!r} is nothing at all; it is {such_as}")
    return value, unit


def share(what: str, value: float, most: float = 1.0) -> float:
    """A share of at most `most`. Raises ConfigError."""
    if value > most:
        raise ConfigError(f"{what}: {value:.0%} of what there is; at most {most:.0%} can be asked for")
    return value
