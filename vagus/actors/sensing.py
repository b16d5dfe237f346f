"""A node's senses: collectors called every period in a thread that may hang, their records stored, shown and told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vagus.actors.live import Live
from vagus.actors.outbox import Outbox
from vagus.collectors.run import Runner
from vagus.config import Config, seconds
from vagus.errors import PeerUnreachable, StoreError
from vagus.health import LOG_FILTERS, LogFilter
from vagus.health.rules import SELECTORS, judge_node
from vagus.model import Event, Level, Metric, Report, Sample, Status, Stream
from vagus.store import Store

SELF_REPORT_S = 10.0
SILENT_S = 300.0
HANG_S = 5.0  # a tick that takes longer hangs, in a dead mount for example
STEP_NS = 500_000_000  # wall time that went so much ahead or behind of the monotonic clock was stepped
CLOSE_TIMEOUT_S = 8.0


class Sensing:
    """Opens and owns the collector's store; `run` is its loop. `failed` is told what went wrong.

    Raises StoreError, ConfigError (an unknown log filter).
    """

    def __init__(
        self, name: str, node: str, path: Path, config: Config, outbox: Outbox, failed: Callable[[str, Exception], None]
    ) -> None:
        self.live = Live()
        self.ticks = 0
        self.late = 0  # ticks skipped while one was under way
        self.cpu_s = 0.0
        self._name = name
        self._node = node
        self._config = config
        self._period_s = config.collect.period_s
        self._outbox = outbox
        self._failed = failed
        self._ids: dict[Stream, int] = {}
        self._told: set[str] = set()
        self._told_s = 0.0
        self._began_s = 0.0  # 0: no tick is under way
        self._closed = False
        self._filters: list[LogFilter] = [LOG_FILTERS.make(name, node) for name in config.collect.log_filters]
        self._runner = Runner.from_settings(node, config.collect)
        self.store = Store.open(path, create=True, map_bytes=config.store.map_bytes)
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
        await asyncio.get_running_loop().run_in_executor(self._writer, self.store.sync)

    async def retain(self) -> None:
        """Drops what is older or more than the settings keep."""
        limits = (seconds(self._config.store.retain), self._config.store.retain_bytes)
        await asyncio.get_running_loop().run_in_executor(self._writer, self.store.retain, *limits)

    async def run(self) -> None:
        """Ticks at whole multiples of the period of wall time, so that all streams share their times."""
        period_ns = round(self._period_s * 1e9)
        loop = asyncio.get_running_loop()
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
            self._tell_senses()

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
        samples = [x for x in found if isinstance(x, Sample)]
        events = [x for x in found if isinstance(x, Event)]
        self._write(samples, events)
        self.cpu_s += time.thread_time() - started
        return samples, events

    def _write(self, samples: Sequence[Sample], events: Sequence[Event]) -> None:
        store, ids = self.store, self._ids
        for sample in samples:
            stream_id = ids.get(sample.stream)
            if stream_id is None:
                stream_id = ids[sample.stream] = store.declare(sample.stream)
            store.append(stream_id, sample.t_ns, sample.values)
        for event in events:
            store.put("event", event, t_ns=event.t_ns, index={"event": event.event})
        store.flush()

    async def put(self, samples: Sequence[Sample], events: Sequence[Event]) -> None:
        """`_write` in its thread. Raises PeerUnreachable while that hangs: what queued behind it would have no end."""
        hanging = self.hanging()
        if hanging:
            raise PeerUnreachable(f"{self._name} cannot store: {hanging}")
        await asyncio.get_running_loop().run_in_executor(self._writer, self._write, samples, events)

    def _ticked(self, done: asyncio.Future[tuple[list[Sample], list[Event]]]) -> None:
        self._began_s = 0.0
        if done.cancelled() or self._closed:
            return
        try:
            samples, events = done.result()
            self.ticks += 1
            self.live.publish(samples)
            for event in events:
                self._filter(event)
        except Exception as error:
            self._failed("sense", error)

    def _filter(self, event: Event) -> None:
        if event.event == "log.line":
            text = str(event.fields.get("text", ""))
            found = (log_filter.read(text, event.source, event.t_ns) for log_filter in self._filters)
            self._outbox.note(report for report in found if report is not None)

    def hanging(self) -> str:
        """Which collector has been called for too long, or nothing."""
        for_s = time.monotonic() - self._began_s if self._began_s else 0.0
        if for_s < HANG_S:
            return ""
        where = f"collector {self._runner.current}" if self._runner.current else "the store"
        return f"{where} has not come back for {for_s:.0f} s: a dead mount, or a disk that does not answer?"

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
        self._told, self._told_s = set(failing), time.monotonic()
        for name in {*self._runner.names(), *failing}:
            status = Status.UNHEALTHY if name in failing else Status.HEALTHY
            self._outbox.note([Report(observer, f"sensor:{name}@{self._node}", now, {"collect": Metric(status)})])
        contexts = judge_node(self.live.latest(SELECTORS)) if not self.hanging() else {}
        if contexts:
            self._outbox.note([Report(observer, f"node:{self._node}", now, contexts)])
        self.live.forget(now - int(SILENT_S * 1e9))


def next_tick(now_ns: int, last_ns: int, period_ns: int) -> int:
    """The next multiple of the period; not the last tick again, when the timer came a little early for it."""
    t_ns = (now_ns // period_ns + 1) * period_ns
    return t_ns + period_ns if t_ns == last_ns else t_ns
