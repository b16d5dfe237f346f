"""The items of a subscription as bytes: encoded once, sent to every reader of the same selection and form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple
from urllib.parse import quote, unquote

import msgspec

from vagus.client.tail import Happened, Tick
from vagus.errors import ConfigError
from vagus.model import Event, Sample

Form = Literal["lines", "events", "parts", "array", "msgpack"]
"""lines: JSON, one a line; events: server-sent, with ids; parts: the JSON of each for who composes ids of several
nodes; array: JSON with commas between; msgpack: maps one after the other."""

MAX_NODES = 1000
_json = msgspec.json.Encoder().encode
_msgpack = msgspec.msgpack.Encoder().encode


class Chunk(NamedTuple):
    """Some items of one node in one form, and the node's position after them; or a notice (then no items)."""

    data: bytes
    items: int
    node: str
    after: str
    parts: tuple[tuple[str, bytes], ...] = ()
    notice: Mapping[str, object] | None = None


def encode(form: Form, node: str, after: str, items: Iterable[tuple[str, Sample | Event]]) -> Chunk:
    """The items of a page."""
    name = quote(node, safe="")
    made = [(position, _shown(record, f"{name}={position}")) for position, record in items]
    if form == "msgpack":
        return Chunk(b"".join([_msgpack(item) for _, item in made]), len(made), node, after)
    if form == "parts":
        return Chunk(b"", len(made), node, after, tuple((position, _json(item)) for position, item in made))
    if form == "events":
        data = b"".join([b"id: %b\ndata: %b\n\n" % (item.id.encode(), _json(item)) for _, item in made])
        return Chunk(data, len(made), node, after)
    between = b"," if form == "array" else b"\n"
    data = between.join([_json(item) for _, item in made])
    return Chunk(data + b"\n" if form == "lines" and made else data, len(made), node, after)


def _shown(record: Sample | Event, position: str) -> Tick | Happened:
    if isinstance(record, Event):
        r = record
        return Happened(r.t_ns, r.node, r.event, r.level.value, r.source, r.fields, position)
    stream = record.stream
    values: dict[str, float | int | None] = dict(
        zip([field.name for field in stream.fields], record.values, strict=True)
    )
    return Tick(record.t_ns, stream.node, stream.kind, stream.labels, values, position)


def positions_text(positions: Mapping[str, str]) -> str:
    """Positions of several nodes as one text: `node=position,node=position`."""
    return ",".join(f"{quote(node, safe='')}={position}" for node, position in positions.items())


def positions_of(text: str) -> dict[str, str]:
    """What `positions_text` made. Raises ConfigError."""
    found: dict[str, str] = {}
    for part in text.split(","):
        if not part:
            continue
        node, equals, position = part.partition("=")
        if not (node and equals and position) or len(found) >= MAX_NODES:
            raise ConfigError(f"{part[:80]!r} is no node=position: send back the id of an item as it came")
        found[unquote(node)] = position
    return found


Allow = Callable[[str, str], bool]
"""Whether the reader may see, of that node, a stream's kind or an event's name."""
