"""A node's senses: collectors called every period in a thread that may hang, their records stored, shown and told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from uuid import uuid4

from vagus.actors.arrivals import Arrival, Arrivals, Journal, stream_number
from vagus.actors.following import Following
from vagus.actors.foretelling import WARM_ROWS, Foretelling
from vagus.actors.live import Live
from vagus.actors.log_filters import LogFilters
from vagus.actors.outbox import Outbox
from vagus.actors.span_records import SPAN, SpanIndex
from vagus.collectors.run import Runner
from vagus.config import Config, seconds
from vagus.errors import PeerUnreachable, StoreError
from vagus.health.rules import SELECTORS, judge_device, judge_node, judge_service
from vagus.model import Event, Level, Metric, Report, Sample, Span, Status, Stream
from vagus.store import Store

SELF_REPORT_S = 10.0
SILENT_S = 300.0
MAX_SHAPES = 64  # a hundred ticks of the collectors' own periods have a dozen
MAX_SINCE = 50_000  # samples of others between two ticks that are forecast
HANG_S = 5.0  # a tick that takes longer hangs, in a dead mount for example
STEP_NS = 500_000_000  # wall time that went so much ahead or behind of the monotonic clock was stepped
CLOSE_TIMEOUT_S = 8.0


class _Shape(NamedTuple):
    """The streams of some samples, in order, with the store's ids and the numbers for arrivals."""

    streams: tuple[Stream, ...]  # kept, so that their places in memory are not given to others
    ids: tuple[int, ...]
    numbers: tuple[int, ...]


class Sensing:
    """Opens and owns the collector's store; `run` is its loop. `failed` is told what went wrong.

    Raises StoreError, ConfigError (a log filter or one of its files).
    """

    def __init__(
        self, name: str, node: str, path: Path, config: Config, outbox: Outbox, failed: Callable[[str, Exception], None]
    ) -> None:
        self.ticks = 0
        self.late = 0  # ticks skipped while one was under way
        self.cpu_s = 0.0
        self._name = name
        self._node = node
        self._config = config
        self._period_s = config.collect.period_s
        self._outbox = outbox
        self._failed = failed
        self._ids: dict[Stream, tuple[int, int]] = {}  # the store's id, and the number for arrivals
        self._known: dict[int, tuple[Stream, tuple[int, int]]] = {}  # the same by id of the stream object
        self._shapes: dict[tuple[int, ...], _Shape] = {}  # of ticks, which are mostly alike, by the ids of the objects
        self._untold: list[tuple[Arrival, list[Sample], list[Event]]] = []  # in the store's hands, not yet committed
        self._loop = asyncio.get_running_loop()
        self._kinds: dict[str, str] = {}  # what collectors send, and which, so that nobody else does
        self._told: set[str] = set()
        self._told_s = 0.0
        self._began_s = 0.0  # 0: no tick is under way
        self._closed = False
        self._filters = LogFilters(node, config.collect)
        self._runner = Runner.from_settings(node, config.collect)
        self.foretelling = Foretelling(config.forecast)
        self._since: list[Sample] = []  # what others sent since the last tick, not yet forecast
        self.store = Store.open(path, create=True, map_bytes=config.store.map_bytes)
        self._runner.restore(lambda name: self.store.load(f"collector.{name}"))
        self._span_index = SpanIndex()
        self._noticed: list[Event] = []  # by the store, of itself
        self.store.noticed = self._noticed_one
        self._journal = Journal(self.store.load, self.store.save, uuid4().hex[:8])
        self.store.sync()  # this life has a number of its own also after a power cut
        journal = self._journal
        self.live = Live(Arrivals(journal.archive, journal.life, journal.before, journal.complete))
        self.following = Following(self.live, self.store, journal)
        # one thread owns all writes and may hang without holding up the gateway
        self._writer = ThreadPoolExecutor(1, "sense")

    async def close(self) -> None:
        """Closes collectors and store; one that hangs is left behind: all that was acknowledged is committed."""
        if self._closed:
            return
        self._closed = True
        closing = asyncio.get_running_loop().run_in_executor(self._writer, self._close)
        try:
            await asyncio.wait_for(asyncio.shield(closing), CLOSE_TIMEOUT_S)
        except (asyncio.TimeoutError, TimeoutError):
            self._failed("stop", StoreError(f"the store is not closed: {self.hanging() or 'its disk is slow'}"))
        self._writer.shutdown(wait=False)

    def _close(self) -> None:
        self._runner.close()
        try:
            self.store.sync()
        finally:
            self.store.close()

    async def sync(self) -> None:
        """Puts on disk what was committed."""
        await asyncio.get_running_loop().run_in_executor(self._writer, self._sync)

    def _sync(self) -> None:
        self._write((), ())  # what a failed flush left is told as it is committed
        self.store.sync()

    async def retain(self) -> None:
        """Drops what is older or more than the settings keep."""
        limits = (seconds(self._config.store.retain), self._config.store.retain_bytes)
        await asyncio.get_running_loop().run_in_executor(self._writer, self._retain, *limits)

    def _retain(self, max_age_s: float, max_bytes: int) -> None:
        self._write((), ())
        self.store.retain(max_age_s, max_bytes)
        self._ids.clear()  # streams that ended are not kept for ever, and ids that were dropped not used again
        self._known.clear()
        self._shapes.clear()

    async def run(self) -> None:
        """Ticks at whole multiples of the period of wall time, so that all streams share their times."""
        period_ns = round(self._period_s * 1e9)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._writer, self._warm)
        t_ns, offset_ns = 0, time.time_ns() - time.monotonic_ns()
        while True:
            now = time.time_ns()
            t_ns = next_tick(now, t_ns, period_ns)
            await asyncio.sleep((t_ns - now) / 1e9)
            offset_ns = self._check_clock(offset_ns)
            if self._began_s:  # the last tick hangs in the kernel: skip, count, go on serving
                self.late += 1
            else:
                self._began_s = time.monotonic()
                loop.run_in_executor(self._writer, self._tick, t_ns).add_done_callback(self._ticked)
            try:
                self._tell_senses()
            except Exception as error:  # a report that cannot be made must not end the senses
                self._failed("report", error)

    def _warm(self) -> None:
        """Forecasts go on from what is stored, rather than begin anew."""
        since_ns = time.time_ns() - round(2 * WARM_ROWS * self._period_s * 1e9)
        try:
            self.foretelling.warm(list(self.store.scan("*", since_ns, limit=WARM_ROWS)))
        except Exception as error:  # forecasts begin anew, and the senses begin at all
            self._failed("forecast", error)

    def _check_clock(self, before_ns: int) -> int:
        """The difference of the two clocks; a step of wall time is an event, for times before and after do not compare."""
        offset_ns = time.time_ns() - time.monotonic_ns()
        if abs(offset_ns - before_ns) > STEP_NS and not self._began_s:
            fields = {"by_s": (offset_ns - before_ns) / 1e9}
            stepped = Event(time.time_ns(), "clock.stepped", self._node, Level.WARNING, self._name, {**fields})
            asyncio.get_running_loop().run_in_executor(self._writer, self._write, (), [stepped])
        return offset_ns

    def _tick(self, t_ns: int) -> tuple[list[Sample], list[Event]]:
        started = time.thread_time()
        found = self._runner.tick(t_ns)
        samples: list[Sample] = []
        events: list[Event] = []
        for record in found:
            if isinstance(record, Sample):
                samples.append(record)
            else:
                events.append(record)
        self._write(samples, events, self._runner.states(), self._shape(samples))
        since, self._since = self._since, []
        self.foretelling.update([*since, *samples])
        self.cpu_s += time.thread_time() - started
        return samples, events

    def _write(
        self,
        samples: Sequence[Sample],
        events: Sequence[Event],
        states: Mapping[str, bytes] = MappingProxyType({}),
        shape: _Shape | None = None,
        spans: Sequence[Span] = (),
    ) -> None:
        if shape is None:
            shape = self._identified(tuple([sample.stream for sample in samples]))
        with self._journal.lock:
            self._commit(samples, events, states, shape, spans)
            self._journal.committed = self._journal.begun
        told, self._untold = self._untold, []
        if told:
            self._loop.call_soon_threadsafe(self._tell, told)

    def _commit(
        self,
        samples: Sequence[Sample],
        events: Sequence[Event],
        states: Mapping[str, bytes],
        shape: _Shape,
        spans: Sequence[Span],
    ) -> None:
        store = self.store
        noticed, self._noticed = self._noticed, []
        events = [*events, *noticed]
        if samples or events:
            times = [sample.t_ns for sample in samples]
            arrival = self._journal.enter(shape.numbers, times, [event.t_ns for event in events])
            taken: list[Sample] = []
            noted: list[Event] = []
            self._untold.append((arrival, taken, noted))  # told once committed, also when only a later flush does it
            try:
                for sample, stream_id in zip(samples, shape.ids, strict=True):
                    store.append(stream_id, sample.t_ns, sample.values)
                    taken.append(sample)
                for event in events:
                    store.put("event", event, t_ns=event.t_ns, index={"event": event.event})
                    noted.append(event)
            except StoreError:
                if not taken and not noted:  # the store is full, and has kept what it can
                    self._untold.pop()
                    self._noticed = noticed + self._noticed
                raise
        for span in spans:
            store.put(SPAN, span, t_ns=span.start_ns, index=self._span_index.of(span))
        for name, state in states.items():  # committed with what was collected: nothing twice, nothing lost
            store.save(f"collector.{name}", state)
        store.flush()

    def _shape(self, samples: Sequence[Sample]) -> _Shape:
        """Of the samples of a tick: collectors give the same stream objects each time."""
        streams = tuple([sample.stream for sample in samples])
        places = tuple(map(id, streams))
        shape = self._shapes.get(places)
        if shape is None:
            self._learn(streams)
            if len(self._shapes) >= MAX_SHAPES:
                self._shapes.clear()
            shape = self._shapes[places] = self._identified(streams)
        return shape

    def _identified(self, streams: tuple[Stream, ...]) -> _Shape:
        known = [self._identify(stream) for stream in streams]
        return _Shape(streams, tuple([stream_id for stream_id, _ in known]), tuple([number for _, number in known]))

    def _identify(self, stream: Stream) -> tuple[int, int]:
        known = self._known.get(id(stream))  # collectors give the same object at each tick: no hashing of labels
        if known is not None and known[0] is stream:
            return known[1]
        ids = self._ids.get(stream)
        if ids is None:
            ids = self._ids[stream] = (self.store.declare(stream), stream_number(stream.key))
        if len(self._known) > 2 * len(self._ids) + 1000:
            self._known.clear()
        self._known[id(stream)] = (stream, ids)
        return ids

    def _noticed_one(self, event: Event) -> None:
        self._noticed.append(event)

    def _tell(self, told: list[tuple[Arrival, list[Sample], list[Event]]]) -> None:
        for arrival, samples, events in told:
            self.live.publish(arrival, samples, events)

    async def put(self, samples: Sequence[Sample], events: Sequence[Event], spans: Sequence[Span] = ()) -> None:
        """`_write` in its thread. Raises PeerUnreachable while that hangs: what queued behind it would have no end."""
        hanging = self.hanging()
        if hanging:
            raise PeerUnreachable(f"{self._name} cannot store: {hanging}")
        await asyncio.get_running_loop().run_in_executor(self._writer, self._take, samples, events, spans)

    def _take(self, samples: Sequence[Sample], events: Sequence[Event], spans: Sequence[Span]) -> None:
        self._write(samples, events, spans=spans)
        if len(self._since) < MAX_SINCE:
            self._since += samples

    def _ticked(self, done: asyncio.Future[tuple[list[Sample], list[Event]]]) -> None:
        self._began_s = 0.0
        if done.cancelled() or self._closed:
            return
        try:
            _, events = done.result()
            self.ticks += 1
            for event in events:
                if event.event == "log.line":
                    self._outbox.note(self._filters.reports(event))
                if event.event in ("service.up", "service.down", "device.unreachable", "device.recovered"):
                    self._told_s = 0.0  # the report on it does not wait
        except Exception as error:
            self._failed("sense", error)

    def hanging(self) -> str:
        """Which collector has been called for too long, or nothing."""
        for_s = time.monotonic() - self._began_s if self._began_s else 0.0
        if for_s < HANG_S:
            return ""
        where = f"collector {self._runner.current}" if self._runner.current else "the store"
        return f"{where} has not come back for {for_s:.0f} s: a dead mount, or a disk that does not answer?"

    def _learn(self, streams: Sequence[Stream]) -> None:
        """Which collector sends which kinds: behind what it gave stands the sample of its run."""
        kinds: set[str] = set()
        for stream in streams:
            if stream.kind != "collector.run":
                kinds.add(stream.kind)
                continue
            self._kinds.update(dict.fromkeys(kinds, stream.labels["collector"]))
            self._kinds["collector.run"] = ""
            kinds.clear()

    def source(self, kind: str) -> str:
        """The collector that sends samples of this kind; empty for what others send."""
        return self._kinds.get(kind, "")

    def owns(self, kind: str) -> bool:
        """Whether a collector of this node has sent samples of that kind."""
        return kind in self._kinds

    def failing(self) -> dict[str, str]:
        """Collectors that failed at the last tick, or hang, with the reason."""
        hanging = self.hanging()
        return {**self._runner.failing(), **({self._runner.current or "store": hanging} if hanging else {})}

    def _tell_senses(self) -> None:
        """The collectors' own health, and what the samples say of the node, to the observer: on change, and regularly."""
        failing = self.failing()
        if time.monotonic() - self._told_s < SELF_REPORT_S and failing.keys() == self._told:
            return
        now, observer = time.time_ns(), f"collector@{self._node}"
        before, self._told, self._told_s = self._told, set(failing), time.monotonic()
        for name in {*self._runner.names(), *failing, *before}:  # the store has no name until it hangs
            status = Status.UNHEALTHY if name in failing else Status.HEALTHY
            self._outbox.note([Report(observer, f"sensor:{name}@{self._node}", now, {"collect": Metric(status)})])
        self.live.forget(now - int(SILENT_S * 1e9))
        self.foretelling.forget(self.live.streams())
        contexts = judge_node(self._sensed(*SELECTORS)) if not self.hanging() else {}
        if contexts:
            self._outbox.note([Report(observer, f"node:{self._node}", now, contexts)])
        for sample in self._sensed('service.heartbeat{instance=""}'):
            self._outbox.note(
                [Report(observer, f"service:{sample.stream.labels['service']}", now, judge_service(sample))]
            )
        for sample in self._sensed("snmp.system"):
            self._outbox.note([Report(observer, f"device:{sample.stream.labels['device']}", now, judge_device(sample))])

    def _sensed(self, *selectors: str) -> list[Sample]:
        """The newest samples of the collectors themselves: what programs send is no verdict of this node's."""
        return [sample for sample in self.live.latest(selectors) if sample.stream.kind in self._kinds]


def next_tick(now_ns: int, last_ns: int, period_ns: int) -> int:
    """The next multiple of the period; not the last tick again, when the timer came a little early for it."""
    t_ns = (now_ns // period_ns + 1) * period_ns
    return t_ns + period_ns if t_ns == last_ns else t_ns
