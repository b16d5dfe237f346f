"""Options of policies, checked: what a user sets under `decide.options` comes as any JSON value."""

from __future__ import annotations

from vagus.errors import ConfigError


def number(policy: str, option: str, value: object, low: float, high: float) -> float:
    """A number from low to high (both included), else ConfigError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ConfigError(f"policy {policy!r}: option {option}={value!r} must be a number from {low:g} to {high:g}")
    return float(value)


def whole(policy: str, option: str, value: object, low: int, high: int) -> int:
    """A whole number from low to high (both included), else ConfigError."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"policy {policy!r}: option {option}={value!r} must be a whole number from {low} to {high}")
    return value
