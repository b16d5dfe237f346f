"""What a subscription asks for: samples by selector, events by glob patterns of their names."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import translate
from functools import lru_cache

from vagus.errors import ConfigError
from vagus.model import Event, Sample, Stream
from vagus.selector import Selector, parse_stored

MAX_EVENTS_TEXT = 500
MAX_CACHED = 20_000


def narrow(sample: Sample, selector: Selector) -> Sample | None:
    """The sample with only the selected fields, or None."""
    found = narrower(sample.stream, selector)
    return None if found is None else found(sample)


def narrower(stream: Stream, selector: Selector) -> Callable[[Sample], Sample] | None:
    """What narrows samples of a stream to the selected fields; None when no field is selected."""
    indexes = selector.fields(stream)
    if not indexes:
        return None
    if len(indexes) == len(stream.fields):
        return _whole
    fields = tuple(stream.fields[i] for i in indexes)
    kept = Stream(node=stream.node, kind=stream.kind, fields=fields, labels=stream.labels)
    return lambda sample: Sample(kept, sample.t_ns, tuple(sample.values[i] for i in indexes))


def _whole(sample: Sample) -> Sample:
    return sample


class Interest:
    """A compiled pair of selector and event patterns; either may be empty. Raises ConfigError."""

    def __init__(self, selector: str, events: str = "") -> None:
        if len(events) > MAX_EVENTS_TEXT:
            raise ConfigError(f"the patterns of events have {len(events)} characters; at most {MAX_EVENTS_TEXT}")
        self.selector = parse_stored(selector) if selector else None
        patterns = [p.strip() for p in events.split(",") if p.strip()]
        self._events = re.compile("|".join(translate(p) for p in patterns)) if patterns else None
        self._known: dict[int, tuple[Stream, Callable[[Sample], Sample] | None]] = {}

    @property
    def events(self) -> bool:
        """Whether any events are asked for."""
        return self._events is not None

    def pick(self, record: Sample | Event) -> Sample | Event | None:
        """The record, narrowed to the selected fields, or None."""
        if isinstance(record, Event):
            return record if self._events is not None and self._events.match(record.event) else None
        if self.selector is None:
            return None
        stream = record.stream
        known = self._known.get(id(stream))  # collectors give the same object at each tick: no hashing of labels
        if known is None or known[0] is not stream:
            if len(self._known) > MAX_CACHED:
                self._known.clear()
            known = self._known[id(stream)] = (stream, narrower(stream, self.selector))
        return None if known[1] is None else known[1](record)


@lru_cache(maxsize=256)
def interest(selector: str, events: str = "") -> Interest:
    """The compiled interest, cached. Raises ConfigError."""
    return Interest(selector, events)
