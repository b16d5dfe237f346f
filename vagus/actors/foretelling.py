"""Forecasts of what is live: one bank over all series of a node, a step at each tick."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vagus.config import ForecastSettings
from vagus.forecast import Bank
from vagus.forecast.rates import Rates
from vagus.forecast.trend import LABELS, Trend
from vagus.model import Outlook, Sample, Stream
from vagus.selector import parse
from vagus.store import Batch

WARM_ROWS = 120  # of the archive, from which a new life learns
ROOM = 64  # series that are added at once, at least: growing copies the bank

Floats = npt.NDArray[np.float64]


class _Span(NamedTuple):
    """Where a stream's series are, and which of its fields they are."""

    start: int
    fields: tuple[int, ...]
    whole: bool


class Foretelling:
    """`update` takes each tick's samples, from one thread; `outlook` may be asked from another. Raises ConfigError.

    Counters are forecast as rates. Streams beyond settings.max_series are counted in `left_out` and have no forecast.
    """

    def __init__(self, settings: ForecastSettings) -> None:
        self.left_out = 0
        self.series = 0
        self._most = settings.max_series if settings.enabled else 0
        self._selectors = [parse(text) for text in settings.series]
        self._bank = Bank(0, forecasters=settings.forecasters)
        self._trend = Trend(0)
        self._rates = Rates(0, False)
        self._spans: dict[Stream, _Span | None] = {}  # None: not wanted, or no room
        self._near: dict[
            int, tuple[Stream, _Span | None]
        ] = {}  # the same by id of the stream object: no hashing of labels
        self._free: dict[int, list[int]] = {}  # starts of spans that are free, by their length
        self._end = 0  # how many series are in use or free
        self._values: Floats = np.empty(0)
        self._lock = threading.Lock()

    def update(self, samples: Sequence[Sample]) -> None:
        """One step of the bank with the values of a tick; series without a value are as before."""
        if not self._most:
            return
        with self._lock:
            spans = self._find(samples)
            values = np.full(self._bank.n, np.nan)
            times = np.zeros(self._bank.n, np.int64)
            for span, sample in zip(spans, samples, strict=True):
                if span is not None:
                    start, fields, whole = span
                    until, row = start + len(fields), sample.values
                    values[start:until] = row if whole else [row[i] for i in fields]
                    times[start:until] = sample.t_ns
            self._step(times, values)

    def warm(self, batches: Sequence[Batch]) -> None:
        """Learns from what is stored: the newest rows of each stream, step by step."""
        if not self._most or not batches:
            return
        times = np.unique(np.concatenate([batch.t_ns for batch in batches]))[-WARM_ROWS:]
        rows: dict[int, list[Sample]] = {int(t_ns): [] for t_ns in times}
        for batch in batches:
            columns = [column.tolist() for column in batch.columns]
            for k, t_ns in enumerate(batch.t_ns.tolist()):
                if t_ns in rows:
                    rows[t_ns].append(Sample(batch.stream, t_ns, tuple(column[k] for column in columns)))
        for samples in rows.values():
            self.update(samples)

    def outlook(self, stream: Stream) -> tuple[Outlook, ...]:
        """What is known of each field of a stream that is forecast; empty when it is not."""
        with self._lock:
            span = self._spans.get(stream)
            if span is None:
                return ()
            places = slice(span.start, span.start + len(span.fields))
            found = zip(
                span.fields,
                self._values[places].tolist(),
                self._bank.predict()[places].tolist(),
                self._bank.mse()[places].tolist(),
                [LABELS[at] for at in self._trend.label[places]],
                strict=True,
            )
            return tuple(Outlook(stream.fields[i].name, *known) for i, *known in found)

    def forget(self, alive: Iterable[Stream]) -> None:
        """Frees the series of all streams that are not alive."""
        with self._lock:
            gone = self._spans.keys() - set(alive)
            if gone:
                self._near.clear()
            for stream in gone:
                span = self._spans.pop(stream)
                if span is not None:
                    self._free.setdefault(len(span.fields), []).append(span.start)
                    self.series -= len(span.fields)
            self.left_out = sum(span is None and self._wanted(s) != () for s, span in self._spans.items())

    def _step(self, times: npt.NDArray[np.int64], values: Floats) -> None:
        values = self._rates.update(times, values)
        self._bank.update(values)
        self._trend.update(values)
        np.copyto(self._values, values, where=~np.isnan(values))

    def _wanted(self, stream: Stream) -> tuple[int, ...]:
        return tuple(sorted({i for selector in self._selectors for i in selector.fields(stream)}))

    def _find(self, samples: Sequence[Sample]) -> list[_Span | None]:
        """The span of each sample, for which room is made where it is new."""
        near, found = self._near, []
        for sample in samples:
            known = near.get(id(sample.stream))
            if known is None or known[0] is not sample.stream:
                break
            found.append(known[1])
        else:
            return found
        self._make_room(samples)
        if len(near) > 2 * len(self._spans) + 1000:
            near.clear()
        near.update((id(sample.stream), (sample.stream, self._spans[sample.stream])) for sample in samples)
        return [self._spans[sample.stream] for sample in samples]

    def _make_room(self, samples: Sequence[Sample]) -> None:
        new: list[tuple[Stream, _Span]] = []
        for sample in samples:
            stream = sample.stream
            if stream in self._spans:
                continue
            fields = self._wanted(stream)
            count = len(fields)
            if not count or self.series + count > self._most:
                self._spans[stream] = None
                self.left_out += bool(count)
                continue
            free = self._free.get(count)
            if free:
                start = free.pop()
            else:
                start, self._end = self._end, self._end + count
            span = self._spans[stream] = _Span(start, fields, count == len(stream.fields))
            self.series += count
            new.append((stream, span))
        if not new:
            return
        if self._end > self._bank.n:
            grown = max(self._end, self._bank.n + ROOM)
            for part in (self._bank, self._trend, self._rates):
                part.resize(grown)
            self._values = np.concatenate([self._values, np.full(grown - len(self._values), np.nan)])
        places = np.concatenate([np.arange(span.start, span.start + len(span.fields)) for _, span in new])
        for part in (self._bank, self._trend, self._rates):
            part.reset(places)
        self._values[places] = np.nan
        for stream, span in new:
            self._rates.counter[span.start : span.start + len(span.fields)] = [
                stream.fields[i].counter for i in span.fields
            ]
