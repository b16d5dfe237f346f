"""The feed actor: fetches what its feeds' cores direct, archives, keeps the newest items, tells collector and observer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from vagus.actors.base import Actor, Links, Seat
from vagus.actors.batcher import Batcher
from vagus.clock import NS, Clock, SystemClock
from vagus.config import FeedSettings, SourceSettings, seconds
from vagus.errors import ConfigError, NoData, PeerUnreachable, VagusError
from vagus.feeds import Fetched, Item, Net, Raw, Source
from vagus.feeds.directives import Archive, Directive, Emit, Fetch
from vagus.feeds.feed import ANY, Feed
from vagus.feeds.load import load_sources
from vagus.feeds.location import host, scheme, shown
from vagus.feeds.signals import Signals
from vagus.model import Report, Sample
from vagus.store import Store

MAX_FETCHES = 100  # at once
MAX_FETCHES_PER_HOST = 8  # of one host and port, of commands, or of files
MAX_ITEMS_KEPT = 1000  # of one feed, in memory; the archive has them all
MAX_PENDING = 20_000  # samples or reports that wait for their actor; the oldest give way
MAX_BATCH = 5_000
MAX_NAP_S = 1.0  # wall time may be set: look at it as often
RESUME_S = 3600.0  # how far back the archive is asked for the last ticks


class _Running:
    """One feed at work: its core, sources, newest items and counts."""

    def __init__(self, core: Feed, sources: dict[str, Source], node: str) -> None:
        self.core = core
        self.sources = sources  # by scheme
        self.signals = Signals(core.name, node)
        self.items: deque[Item[Any]] = deque(maxlen=MAX_ITEMS_KEPT)
        self.failing: dict[str, str] = {}  # location → why its newest fetch failed


class FeedActor(Actor):
    """`vagus:feed@NODE`: runs every feed of the configuration. A feed that does not load is noted; the others run."""

    role = "feed"

    def __init__(self, seat: Seat, links: Links, clock: Clock | None = None) -> None:
        super().__init__(seat, links)
        self._clock = clock or SystemClock()
        self._feeds: dict[str, _Running] = {}
        self._broken: dict[str, str] = {}
        self._counts = dict.fromkeys(("fetches", "failures", "missed", "bytes", "dropped"), 0)
        self._samples: deque[Sample] = deque()
        self._reports: deque[Report] = deque()
        self._fetching: set[asyncio.Task[None]] = set()
        self._all_slots = asyncio.Semaphore(MAX_FETCHES)
        self._host_slots: dict[str, asyncio.Semaphore] = {}
        self._writer = ThreadPoolExecutor(1, "archive")  # one thread owns all writes
        self._archive: Batcher[Raw, VagusError | None] = Batcher(self._write)
        self._store: Store | None = None

    async def start(self) -> None:
        settings = self.config.store
        self._store = await self._in_writer(
            lambda: Store.open(self.seat.store_path, create=True, map_bytes=settings.map_bytes)
        )
        for feed in self.config.feeds:
            try:
                self._feeds[feed.name] = await self._load(feed)
            except VagusError as error:
                self._broken[feed.name] = str(error)
                self.failed(f"feed {feed.name}", error)
        self.spawn(self._ticking(), vital=True)
        self.every(0.5, self._push_samples, "push samples")
        self.every(0.5, self._push_reports, "report")
        self.every(max(seconds(settings.sync), 0.1), lambda: self._in_writer(self._opened.sync), "sync")
        self.every(60.0, self._retain, "retain")

    async def stop(self) -> None:
        fetching = list(self._fetching)
        for task in fetching:
            task.cancel()
        await asyncio.gather(*fetching, return_exceptions=True)
        for running in self._feeds.values():
            for source in running.sources.values():
                await source.close()
        with contextlib.suppress(VagusError):  # what cannot be told now is in the archive
            await asyncio.gather(self._push_samples(), self._push_reports())
        if self._store is not None:
            await self._in_writer(self._close)
        self._writer.shutdown(wait=False)

    def _close(self) -> None:
        self._opened.flush()
        self._opened.sync()
        self._opened.close()
        self._store = None

    @property
    def _opened(self) -> Store:
        if self._store is None:
            raise VagusError(f"{self.seat.name} has no open archive: it has not started, or has stopped")
        return self._store

    async def _in_writer(self, work: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)

    # --- loading -----------------------------------------------------------------------------------------------------

    async def _load(self, settings: FeedSettings) -> _Running:
        gateway = self.seat.options.get("gateway") or {"endpoint_file": str(self.seat.folder / "gateway.json")}
        sources = load_sources(settings, {"gateway": gateway})
        source = settings.source or SourceSettings()
        now_ns = self._clock.time_ns()
        since_ns = max(0, now_ns - round(max(RESUME_S, 3 * seconds(settings.every)) * NS))
        archived = await self._records(settings.name, since_ns, now_ns + 1, 2 * len(source.all) + 1000, True)
        last: dict[str, int] = {}
        for raw in archived:
            place = ANY if source.any else raw.meta.location
            last[place] = max(last.get(place, 0), raw.meta.due_ns)
        return _Running(Feed(settings, last_due_ns=last), sources, self.seat.node)

    # --- fetching ----------------------------------------------------------------------------------------------------

    async def _ticking(self) -> None:
        while True:
            due_ns = self.tick()
            nap_s = MAX_NAP_S if due_ns is None else (due_ns - self._clock.time_ns()) / NS
            await asyncio.sleep(min(max(nap_s, 0.0), MAX_NAP_S))

    def tick(self) -> int | None:
        """Starts what is due, and returns when something is due next, in ns of wall time."""
        upcoming: list[int] = []
        for running in self._feeds.values():
            try:
                now_ns = self._clock.time_ns()
                due_ns = running.core.next_due()
                if due_ns is not None and (due_ns <= now_ns or due_ns > now_ns + MAX_NAP_S * NS):
                    self._begin(running, running.core.tick(now_ns))
                    due_ns = running.core.next_due()
                if due_ns is not None:
                    upcoming.append(due_ns)
            except Exception as error:
                self.failed(f"feed {running.core.name}", error)
        return min(upcoming, default=None)

    def _begin(self, running: _Running, directives: Iterable[Directive]) -> None:
        told: list[Directive] = []
        for directive in directives:
            if isinstance(directive, Fetch):
                self._task(self._fetch(running, directive))
            else:
                told.append(directive)
        if told:
            self._task(self._deliver(running, told))

    def _task(self, work: Any) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception as error:
                self.failed("fetch", error)

        task = asyncio.ensure_future(guarded())
        self._fetching.add(task)
        task.add_done_callback(self._fetching.discard)

    async def idle(self) -> None:
        """Returns when no fetch is under way."""
        while self._fetching:
            await asyncio.wait(self._fetching)

    async def _fetch(self, running: _Running, fetch: Fetch) -> None:
        """One location, or for an `any` feed one after the other until one answers."""
        following: Fetch | None = fetch
        while following is not None:
            fetch, following = following, None
            fetched, duration_s = await self._fetched(running, fetch)
            now_ns = self._clock.time_ns()
            self._count(running, fetch, fetched)
            errors = 0
            for directive in running.core.fetched(fetch, fetched, now_ns):
                if isinstance(directive, Fetch):
                    following = directive
                elif isinstance(directive, Archive):
                    await self._keep(directive)
                else:
                    errors = directive.item.meta.errors
                    self._emit(running, directive)
            self._samples.append(running.signals.fetch(fetch.location, fetched, duration_s, errors, now_ns))
            report = running.signals.report(fetch.location, fetched, now_ns)
            if report is not None:
                self._reports.append(report)

    async def _fetched(self, running: _Running, fetch: Fetch) -> tuple[Fetched, float]:
        slots = self._host_slots.setdefault(host(fetch.location), asyncio.Semaphore(MAX_FETCHES_PER_HOST))
        async with slots, self._all_slots:
            started = time.perf_counter()
            try:
                source = running.sources[scheme(fetch.location)]
                fetched = await source.fetch(fetch.location, fetch.timeout_s, fetch.max_bytes)
            except Exception as error:  # a source from outside that breaks its contract stops no feed
                self.failed(f"feed {fetch.feed}: source {scheme(fetch.location)}", error)
                fetched = Fetched(Net.FAILED, note=f"{type(error).__name__}: {error}"[:300])
            return fetched, time.perf_counter() - started

    def _count(self, running: _Running, fetch: Fetch, fetched: Fetched) -> None:
        self._counts["fetches"] += 1
        self._counts["bytes"] += len(fetched.body)
        if fetched.net in (Net.OK, Net.NOT_MODIFIED):
            running.failing.pop(fetch.location, None)
        else:
            self._counts["failures"] += 1
            running.failing[fetch.location] = f"{fetched.net.value} {fetched.note}".strip()

    async def _deliver(self, running: _Running, directives: Iterable[Directive]) -> None:
        for directive in directives:
            if isinstance(directive, Archive):
                await self._keep(directive)
            elif isinstance(directive, Emit):
                self._counts["missed"] += directive.ticks
                self._emit(running, directive)

    def _emit(self, running: _Running, emit: Emit) -> None:
        running.items.append(emit.item)
        sample = running.signals.values(emit.item)
        if sample is not None:
            self._samples.append(sample)

    # --- archive -----------------------------------------------------------------------------------------------------

    async def _keep(self, archive: Archive) -> None:
        """Returns when the bytes are committed, together with those that came meanwhile; a failure is counted."""
        try:
            [error] = await self._archive.put([archive.raw])
            if error is not None:
                raise error
        except VagusError as error:
            self.failed("archive", error)

    async def _write(self, raws: list[Raw]) -> list[VagusError | None]:
        answers: list[VagusError | None] = await self._in_writer(lambda: self._put(raws))
        return answers

    def _put(self, raws: list[Raw]) -> list[VagusError | None]:
        answers: list[VagusError | None] = []
        for raw in raws:
            try:
                index = {"feed": raw.meta.feed, "location": raw.meta.location}
                self._opened.put("raw", raw, t_ns=raw.meta.arrived_ns, index=index)
                answers.append(None)
            except ConfigError as error:  # a body above the store's limit costs only itself
                answers.append(error)
        self._opened.flush()
        return answers

    async def _records(self, feed: str, start_ns: int, end_ns: int, limit: int, newest_first: bool) -> list[Raw]:
        where = ("feed", feed)
        found: list[Raw] = await self._in_writer(
            lambda: list(
                self._opened.records("raw", Raw, start_ns, end_ns, where=where, limit=limit, newest_first=newest_first)
            )
        )
        return found

    async def _retain(self) -> None:
        limits = (seconds(self.config.store.retain), self.config.store.retain_bytes)
        await self._in_writer(lambda: self._opened.retain(*limits))

    # --- telling the others ------------------------------------------------------------------------------------------

    async def _push_samples(self) -> None:
        await self._push(self._samples, f"vagus:collector@{self.seat.node}", "ingest")

    async def _push_reports(self) -> None:
        await self._push(self._reports, f"vagus:observer@{self.seat.node}", "report")

    async def _push(self, pending: deque[Any], actor: str, method: str) -> None:
        while len(pending) > MAX_PENDING:
            pending.popleft()
            self._counts["dropped"] += 1
        while pending:
            batch = [pending.popleft() for _ in range(min(len(pending), MAX_BATCH))]
            try:
                await self.links.call(actor, method, batch)
            except PeerUnreachable:
                pending.extendleft(reversed(batch))  # it may be restarting: again next time
                return

    # --- answers -----------------------------------------------------------------------------------------------------

    async def items(self, feed: str, limit: int = 100) -> list[Item[Any]]:
        """The newest items of a feed, oldest first. Raises NoData for an unknown feed."""
        kept = self._named(feed).items
        return list(kept)[-limit:] if limit > 0 else []

    async def replay(self, feed: str, start_ns: int, end_ns: int, limit: int = 100_000) -> list[Item[Any]]:
        """The items that arrived in [start_ns, end_ns), parsed again from the archive: the same as they were.

        At most `limit`, the oldest. Raises NoData for an unknown feed.
        """
        core = self._named(feed).core
        archived = await self._records(feed, start_ns, end_ns, limit, False)
        return [core.parse(raw) for raw in archived]

    def _named(self, feed: str) -> _Running:
        if feed in self._feeds:
            return self._feeds[feed]
        why = self._broken.get(feed, f"it is not configured; there are: {', '.join(self._feeds) or 'none'}")
        raise NoData(f"feed {feed!r} does not run on {self.seat.node}: {why}")

    def figures(self) -> dict[str, float]:
        """Counts since the start, and what waits."""
        waiting = {"fetching": len(self._fetching), "samples_waiting": len(self._samples)}
        counts = {"feeds": len(self._feeds), "feeds_broken": len(self._broken), **self._counts, **waiting}
        return {name: float(value) for name, value in counts.items()}

    def notes(self) -> tuple[str, ...]:
        """Feeds that do not load, and locations whose newest fetch failed."""
        lines = [f"feed {name} does not run: {why}" for name, why in self._broken.items()]
        for name, running in self._feeds.items():
            lines += [f"feed {name}: {shown(location)}: {why}" for location, why in running.failing.items()]
        return tuple(lines[:50])
