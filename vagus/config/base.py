"""What settings are made of: durations, names, ports; unknown keys are errors."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from vagus.errors import ConfigError

Port = Annotated[int, msgspec.Meta(ge=0, le=65535, description="TCP or UDP port; 0 lets the kernel choose")]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Ratio = Annotated[float, msgspec.Meta(ge=0, le=1)]
Duration = Annotated[str | float, msgspec.Meta(description="seconds, or text such as 5s, 10m, 24h, 7d")]

Name = Annotated[
    str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$(?!\n)", description="letters, digits, _ . -")
]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ns|us|ms|s|m|h|d|w)?\Z")
_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
    None: 1.0,
}


def seconds(duration: str | float) -> float:
    """A duration (`5s`, `10m`, `24h`, or a number) in seconds. Raises ConfigError."""
    if isinstance(duration, (int, float)):
        if 0 <= duration < 1e10:
            return float(duration)
        raise ConfigError(f"duration {duration} must be between 0 and 1e10 seconds")
    found = _DURATION.match(duration.strip())
    if not found:
        raise ConfigError(f"duration {duration[:40]!r} is not a number with a unit: ms, s, m, h, d or w")
    return float(found[1]) * _SECONDS[found[2]]


class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Base: unknown keys are errors, so that a typing mistake is never a silent default."""
