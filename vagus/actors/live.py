"""What is live on a node: the newest sample of each stream, and the newest arrivals with their values."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from vagus.actors.arrivals import Arrival, Arrivals
from vagus.actors.interest import narrow
from vagus.model import Event, Sample, Stream
from vagus.selector import parse

MAX_TICKS = 120  # kept with their values: what a subscription gets without asking the archive
MAX_VALUES = 200_000  # of all items kept, as `_weight` counts them: some 20 MB
MAX_STREAMS = 50_000


class Tick(NamedTuple):
    """One arrival with its values: samples, then events; weight: how many values, as `_weight` counts events."""

    arrival: Arrival
    items: Sequence[Sample | Event]
    weight: int = 0


class Live:
    """What is live on this node. `publish` costs the same however many read."""

    def __init__(self, arrivals: Arrivals | None = None) -> None:
        self.arrivals = arrivals or Arrivals("0", 1)
        self.refused = 0  # samples of streams beyond MAX_STREAMS: stored, but not live
        self.ticks: deque[Tick] = deque()
        self._values = 0
        self._latest: dict[Stream, list[Sample]] = {}  # a list of one, the newest
        self._places: dict[int, list[Sample]] = {}  # the same by id of the stream object: no hashing of labels
        self._waiting: list[asyncio.Future[None]] = []

    def publish(self, arrival: Arrival, samples: Sequence[Sample], events: Sequence[Event] = ()) -> None:
        """Keeps what was committed, in the order in which it was, and wakes who waits."""
        places = self._places
        values = 0
        for sample in samples:
            values += len(sample.values)
            place = places.get(id(sample.stream))
            if place is None or place[0].stream is not sample.stream:
                place = self._place(sample)
                if place is None:
                    continue
            place[0] = sample
        weight = len(samples) + values + sum(map(_weight, events))
        self.ticks.append(Tick(self.arrivals.add(arrival), (*samples, *events), weight))
        self._values += weight
        while len(self.ticks) > 1 and (len(self.ticks) > MAX_TICKS or self._values > MAX_VALUES):
            self._values -= self.ticks.popleft().weight
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            _wake(waiter)

    def _place(self, sample: Sample) -> list[Sample] | None:
        place = self._latest.get(sample.stream)
        if place is None:
            if len(self._latest) >= MAX_STREAMS:
                self.refused += 1
                return None
            place = self._latest[sample.stream] = [sample]
        if len(self._places) > 2 * len(self._latest) + 1000:
            self._places.clear()
        self._places[id(sample.stream)] = place
        return place

    async def wait(self, timeout_s: float) -> None:
        """Returns at the next `publish`, or after so long. Waits from the call on: none slips through."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiting.append(waiter)
        late = loop.call_later(timeout_s, _wake, waiter)
        try:
            await waiter
        finally:
            late.cancel()
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def forget(self, before_ns: int) -> None:
        """Drops streams that have been silent since `before_ns`: a disk or a process that is gone."""
        gone = [stream for stream, (sample,) in self._latest.items() if sample.t_ns < before_ns]
        for stream in gone:
            del self._latest[stream]
        if gone:
            self._places.clear()

    def latest(self, selectors: Iterable[str]) -> list[Sample]:
        """The newest samples that any of the selectors selects, narrowed: one a selector, where they want other fields of
        a stream. Raises ConfigError."""
        compiled = [parse(text) for text in selectors]
        found = []
        for (sample,) in self._latest.values():
            parts = [narrowed for selector in compiled if (narrowed := narrow(sample, selector)) is not None]
            found += [sample] if any(part is sample for part in parts) else parts
        return found

    def streams(self) -> list[Stream]:
        """The streams that are live."""
        return list(self._latest)

    def series(self) -> int:
        """How many single series are live."""
        return sum(len(stream.fields) for stream in self._latest)

    def last_ns(self, stream: Stream) -> int:
        """Time of the newest sample of a live stream; 0 when it is not live."""
        place = self._latest.get(stream)
        return place[0].t_ns if place else 0


def _weight(event: Event) -> int:
    """An event and its long texts, as so many values."""
    texts = sum(len(value) // 64 for value in event.fields.values() if isinstance(value, str))
    return 8 + 2 * len(event.fields) + texts


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
