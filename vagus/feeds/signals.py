"""What a feed says to the rest of the node: numbers of its items as samples, its fetches as samples and reports.

Pure. Feeds of changing shape (JSON) keep one stream for each location: it only gains fields, absent ones are NaN.
"""

from __future__ import annotations

import enum
import math
import re
from functools import lru_cache
from typing import Any

import msgspec

from vagus.clock import NS
from vagus.feeds import Fetched, Item, Net
from vagus.feeds.location import HTTP, scheme, shown
from vagus.model import MAX_LABEL_VALUE, MAX_NAME, Field, Metric, Report, Sample, Status, Stream

MAX_LEAVES = 500
MAX_DEPTH = 16
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


def leaves(value: Any) -> dict[str, float]:
    """The numbers of a value by their path, `a_b_0` for `{"a": {"b": [1]}}`; true is 1. At most 500, 16 deep."""
    found: dict[str, float] = {}
    _gather(value, "", MAX_DEPTH, found)
    return found


def _gather(value: Any, path: str, depth: int, found: dict[str, float]) -> None:
    if len(found) >= MAX_LEAVES:
        return
    if isinstance(value, (int, float)) and not isinstance(value, enum.Enum):
        found.setdefault(path or "value", float(value) if abs(value) < 1e308 else math.nan)
        return
    parts: Any
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, (list, tuple)):
        parts = enumerate(value)
    elif isinstance(value, msgspec.Struct):
        parts = ((name, getattr(value, name)) for name in value.__struct_fields__)
    else:
        return
    if depth:
        for key, part in parts:
            _gather(part, word(f"{path}_{key}" if path else str(key)), depth - 1, found)


class Signals:
    """Makes samples and reports of one feed on one node; remembers its streams and what it last reported."""

    def __init__(self, feed: str, node: str) -> None:
        self._feed = feed
        self._node = node
        self._streams: dict[str, Stream] = {}
        self._fetches: dict[str, Stream] = {}
        self._failures: dict[str, int] = {}
        self._reported: dict[str, tuple[Status, int]] = {}

    def values(self, item: Item[Any]) -> Sample | None:
        """The numbers of an item as a sample of stream `feed.NAME{location=…}`; None when it has none."""
        found = leaves(item.value)
        if not found:
            return None
        stream = self._streams.get(item.meta.location)
        known = stream.fields if stream else ()
        fresh = found.keys() - {field.name for field in known}
        if stream is None or (fresh and len(known) < MAX_LEAVES):
            added = tuple(Field(name, _unit(name)) for name in found if name in fresh)
            labels = {"location": shown(item.meta.location, MAX_LABEL_VALUE)}
            stream = Stream(self._node, f"feed.{word(self._feed)}", (known + added)[:MAX_LEAVES], labels)
            self._streams[item.meta.location] = stream
        values = tuple(found.get(field.name, math.nan) for field in stream.fields)
        return Sample(stream, item.meta.arrived_ns, values)

    def fetch(self, location: str, fetched: Fetched, duration_s: float, errors: int, t_ns: int) -> Sample:
        """One fetch as a sample of stream `feed.fetch{feed=, location=}`; ok is 1 or 0, errors those of the parse."""
        stream = self._fetches.get(location)
        if stream is None:
            labels = {"feed": self._feed[:MAX_LABEL_VALUE], "location": shown(location, MAX_LABEL_VALUE)}
            stream = self._fetches[location] = Stream(self._node, "feed.fetch", FETCH_FIELDS, labels)
        ok = float(fetched.net in (Net.OK, Net.NOT_MODIFIED))
        return Sample(stream, t_ns, (duration_s, float(len(fetched.body)), ok, float(errors)))

    def report(self, location: str, fetched: Fetched, t_ns: int) -> Report | None:
        """What this fetch says of its location's health; score: failures in a row. None: nothing new and healthy."""
        status = STATUSES.get(fetched.net, Status.UNHEALTHY)
        failures = 0 if status is Status.HEALTHY else self._failures.get(location, 0) + 1
        self._failures[location] = failures
        last, last_ns = self._reported.get(location, (Status.NA, 0))
        if status is Status.HEALTHY is last and 0 <= t_ns - last_ns < HEALTHY_AGAIN_S * NS:
            return None
        self._reported[location] = (status, t_ns)
        observer = f"feed:{self._feed}@{self._node}"[:MAX_NAME]
        metric = Metric(status, float(failures))
        return Report(observer, self.subject(location), t_ns, {"fetch": metric})

    def subject(self, location: str) -> str:
        """Whose health a location is: what is only meaningful on this node (a command, a file) is named with it."""
        if scheme(location) in HTTP:
            return shown(location, MAX_NAME)
        return f"{shown(location, MAX_NAME - len(self._node) - 1)}@{self._node}"


def _unit(name: str) -> str:
    return next((unit for suffix, unit in _UNITS if name.endswith(suffix)), "")
