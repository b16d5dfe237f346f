"""Feeds of data from elsewhere, declared: sources, a schedule, a format. Pure: schedules take time as an argument.

A fetch gives an `Item`: value and meta. Failures are items too: value None, a network code. Raw bytes are archived
before they are parsed. To add a source or a format: a file with a class like the Protocols below, and a line.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from vagus.model import Data, Meta, Net
from vagus.registry import Registry

__all__ = ["FORMATS", "SOURCES", "Data", "Fetched", "Format", "Item", "Meta", "Net", "Raw", "Source"]


class Item(msgspec.Struct, frozen=True, array_like=True):
    """One fetch: meta and the typed value (None after a failure)."""

    meta: Meta
    value: Any = None


class Raw(msgspec.Struct, frozen=True, array_like=True):
    """The archived form: meta and the bytes as they came."""

    meta: Meta
    body: bytes


class Fetched(msgspec.Struct, frozen=True, array_like=True):
    """What a source returns; retry_after_s: how long the far side asks to be left alone (0: it does not)."""

    net: Net
    body: bytes = b""
    note: str = ""
    retry_after_s: float = 0.0


class Source(Protocol):
    """Fetches the bytes of one location, e.g. `http://…`. Never raises for what the far side does: that is `net`.

    Built as `Source(**options)` of the feed's `options["source"]`, one for each feed and class. The registered name
    is the scheme: what stands before the first colon of a location. A fetch takes at most `timeout_s` and returns at
    most `max_bytes`; when cancelled, it leaves nothing running.
    """

    async def fetch(self, location: str, timeout_s: float, max_bytes: int) -> Fetched: ...

    async def close(self) -> None: ...


class Format(Protocol):
    """Parses a body into (value, code, errors). Never raises: errors are in the returned code and count.

    The value is made of msgspec structs and JSON-ready builtins, with integers of 64 bits and finite floats.
    Built as `Format(**options)` of the feed's options, `source` left out; raises ConfigError for wrong ones.
    """

    name: str

    def parse(self, body: bytes) -> tuple[Any, Data, int]: ...


SOURCES: Registry[Source] = Registry(
    "vagus.sources",
    {
        "http": "vagus.feeds.source_http:HttpSource",
        "https": "vagus.feeds.source_http:HttpSource",
        "proc": "vagus.feeds.source_proc:ProcSource",
        "file": "vagus.feeds.source_file:FileSource",
        "gateway": "vagus.feeds.source_gateway:GatewaySource",
    },
)

FORMATS: Registry[Format] = Registry(
    "vagus.formats",
    {
        "text": "vagus.feeds.format_text:Text",
        "json": "vagus.feeds.format_json:Json",
        "entries": "vagus.feeds.format_entries:Entries",
        "uptime": "vagus.feeds.format_uptime:Uptime",
    },
)
