"""Samples and events as applications send them, over HTTP or the node's socket; typed and bounded while decoded."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated

import msgspec
from msgspec import Meta

from vagus.errors import ConfigError
from vagus.inputs.names import MAX_EVENT_FIELDS, MAX_TEXT
from vagus.model import (
    MAX_FIELDS,
    MAX_LABEL_VALUE,
    MAX_LABELS,
    MAX_NAME,
    Event,
    Field,
    Level,
    Sample,
    Scalar,
    Stream,
    check_time,
)

MAX_PARCEL_BYTES = 64 << 10
MAX_ITEMS = 1000
MAX_EXACT = 1 << 53

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
Kind = Annotated[
    str, Meta(min_length=1, max_length=MAX_NAME, description="dotted words of letters, digits and _, such as app.queue")
]
Time = Annotated[int, Meta(description="nanoseconds since the epoch, 1970 to 2100, at most 1 h ahead; default: now")]
LabelValue = Annotated[str, Meta(max_length=MAX_LABEL_VALUE)]
Text = Annotated[str, Meta(max_length=MAX_TEXT)]


class _Body(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Base: an unknown field is an error, so that a typing mistake is never silently ignored."""


class SampleBody(_Body, frozen=True):
    """One reading of a stream: its kind and labels, and a number for each field; null where one is missing.

    Fields are float64, but those named in `counters` (they only grow) whose values are whole are unsigned 64-bit.
    """

    kind: Kind
    values: Annotated[dict[Name, int | float | None], Meta(min_length=1, max_length=MAX_FIELDS)]
    labels: Annotated[dict[Name, LabelValue], Meta(max_length=MAX_LABELS)] = {}
    t_ns: Time | None = None
    units: Annotated[dict[Name, Annotated[str, Meta(max_length=40)]], Meta(max_length=MAX_FIELDS)] = {}
    counters: Annotated[list[Name], Meta(max_length=MAX_FIELDS)] = []


class SamplesBody(_Body, frozen=True):
    """Several readings; when one is malformed none is taken."""

    samples: Annotated[list[SampleBody], Meta(min_length=1, max_length=MAX_ITEMS)]


class EventBody(_Body, frozen=True):
    """Something that happened, with typed fields."""

    event: Name
    t_ns: Time | None = None
    level: Level = Level.INFO
    source: Annotated[str, Meta(max_length=MAX_NAME)] = ""
    fields: Annotated[dict[Name, Text | int | float | bool], Meta(max_length=MAX_EVENT_FIELDS)] = {}


class EventsBody(_Body, frozen=True):
    """Several events; when one is malformed none is taken."""

    events: Annotated[list[EventBody], Meta(min_length=1, max_length=MAX_ITEMS)]


class Parcel(_Body, frozen=True):
    """What a program sends in one datagram to the node's socket, in MessagePack."""

    samples: Annotated[list[SampleBody], Meta(max_length=MAX_ITEMS)] = []
    events: Annotated[list[EventBody], Meta(max_length=MAX_ITEMS)] = []


_parcel = msgspec.msgpack.Decoder(Parcel)


def read_parcel(data: bytes, node: str, now_ns: int) -> tuple[list[Sample], list[Event]]:
    """The samples and events of a datagram. Raises ConfigError: too long, not MessagePack, or one is malformed."""
    if not data or len(data) > MAX_PARCEL_BYTES:
        raise ConfigError(f"a parcel has {len(data)} bytes; 1 to {MAX_PARCEL_BYTES} are allowed")
    try:
        parcel = _parcel.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ConfigError(f"not a parcel in MessagePack: {error}") from error
    samples = [sample_of(item, node, now_ns) for item in parcel.samples]
    return samples, [event_of(item, node, now_ns) for item in parcel.events]


def sample_of(body: SampleBody, node: str, now_ns: int) -> Sample:
    """The reading at `node`. Raises ConfigError: a name that is none, a number that its field cannot hold exactly."""
    given = body.values
    if body.counters or body.units:
        unknown = (set(body.counters) | body.units.keys()) - given.keys()
        if unknown:
            raise ConfigError(f"{sorted(unknown)[0]!r} is named in counters or units but has no value")
    names = tuple(sorted(given))
    whole = tuple(type(given[name]) is int for name in names) if body.counters else ()
    counters, units = tuple(sorted(body.counters)), tuple(sorted(body.units.items()))
    stream = _stream(node, body.kind, names, whole, counters, units, tuple(sorted(body.labels.items())))
    values = tuple(_value(name, given[name], field) for name, field in zip(names, stream.fields, strict=True))
    return Sample(stream, now_ns if body.t_ns is None else check_time(body.t_ns), values)


@lru_cache(maxsize=4096)
def _stream(
    node: str,
    kind: str,
    names: tuple[str, ...],
    whole: tuple[bool, ...],
    counters: tuple[str, ...],
    units: tuple[tuple[str, str], ...],
    labels: tuple[tuple[str, str], ...],
) -> Stream:
    unit = dict(units)
    fields = tuple(
        Field(name, unit.get(name, ""), "u8" if name in counters and whole[index] else "f8", name in counters)
        for index, name in enumerate(names)
    )
    return Stream(node, kind, fields, dict(labels))


def _value(name: str, value: float | None, field: Field) -> float | int:
    if field.dtype == "u8":
        if value is None or not 0 <= value < 1 << 64:
            raise ConfigError(f"counter {name}={value} is not between 0 and 2**64")
        return value
    if value is None:
        return math.nan
    if isinstance(value, int) and not -MAX_EXACT <= value <= MAX_EXACT:
        raise ConfigError(f"{name}={value} is not exact as a float64: name it in counters, or send a float")
    return float(value)


def event_of(body: EventBody, node: str, now_ns: int) -> Event:
    """The event at `node`. Raises ConfigError."""
    fields: dict[str, Scalar] = body.fields
    return Event(now_ns if body.t_ns is None else body.t_ns, body.event, node, body.level, body.source, fields)
