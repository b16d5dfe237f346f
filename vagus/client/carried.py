"""What travels with a request through a middleman: one header that names it and who sent it to whom.

It comes from outside: versioned, bounded, validated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote

from vagus.clock import NS
from vagus.errors import ConfigError
from vagus.model import check_name

HEADER = "vagus-origin"
VERSION = "1"
MAX_CARRIED = 8100
"""Characters of the header's value: as much as HTTP servers take in one field. Names always fit."""
MAX_KEY = 64
MAX_AHEAD_NS = 60 * NS
_CARRIED = re.compile(r"[!-~]+\Z")


class Carried(NamedTuple):
    """What the header says: a request's key, when it was sent, and who waits for whom in what."""

    key: str
    sent_ns: int
    observer: str
    subject: str
    context: str


def write_carried(carried: Carried) -> dict[str, str]:
    """The header, of printable ASCII."""
    return {HEADER: ";".join((VERSION, *(quote(str(part), safe="", errors="replace") for part in carried)))}


def read_carried(value: str, now_ns: int) -> Carried:
    """The header's value, which came from outside. Raises ConfigError."""
    if not isinstance(value, str) or len(value) > MAX_CARRIED or not _CARRIED.match(value):
        raise ConfigError(f"{HEADER}: not 1 to {MAX_CARRIED} printable characters of ASCII")
    version, *rest = value.split(";")
    if version != VERSION or len(rest) != 5:
        raise ConfigError(f"{HEADER}: version {version[:20]!r} with {len(rest)} parts; {VERSION!r} with 5 is known")
    try:
        key, sent, *names = (unquote(part, errors="strict") for part in rest)
        if not (sent.isascii() and sent.isdigit() and len(sent) <= 19):
            raise ValueError("the time is no number")
    except ValueError as error:
        raise ConfigError(f"{HEADER}: malformed: {error}") from error
    observer, subject, context = (
        check_name(what, name) for what, name in zip(("observer", "subject", "context"), names, strict=True)
    )
    if len(key) > MAX_KEY or not key.isprintable() or not key:
        raise ConfigError(f"{HEADER}: the key must be 1 to {MAX_KEY} printable characters")
    if int(sent) > now_ns + MAX_AHEAD_NS:
        raise ConfigError(f"{HEADER}: sent {(int(sent) - now_ns) / NS:.0f} s ahead of this machine's clock")
    return Carried(key, int(sent), observer, subject, context)


def header_of(headers: Mapping[str, str]) -> str | None:
    """Ours among them, whatever its case."""
    found = headers.get(HEADER)
    if found is None:
        for name in headers:
            if isinstance(name, str) and name.lower() == HEADER:
                return headers[name]
    return found


def short_key(key: str) -> str:
    """A key that fits: longer ones as their hash."""
    if len(key) <= MAX_KEY:
        return key
    import hashlib

    return hashlib.blake2b(key.encode("utf-8", "replace"), digest_size=16).hexdigest()
