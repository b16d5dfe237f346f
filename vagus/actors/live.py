"""The newest sample of each stream, and who wants the next ones. A slow subscriber loses its own oldest ticks."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence

from vagus.model import Sample, Stream
from vagus.selector import Selector, parse

MAX_TICKS_QUEUED = 120
MAX_STREAMS = 50_000


class Subscription:
    """A bounded queue of ticks; `lost` counts those that were dropped because the reader was slow."""

    def __init__(self, selector: Selector) -> None:
        self.selector = selector
        self.lost = 0
        self._ticks: deque[list[Sample]] = deque(maxlen=MAX_TICKS_QUEUED)
        self._more = asyncio.Event()

    def offer(self, samples: Sequence[Sample]) -> None:
        """Queues the samples that are selected, narrowed to the selected fields."""
        wanted = [narrowed for s in samples if (narrowed := narrow(s, self.selector)) is not None]
        if wanted:
            self.lost += len(self._ticks) == self._ticks.maxlen
            self._ticks.append(wanted)
            self._more.set()

    async def ticks(self) -> AsyncIterator[list[Sample]]:
        """One list per tick, for ever."""
        while True:
            while self._ticks:
                yield self._ticks.popleft()
            self._more.clear()
            await self._more.wait()


def narrow(sample: Sample, selector: Selector) -> Sample | None:
    """The sample with only the selected fields, or None."""
    indexes = selector.fields(sample.stream)
    if not indexes:
        return None
    if len(indexes) == len(sample.stream.fields):
        return sample
    s = sample.stream
    stream = Stream(node=s.node, kind=s.kind, fields=tuple(s.fields[i] for i in indexes), labels=s.labels)
    return Sample(stream, sample.t_ns, tuple(sample.values[i] for i in indexes))


class Live:
    """What is live on this node."""

    def __init__(self) -> None:
        self.refused = 0  # samples of streams beyond MAX_STREAMS: stored, but not live
        self._latest: dict[Stream, Sample] = {}
        self._subscriptions: set[Subscription] = set()

    def publish(self, samples: Sequence[Sample]) -> None:
        """Keeps the newest samples and offers them to the subscribers."""
        latest = self._latest
        for sample in samples:
            if len(latest) < MAX_STREAMS or sample.stream in latest:
                latest[sample.stream] = sample
            else:
                self.refused += 1
        for subscription in self._subscriptions:
            subscription.offer(samples)

    def forget(self, before_ns: int) -> None:
        """Drops streams that have been silent since `before_ns`: a disk or a process that is gone."""
        gone = [s for s, sample in self._latest.items() if sample.t_ns < before_ns]
        for stream in gone:
            del self._latest[stream]

    def latest(self, selectors: Iterable[str]) -> list[Sample]:
        """The newest samples that any of the selectors selects, narrowed. Raises ConfigError."""
        compiled = [parse(text) for text in selectors]
        found = []
        for sample in self._latest.values():
            for selector in compiled:
                narrowed = narrow(sample, selector)
                if narrowed is not None:
                    found.append(narrowed)
                    break
        return found

    def series(self) -> int:
        """How many single series are live."""
        return sum(len(stream.fields) for stream in self._latest)

    def last_ns(self, stream: Stream) -> int:
        """Time of the newest sample of a live stream; 0 when it is not live."""
        sample = self._latest.get(stream)
        return sample.t_ns if sample else 0

    async def subscribe(self, selector: str) -> AsyncIterator[list[Sample]]:
        """Live ticks from now on."""
        subscription = Subscription(parse(selector))
        self._subscriptions.add(subscription)
        try:
            async for tick in subscription.ticks():
                yield tick
        finally:
            self._subscriptions.discard(subscription)
