"""What is shaped, by its name: a device, one of its classes, or flows through it.

    [NAMESPACE/]DEVICE                the whole device
    [NAMESPACE/]DEVICE/all            the same, also where that is dangerous, or replaces a queueing discipline
    [NAMESPACE/]DEVICE/1:10           a class of its HTB
    [NAMESPACE/]DEVICE/to=10.0.0.0/24,dport=80,proto=tcp     flows; also from= and sport=

NAMESPACE is a name of /run/netns or `pid=NUMBER`, whatever namespace that process is in.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from vagus.errors import ConfigError

PROTOCOLS = {"tcp": 6, "udp": 17}

_FLOW = re.compile(r"(?:^|/)(?=(?:to|from|sport|dport|proto)=)")
_CLASS = re.compile(r"([0-9a-fA-F]{1,4}):([0-9a-fA-F]{1,4})\Z")
_DEVICE = re.compile(r"[^/:\s\0=,]{1,15}\Z")  # the kernel allows = and , too; a misspelt key is likelier
_MAX_TEXT = 500

Address = ipaddress.IPv4Network | ipaddress.IPv6Network


class Flow(NamedTuple):
    """Packets by the addresses and ports in them; None: any. proto: tcp, udp, or empty for any."""

    to: Address | None = None
    source: Address | None = None
    dport: int | None = None
    sport: int | None = None
    proto: str = ""

    def __str__(self) -> str:
        parts = {"to": self.to, "from": self.source, "dport": self.dport, "sport": self.sport, "proto": self.proto}
        return ",".join(f"{name}={value}" for name, value in parts.items() if value not in (None, ""))


class Place(NamedTuple):
    """A device in a network namespace (empty: this process'), and what of it. classid: major << 16 | minor."""

    namespace: str
    device: str
    classid: int = 0
    flow: Flow | None = None
    everything: bool = False  # `all` was said

    def __str__(self) -> str:
        device = f"{self.namespace}/{self.device}" if self.namespace else self.device
        if self.classid:
            return f"{device}/{handle_text(self.classid)}"
        return f"{device}/{self.flow}" if self.flow is not None else device


def parse_place(text: str) -> Place:
    """The name behind `net:`. Raises ConfigError."""
    if len(text) > _MAX_TEXT:
        raise ConfigError(f"a device's name of {len(text)} characters is none; at most {_MAX_TEXT} are allowed")
    found = _FLOW.search(text)
    flow = parse_flow(text[found.end() :]) if found else None
    parts = (text[: found.start()] if found else text).split("/")
    classid, everything = 0, False
    if flow is None and len(parts) > 1:
        match = _CLASS.match(parts[-1])
        if match or parts[-1] == "all":
            classid, everything = (int(match[1], 16) << 16 | int(match[2], 16), False) if match else (0, True)
            parts.pop()
    if not 1 <= len(parts) <= 2 or not all(parts) or not _DEVICE.match(parts[-1]):
        raise ConfigError(
            f"{text[:80]!r} names no device: write DEVICE, DEVICE/1:10 or DEVICE/to=10.0.0.0/24,dport=80, "
            "and NAMESPACE/ before it for another network namespace"
        )
    return Place(parts[0] if len(parts) == 2 else "", parts[-1], classid, flow, everything)


def parse_flow(text: str) -> Flow:
    """`to=10.0.0.0/24,dport=80`; an address may have its port behind it: `to=10.0.0.7:80`. Raises ConfigError."""
    given: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals or key not in ("to", "from", "sport", "dport", "proto") or key in given or not value:
            raise ConfigError(f"{part[:60]!r} in {text[:80]!r} is not to=, from=, sport=, dport= or proto= once each")
        given[key] = value
    for address, port in (("to", "dport"), ("from", "sport")):
        host, colon, number = given.get(address, "").rpartition(":")
        if colon and (host.startswith("[") or ":" not in host):
            if port in given:
                raise ConfigError(f"{text[:80]!r} says {port} twice")
            given[address], given[port] = host.strip("[]"), number
    proto = given.get("proto", "")
    if proto and proto not in PROTOCOLS:
        raise ConfigError(f"proto={proto[:20]} is not {' or '.join(PROTOCOLS)}")
    to, source = _network(given.get("to")), _network(given.get("from"))
    if to is not None and source is not None and to.version != source.version:
        raise ConfigError(f"{text[:80]!r} mixes IPv4 and IPv6: no packet is both")
    return Flow(to, source, _port(given.get("dport")), _port(given.get("sport")), proto)


def parse_handle(text: str) -> int:
    """`1:10` → 0x10010. Raises ConfigError."""
    match = _CLASS.match(text)
    if not match:
        raise ConfigError(f"{text[:40]!r} is not a class id such as 1:10 (hexadecimal)")
    return int(match[1], 16) << 16 | int(match[2], 16)


def handle_text(handle: int) -> str:
    """A handle as tc writes it: `1:10`, `1:`."""
    return f"{handle >> 16:x}:{handle & 0xFFFF:x}" if handle & 0xFFFF else f"{handle >> 16:x}:"


def _network(text: str | None) -> Address | None:
    if text is None:
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ConfigError(f"{text[:60]!r} is no address or network (names are not looked up): {error}") from error


def _port(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:6]) < 65536:
        raise ConfigError(f"{text[:20]!r} is no port from 1 to 65535")
    return int(text)
