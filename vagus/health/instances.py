"""Configurations of observers that are served alone: Panorama's JSON (its `hview-mkrc`) and vagus.yaml, read and made.

An *instance* is one observer: an id, the address where it hears the others, and the addresses of all of them.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from vagus.config import MAX_CONFIG_BYTES, Config, HealthSettings, Name, ServeSettings, decode
from vagus.errors import ConfigError
from vagus.health.checked import check_health
from vagus.model import check_name

DEFAULT_PORT = 6688  # Panorama's
MAX_INSTANCES = 1000
MAX_SUBJECTS = 10_000
DUMP_EVERY = "10s"

Level = Literal["debug", "info", "warning", "error"]
LEVELS: Mapping[str, Level] = {
    "": "info",
    "debug": "debug",
    "info": "info",
    "notice": "info",
    "warn": "warning",
    "warning": "warning",
    "error": "error",
    "critical": "error",
    "fatal": "error",
}
_PLACE = re.compile(r"%(0\d)?d")
_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')


class Instance(NamedTuple):
    """What one observer is started with. peers: all of them by id, (host, port), this one too if it has an address."""

    config: Config
    node: str
    peers: dict[str, tuple[str, int]]
    notes: tuple[str, ...] = ()


class Panorama(msgspec.Struct, kw_only=True, frozen=True):
    """The configuration of one instance as Panorama has it, by its own names."""

    Addr: str = ""
    Id: str = ""
    Subjects: tuple[str, ...] | None = None
    Peers: dict[str, str] | None = None
    FilterSubmission: bool = False
    LogLevel: str = ""
    DumpMemUsage: bool = False
    DBFile: str = "deephealth.db"


def instance_of(data: bytes, origin: str, node: str = "", address: str = "") -> Instance:
    """An observer's configuration from the bytes of a file: Panorama's JSON, or vagus.yaml with `health.serve`.

    node, address: instead of those in the file. Raises ConfigError, which names the file as `origin`.
    """
    if is_panorama(data):
        return config_of_panorama(data, origin, node, address)
    config = decode(data, Config, origin)
    check_health(config, origin)
    return _instance(config, config.health.serve.peers, node or config.health.serve.id or "", address, origin)


def config_of_panorama(data: bytes, origin: str = "the configuration", node: str = "", address: str = "") -> Instance:
    """An observer's configuration from Panorama's JSON. Raises ConfigError.

    `Subjects` are watched from the start; with `FilterSubmission`, reports on all others are IGNORED, also local ones.
    `DBFile` is not used: the history is in the state folder. A comma before a closing bracket, as the published
    example has it, is overlooked.
    """
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{origin}: {len(data)} bytes; a configuration has at most {MAX_CONFIG_BYTES}")
    try:
        text = _TRAILING_COMMA.sub(lambda found: found[1] or "", data.decode())
        raw = msgspec.json.decode(text)
        given = msgspec.convert(raw, Panorama)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{origin}: not a configuration of Panorama: {error}") from error
    level = LEVELS.get(given.LogLevel.strip().lower())
    if level is None:
        raise ConfigError(f"{origin}: LogLevel {given.LogLevel[:40]!r} is not one of debug, info, warn, error")
    node = node or given.Id
    if not address and given.Addr and node == given.Id:
        address = given.Addr
    config = Config(health=interest_of(given.Subjects or (), given.FilterSubmission, origin))
    made = _instance(config, given.Peers or {}, node, address, origin)
    serve = ServeSettings(
        id=node,
        peers={name: address_text(*where) for name, where in made.peers.items()},
        log_level=level,
        memory=DUMP_EVERY if given.DumpMemUsage else 0,
    )
    made = made._replace(config=replace(made.config, health=replace(made.config.health, serve=serve)))
    notes = []
    if unknown := sorted(raw.keys() - set(Panorama.__struct_fields__)):
        notes.append(f"{origin}: unknown keys are ignored: {', '.join(unknown)[:200]}")
    told = (given.Peers or {}).get(node)
    if told and address_of(told, origin) != made.peers[node]:
        notes.append(
            f"{origin}: {node} listens at {address_text(*made.peers[node])}, while its peers look for it at {told}"
        )
    return made._replace(notes=tuple(notes))


def interest_of(subjects: Sequence[str], only: bool, origin: str) -> HealthSettings:
    """What an instance of Panorama is interested in: `subjects` from the start and what is reported to it itself.

    only: reports on other subjects are IGNORED. Raises ConfigError.
    """
    if len(subjects) > MAX_SUBJECTS:
        raise ConfigError(f"{origin}: {len(subjects)} subjects; at most {MAX_SUBJECTS}")
    if only and not subjects:
        raise ConfigError(f"{origin}: a filter without subjects would ignore every report; name some, or leave it out")
    named = tuple(glob.escape(check_name(f"{origin}: a subject", subject)) for subject in dict.fromkeys(subjects))
    return HealthSettings(interest="watched", watch=named, subjects=named if only else ("*",))


def address_of(text: str, origin: str, default_port: int = 0) -> tuple[str, int]:
    """`HOST:PORT` or `[IPv6]:PORT`; without a port `default_port`, if that is not 0. Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    if not colon or (text.count(":") > 1 and not host.endswith("]")):
        host, port = text, str(default_port or "")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not re.fullmatch(r"[A-Za-z0-9_.:%-]{1,255}", host):
        raise ConfigError(f"{origin}: address {text[:80]!r} is not HOST:PORT")
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 1 <= int(port) <= 65535):
        raise ConfigError(
            f"{origin}: address {text[:80]!r} needs a port from 1 to 65535, such as {host}:{DEFAULT_PORT}"
        )
    return host, int(port)


def address_text(host: str, port: int) -> str:
    """`HOST:PORT`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_panorama(data: bytes) -> bool:
    """Whether it is JSON with a key that only Panorama has."""
    head = data[:MAX_CONFIG_BYTES].lstrip()
    names = "|".join(Panorama.__struct_fields__).encode()
    return head.startswith(b"{") and re.search(rb'[{,]\s*"(' + names + rb')"\s*:', head) is not None


def _instance(config: Config, peers: Mapping[str, str], node: str, address: str, origin: str) -> Instance:
    """Checks ids and addresses, and puts this instance's port where HTTP and gossip look for it."""
    if len(peers) > MAX_INSTANCES:
        raise ConfigError(f"{origin}: {len(peers)} peers; at most {MAX_INSTANCES}")
    if not node:
        among = f": {', '.join(sorted(peers)[:10])}" if peers else ""
        raise ConfigError(f"{origin}: it does not say which observer this is; name its id{among}")
    for name in (node, *peers):
        try:
            msgspec.convert(name, Name)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{origin}: id {name[:80]!r} must be letters, digits, _ . -, at most 64") from error
    if peers and node not in peers and not address:
        raise ConfigError(f"{origin}: there is no {node!r} among its peers {', '.join(sorted(peers)[:10])}")
    found = {name: address_of(text, f"{origin}: peer {name}") for name, text in peers.items()}
    if address:
        found[node] = address_of(address, f"{origin}: {node}", DEFAULT_PORT)
    taken: dict[tuple[str, int], str] = {}
    for name, where in found.items():
        if taken.setdefault(where, name) != name:
            raise ConfigError(f"{origin}: {name} and {taken[where]} have the same address {where[0]}:{where[1]}")
    if node in found:
        port = found[node][1]
        health, gateway = replace(config.health, port=port), replace(config.gateway, port=port)
        config = replace(config, health=health, gateway=gateway)
    return Instance(config, node, found)


# --- made ------------------------------------------------------------------------------------------------------------


def numbered(pattern: str, number: int) -> str:
    """The pattern with its `%d` (or `%02d`) replaced. Raises ConfigError unless it has at most one, and no other %."""
    left, places = _PLACE.subn("", pattern)
    if places > 1 or "%" in left:
        raise ConfigError(f"pattern {pattern[:80]!r}: one %d (or %02d) stands for the number, and nothing else with %")
    return _PLACE.sub(lambda found: f"{number:{found[1] or ''}d}", pattern)


def make_peers(count: int, ids: str, addresses: str, first: int = 0, port: int = 0) -> dict[str, str]:
    """The addresses of `count` instances by id, from patterns. port: of all whose pattern names none. Raises ConfigError."""
    if not 1 <= count <= MAX_INSTANCES:
        raise ConfigError(f"{count} instances; 1 to {MAX_INSTANCES} can be made")
    made: dict[str, str] = {}
    for number in range(first, first + count):
        name, text = numbered(ids, number), numbered(addresses, number)
        host, port_of = address_of(text, f"address pattern {addresses!r}", port or DEFAULT_PORT)
        address = address_text(host, port_of)
        if name in made:
            raise ConfigError(f"id pattern {ids!r} makes {name!r} twice: put %d where the number goes")
        if address in made.values():
            raise ConfigError(f"address pattern {addresses!r} makes {address} twice: put %d where the number goes")
        made[name] = address
    return made


def panorama_json(given: Panorama) -> bytes:
    """As Panorama's generator writes it."""
    return msgspec.json.format(msgspec.json.encode(given), indent=2) + b"\n"


def vagus_document(given: Panorama) -> dict[str, Any]:
    """The same in the keys of vagus.yaml, those that differ from the defaults."""
    health = interest_of(given.Subjects or (), given.FilterSubmission, "subjects")
    document: dict[str, Any] = {"interest": health.interest}
    if given.FilterSubmission:
        document["subjects"] = list(health.subjects)
    if health.watch:
        document["watch"] = list(health.watch)
    return {"health": {**document, "serve": {"id": given.Id, "peers": dict(given.Peers or {})}}}
