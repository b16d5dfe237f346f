"""What this room holds by name: sources fetch, formats parse, steps preprocess, tools make something of items.

To add one: a file with a class like the Protocol below, and a line in the registry.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from vagus.config import MailSettings
from vagus.feeds.item import Descriptor, Fetched, Item
from vagus.model import Status
from vagus.registry import Registry

T = TypeVar("T")


class Source(Protocol):
    """Fetches the bytes of one location, e.g. `http://…`. Never raises for what the far side does: that is `net`.

    Built as `Source(**options)` of the feed's `options["source"]`, one for each feed and class. The registered name
    is the scheme: what stands before the first colon of a location. A fetch takes at most `timeout_s` and returns at
    most `max_bytes`; when cancelled, it leaves nothing running.

    One that asks the far side only for what is new has `beside()`, another source for another feed, which may share
    connections but not what it remembers, and `forget(location)`: its last body is nobody's any more, so the next fetch
    is of all of it.
    """

    async def fetch(self, location: str, timeout_s: float, max_bytes: int) -> Fetched: ...

    async def close(self) -> None: ...


PAIR = "pair"
Kind = Literal["any", "bool", "int", "float", "string", "bytes", "time", "record", "union", "list", "optional", "map"]


class Shape(msgspec.Struct, frozen=True):
    """What the values of a format are like, for tools that work on every format.

    parts: of a record its fields; of a union its branches (name of the branch's class → shape); of a list, an
    optional or a map one part, named "". `any`: only the value itself tells (JSON without a declared form). A record
    with the name PAIR is a tuple; its fields are 0, 1.
    """

    kind: Kind
    name: str = ""
    parts: tuple[tuple[str, Shape], ...] = ()
    unit: str = ""


ANY_SHAPE = Shape("any")


class Format(Protocol[T]):
    """Parses a body into a value and its parse descriptor. Never raises: what is wrong is in the descriptor.

    The value is made of msgspec structs and JSON-ready builtins, with integers of 64 bits and finite floats; None
    when nothing could be made of the body. Built as `Format(**options)` of the feed's options, `source` left out;
    raises ConfigError for wrong ones.
    """

    name: str
    shape: Shape

    def parse(self, body: bytes) -> tuple[T | None, Descriptor]: ...

    def print(self, value: T) -> bytes:
        """The inverse of parse: `parse(print(v))` is v with a good descriptor.

        Raises NoData where the format cannot be printed, or not this value.
        """
        ...


class Step(Protocol):
    """A step before parsing: bytes to bytes, at most `max_bytes` of them. Raises ValueError for bytes it cannot take.

    Built as `Step(**options)`; raises ConfigError for wrong ones.
    """

    def apply(self, body: bytes, max_bytes: int) -> bytes: ...


class Notice(msgspec.Struct, frozen=True):
    """An alert that began, goes on (`again`) or ended; whoever runs the tool brings it to where it should go.

    status: UNHEALTHY while it stands, HEALTHY when it ended. report: whether it is told as a report on `subject`.
    """

    tool: str
    feed: str
    subject: str  # what the alert is about: a location, or what the tool was told
    rule: str  # which alert of the tool, such as "load1 > 5"
    status: Status
    t_ns: int
    since_ns: int
    text: str
    value: float | None = None
    again: bool = False
    report: bool = False
    event: bool = True  # whether it becomes an event
    webhooks: tuple[str, ...] = ()  # URLs
    mail: MailSettings | None = None


class ToolContext(msgspec.Struct, frozen=True):
    """What a tool is given: the feed's name and shape, the folder that its relative paths are in, this node's name."""

    feed: str
    folder: Path
    shape: Shape = ANY_SHAPE
    node: str = ""
    period_s: float = 0.0  # of the feed's schedule; 0: it has none of its own


class Tool(Protocol):
    """Makes something of a feed's items: a file, a table, a plot, an alert.

    Built as `Tool(context, **options)`; raises ConfigError for wrong options. All calls come one at a time and in order
    (though after a call that hung, from another thread); they may write files below the context's folder (or where an absolute path of the options says), and raise
    OSError or VagusError, which is counted and told and stops neither feed nor tool. Time is the items' own, and that
    of `tick`, which is called about once a second, so that a replay does what the live run did. After `finish`, which
    leaves all files whole, nothing is called any more.

    A tool that wants the bytes says `wants_raw = True`, and has `take_raw(raw)`, which is called before the `take` of
    an item that was parsed from them: each time with the same object where several items were.
    One that wants to know where in a value the errors are says `wants_descriptor = True`, and has
    `take_descriptor(descriptor)`, which is called before each `take`, with None where nothing is known of the parts.
    Where feeds are spread over nodes, one with a tool is at one node whole, unless all of its tools say
    `in_parts = True`: they do as well with a part of the locations each.
    """

    name: str

    def take(self, item: Item[Any]) -> Iterable[Notice]: ...

    def tick(self, now_ns: int) -> Iterable[Notice]: ...

    def finish(self, now_ns: int) -> Iterable[Notice]: ...


SOURCES: Registry[Source] = Registry(
    "vagus.sources",
    {
        "http": "vagus.feeds.sources.http_plain:HttpPlainSource",
        "https": "vagus.feeds.sources.http:HttpSource",
        "proc": "vagus.feeds.sources.proc:ProcSource",
        "file": "vagus.feeds.sources.file:FileSource",
        "gateway": "vagus.feeds.sources.gateway:GatewaySource",
    },
)

FORMATS: Registry[Format[Any]] = Registry(
    "vagus.formats",
    {
        "text": "vagus.feeds.formats.text:Text",
        "json": "vagus.feeds.formats.json:Json",
        "ndjson": "vagus.feeds.formats.ndjson:NdJson",
        "csv": "vagus.feeds.formats.csv:Csv",
        "openmetrics": "vagus.feeds.formats.openmetrics:OpenMetrics",
        "rss": "vagus.feeds.formats.rss:Rss",
        "entries": "vagus.feeds.formats.declared:entries",
        "record": "vagus.feeds.formats.declared:record",
        "lines": "vagus.feeds.formats.declared:lines",
        "uptime": "vagus.feeds.formats.uptime:Uptime",
        "ping": "vagus.feeds.formats.ping:PingOutput",
        "common_log": "vagus.feeds.formats.weblog:common_log",
        "combined_log": "vagus.feeds.formats.weblog:combined_log",
        "syslog": "vagus.feeds.formats.syslog:Syslog",
        "hosts": "vagus.feeds.formats.hosts:hosts",
        "comon": "vagus.feeds.formats.comon:comon",
        "comon_slices": "vagus.feeds.formats.comon_slices:comon_slices",
    },
)

STEPS: Registry[Step] = Registry(
    "vagus.steps",
    {
        "gzip": "vagus.feeds.preprocess_expand:Gzip",
        "bz2": "vagus.feeds.preprocess_expand:Bz2",
        "xz": "vagus.feeds.preprocess_expand:Xz",
        "zstd": "vagus.feeds.preprocess_expand:Zstd",
        "decrypt": "vagus.feeds.preprocess_decrypt:Decrypt",
    },
)

TOOLS: Registry[Tool] = Registry(
    "vagus.tools",
    {
        "accum": "vagus.feeds.tools.accum:Accum",
        "print": "vagus.feeds.tools.printed:Print",
        "select": "vagus.feeds.tools.select:Select",
        "xml": "vagus.feeds.tools.xml:Xml",
        "alert": "vagus.feeds.tools.alert:Alert",
        "archive": "vagus.feeds.tools.archive:Archive",
        "db": "vagus.feeds.tools.db:Db",
        "plot": "vagus.feeds.tools.plot:Plot",
        "rrd": "vagus.feeds.tools.rrd:Rrd",
        "rss": "vagus.feeds.tools.rss:Rss",
    },
)
