"""Targets of network injections: `DEVICE`, `NAMESPACE/DEVICE`, with `,all` or `,to=10.0.0.7:80` behind them."""

from __future__ import annotations

from vagus.errors import ActuateError, ConfigError, Unsupported
from vagus.shaping.place import Place, parse_place
from vagus.shaping.seen import Interface


def read_place(what: str, text: str) -> Place:
    """The device, and what of it. Raises ConfigError."""
    if not text:
        raise ConfigError(f"{what}: name a device as the target, such as eth0, or eth0,to=10.0.0.7:5432 for flows")
    device, _, rest = text.removeprefix("net:").partition(",")
    if "=" in device:  # written as actuators' targets are
        device, rest = text.removeprefix("net:"), ""
    try:
        return parse_place(f"{device}/{rest}" if rest else device)
    except ConfigError as error:
        raise ConfigError(f"{what}: {error}") from error


def look(what: str, place: Place) -> Interface:
    """The device as the kernel has it. Raises Unsupported."""
    try:
        return Interface(place)
    except ActuateError as error:
        raise Unsupported(f"{what}: {error}") from error
