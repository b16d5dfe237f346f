"""What a feed says to the rest of the node: numbers of its items as samples, its fetches as samples and reports.

Pure. Feeds of changing shape (JSON) keep one stream for each location: it only gains fields, absent ones are NaN.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from vagus.clock import NS
from vagus.feeds.contracts import ANY_SHAPE, Shape
from vagus.feeds.item import Fetched, Item, Net
from vagus.feeds.location import HTTP, scheme, shown
from vagus.model import MAX_LABEL_VALUE, MAX_NAME, Field, Metric, Report, Sample, Status, Stream

K = TypeVar("K")
V = TypeVar("V")
MAX_LEAVES = 500
MAX_DEPTH = 16
MAX_STREAMS = 5000  # of one feed: locations, and parts of flattened values
MAX_PLACES = 100_000  # locations of a base whose fetches are remembered
IDLE_NS = 3600 * NS
HEALTHY_AGAIN_S = 30.0  # how often an unchanged good state is repeated

FETCH_FIELDS = (Field("duration_s", "s"), Field("size_bytes", "bytes"), Field("ok"), Field("errors"))
STATUSES = {
    Net.OK: Status.HEALTHY,
    Net.NOT_MODIFIED: Status.HEALTHY,
    Net.TOO_LARGE: Status.MAYBE_UNHEALTHY,
}
_NOT_WORD = re.compile(r"[^A-Za-z0-9_]+")
_UNITS = (("_bytes", "bytes"), ("_ratio", "ratio"), ("_ns", "ns"), ("_ms", "ms"), ("_s", "s"))


@lru_cache(8192)
def word(text: str) -> str:
    """Text as one word of a stream's kind or a field's name: `[A-Za-z_][A-Za-z0-9_]*`."""
    plain = _NOT_WORD.sub("_", text)[: MAX_NAME // 2] or "_"
    return f"_{plain}" if plain[0].isdigit() else plain


def kind_of(feed: str) -> str:
    """The kind of the streams of a feed, `feed.NAME`; access rules name its items by it, too."""
    return "feed." + ".".join(map(word, feed.split("."))) if feed else "feed"


def leaves(value: Any) -> dict[str, float]:
    """The numbers of a value by their path, `a_b_0` for `{"a": {"b": [1]}}`; at most 500, 16 deep.

    True is 1, a time its seconds since the epoch. Of a union the branch that matched has its fields.
    """
    found: dict[str, float] = {}
    _gather(value, "", MAX_DEPTH, found)
    return found


def _gather(value: Any, path: str, depth: int, found: dict[str, float]) -> None:
    kind = type(value)
    if kind is float or kind is int or kind is bool:
        if len(found) < MAX_LEAVES:
            found.setdefault(path or "value", float(value) if -1e308 < value < 1e308 else math.nan)
        return
    if kind is str or value is None or len(found) >= MAX_LEAVES or isinstance(value, enum.Enum):
        return
    parts: Iterable[tuple[Any, Any]]
    if isinstance(value, msgspec.Struct):
        parts = [(name, getattr(value, name)) for name in value.__struct_fields__]
    elif isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, (list, tuple)):
        parts = enumerate(value[:MAX_LEAVES])
    elif isinstance(value, (int, float)):
        return _gather(float(value) if abs(value) < 1e308 else math.nan, path, depth, found)
    elif isinstance(value, datetime):
        return _gather(value.timestamp(), path, depth, found)
    else:
        return
    if depth:
        for key, part in parts:
            if part is not None and type(part) is not str:
                _gather(part, _joined(path, key), depth - 1, found)


@lru_cache(8192)
def _joined(path: str, key: Any) -> str:
    return word(f"{path}_{key}" if path else str(key))


def units_of(shape: Shape) -> dict[str, str]:
    """The units that a shape declares, by the path of the leaf."""
    found: dict[str, str] = {}

    def walk(shape: Shape, path: str, depth: int) -> None:
        if shape.unit and len(found) < MAX_LEAVES:
            found[path or "value"] = shape.unit
        for name, part in shape.parts if depth else ():
            if shape.kind == "record":
                walk(part, _joined(path, name), depth - 1)
            elif shape.kind in ("union", "optional"):
                walk(part, path, depth - 1)

    walk(shape, "", MAX_DEPTH)
    return found


class Kept(dict[K, V]):
    """The newest `most` entries; `use` makes one the newest again."""

    def __init__(self, most: int) -> None:
        self._most = most

    def use(self, key: K) -> V | None:
        """The value of a key, which is the newest from now on."""
        value = self.pop(key, None)
        if value is not None:
            self[key] = value
        return value

    def keep(self, key: K, value: V) -> None:
        """Adds or replaces a value; the oldest gives way."""
        self.pop(key, None)
        self[key] = value
        if len(self) > self._most:
            del self[next(iter(self))]


class Signals:
    """Makes samples and reports of one feed on one node; remembers its streams and what it last reported.

    Memory is bounded: beyond MAX_STREAMS streams a new one is made only where another was silent for an hour; items
    of others are counted in `unstreamed`, and are in the archive as all are.
    """

    def __init__(self, feed: str, node: str, shape: Shape = ANY_SHAPE) -> None:
        self.unstreamed = 0
        self._units = units_of(shape)
        self._feed = feed
        self._node = node
        self._kind = kind_of(feed)
        self._streams: Kept[tuple[str, str], tuple[Stream, int]] = Kept(MAX_STREAMS)
        self._fetches: Kept[str, Stream] = Kept(MAX_PLACES)
        self._failures: Kept[str, int] = Kept(MAX_PLACES)
        self._reported: Kept[str, tuple[Status, int]] = Kept(MAX_PLACES)

    @property
    def observer(self) -> str:
        """In whose name reports are made."""
        return f"feed:{self._feed}@{self._node}"[:MAX_NAME]

    def values(self, item: Item[Any]) -> Sample | None:
        """The numbers of an item as a sample of stream `feed.NAME{location=…}`; None when it has none.

        A part of a flattened value has its index as the label `part`.
        """
        meta = item.meta
        found = leaves(item.value)
        if not found:
            return None
        key = meta.location, meta.part
        known = self._streams.use(key)
        stream = known[0] if known is not None else None
        fields = stream.fields if stream is not None else ()
        if len(found) != len(fields) or any(map(str.__ne__, found, [field.name for field in fields])):
            fresh = found.keys() - {field.name for field in fields}
            if stream is None or (fresh and len(fields) < MAX_LEAVES):
                if stream is None and not self._room(meta.arrived_ns):
                    self.unstreamed += 1
                    return None
                added = tuple(Field(name, self._units.get(name) or _unit(name)) for name in found if name in fresh)
                stream = Stream(self._node, self._kind, (fields + added)[:MAX_LEAVES], self._labels(*key))
            values = tuple([found.get(field.name, math.nan) for field in stream.fields])
        else:
            values = tuple(found.values())
        assert stream is not None
        self._streams.keep(key, (stream, meta.arrived_ns))
        return Sample(stream, meta.arrived_ns, values)

    def _room(self, now_ns: int) -> bool:
        """Whether there may be a stream more."""
        if len(self._streams) < MAX_STREAMS:
            return True
        _, used_ns = next(iter(self._streams.values()))
        return not 0 <= now_ns - used_ns < IDLE_NS

    def _labels(self, location: str, part: str) -> dict[str, str]:
        labels = {"location": shown(location, MAX_LABEL_VALUE)}
        if part:
            labels["part"] = shown(part, MAX_LABEL_VALUE)
        if self._kind != f"feed.{self._feed}":  # a-b and a.b are two feeds
            labels["feed"] = self._feed[:MAX_LABEL_VALUE]
        return labels

    def fetch(self, location: str, fetched: Fetched, duration_s: float, errors: int, t_ns: int) -> Sample:
        """One fetch as a sample of stream `feed.fetch{feed=, location=}`; ok is 1 or 0, errors those of the parse."""
        stream = self._fetches.use(location)
        if stream is None:
            labels = {"feed": self._feed[:MAX_LABEL_VALUE], "location": shown(location, MAX_LABEL_VALUE)}
            stream = Stream(self._node, "feed.fetch", FETCH_FIELDS, labels)
            self._fetches.keep(location, stream)
        ok = float(fetched.net in (Net.OK, Net.NOT_MODIFIED))
        return Sample(stream, t_ns, (duration_s, float(len(fetched.body)), ok, float(errors)))

    def report(self, location: str, fetched: Fetched, t_ns: int) -> Report | None:
        """What this fetch says of its location's health; score: failures in a row. None: nothing new and healthy."""
        status = STATUSES.get(fetched.net, Status.UNHEALTHY)
        failures = 0 if status is Status.HEALTHY else self._failures.get(location, 0) + 1
        if failures:
            self._failures.keep(location, failures)
        else:
            self._failures.pop(location, None)
        last, last_ns = self._reported.use(location) or (Status.NA, 0)
        if status is Status.HEALTHY is last and 0 <= t_ns - last_ns < HEALTHY_AGAIN_S * NS:
            return None
        self._reported.keep(location, (status, t_ns))
        metric = Metric(status, float(failures))
        return Report(self.observer, self.subject(location), t_ns, {"fetch": metric})

    def subject(self, location: str) -> str:
        """Whose health a location is: what is only meaningful on this node (a command, a file) is named with it."""
        if scheme(location) in HTTP:
            return shown(location, MAX_NAME)
        return f"{shown(location, MAX_NAME - len(self._node) - 1)}@{self._node}"


def _unit(name: str) -> str:
    return next((unit for suffix, unit in _UNITS if name.endswith(suffix)), "")
