"""The feed actor: fetches what its feeds' cores direct, archives, keeps the newest items, tells collector and observer."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from vagus.actors.base import Actor, Links, Seat
from vagus.actors.feed_archive import FeedArchive
from vagus.actors.feed_runner import FeedRunner
from vagus.clock import NS, Clock, SystemClock
from vagus.config import FeedSettings, SourceSettings, seconds
from vagus.errors import NoData, PeerUnreachable, VagusError
from vagus.feeds import Fetched, Item, Net, Source
from vagus.feeds.directives import Directive, Emit, Fetch
from vagus.feeds.plain import ANY, Feed
from vagus.feeds.load import load_sources
from vagus.feeds.location import shown
from vagus.feeds.signals import Signals
from vagus.model import Report, Sample

MAX_FETCHES = 100  # at once
MAX_FETCHES_PER_HOST = 8  # of one host and port, of commands, or of files
MAX_ITEMS_KEPT = 1000  # of one feed, in memory; the archive has them all
MAX_PENDING = 20_000  # samples or reports that wait for their actor; the oldest give way
MAX_BATCH = 5_000
RESUME_S = 3600.0  # how far back the archive is asked for the last ticks


class _Running:
    """One feed at work: its core, sources, newest items and counts."""

    def __init__(self, core: Feed, sources: dict[str, Source], node: str) -> None:
        self.core = core
        self.sources = sources  # by scheme
        self.signals = Signals(core.name, node)
        self.items: deque[Item[Any]] = deque(maxlen=MAX_ITEMS_KEPT)
        self.errors: dict[str, int] = {}  # location → those of the item that came just now
        self.failing: dict[str, str] = {}  # location → why its newest fetch failed


class _Cores:
    """The cores of several feeds as one."""

    def __init__(self, feeds: Mapping[str, _Running]) -> None:
        self._feeds = feeds

    def next_due(self) -> int | None:
        return min(
            (due for running in self._feeds.values() if (due := running.core.next_due()) is not None), default=None
        )

    def tick(self, now_ns: int) -> list[Directive]:
        return [directive for running in self._feeds.values() for directive in running.core.tick(now_ns)]

    def fetched(self, fetch: Fetch, fetched: Fetched, now_ns: int) -> Iterator[Directive]:
        return self._feeds[fetch.feed].core.fetched(fetch, fetched, now_ns)


class FeedActor(Actor):
    """`vagus:feed@NODE`: runs every feed of the configuration. A feed that does not load is noted; the others run."""

    role = "feed"

    def __init__(self, seat: Seat, links: Links, clock: Clock | None = None) -> None:
        super().__init__(seat, links)
        self._clock = clock or SystemClock()
        self._feeds: dict[str, _Running] = {}
        self._broken: dict[str, str] = {}
        self._dropped = 0
        self._samples: deque[Sample] = deque()
        self._reports: deque[Report] = deque()
        self._archive = FeedArchive(seat.store_path, self.config.store, clock=self._clock, failed=self.failed)
        self._sources: dict[tuple[str, str], Source] = {}
        self._runner = FeedRunner(
            _Cores(self._feeds),
            self._sources,
            self._archive,
            emit=lambda emit: self._emit(emit),  # noqa: PLW0108  a test puts itself in its place
            fetched=self._fetched,
            failed=self.failed,
            clock=self._clock,
            max_fetches=MAX_FETCHES,
            max_per_host=MAX_FETCHES_PER_HOST,
        )

    async def start(self) -> None:
        await self._archive.open()
        slowest_s = max([seconds(feed.every) for feed in self.config.feeds], default=0.0)
        since_ns = max(0, self._clock.time_ns() - round(max(RESUME_S, 3 * slowest_s) * NS))
        last = await self._archive.last_due(since_ns)
        for feed in self.config.feeds:
            try:
                self._feeds[feed.name] = self._load(feed, last)
            except VagusError as error:
                self._broken[feed.name] = str(error)
                self.failed(f"feed {feed.name}", error)
        self.every(0.5, self._push_samples, "push samples")
        self.every(0.5, self._push_reports, "report")
        self._runner.start()

    async def stop(self) -> None:
        await self._runner.stop()
        with contextlib.suppress(VagusError):  # what cannot be told now is in the archive
            await asyncio.gather(self._push_samples(), self._push_reports())
        await self._archive.close()

    # --- loading -----------------------------------------------------------------------------------------------------

    def _load(self, settings: FeedSettings, archived: Mapping[tuple[str, str], int]) -> _Running:
        gateway = self.seat.options.get("gateway") or {"endpoint_file": str(self.seat.folder / "gateway.json")}
        sources = load_sources(settings, {"gateway": gateway})
        source = settings.source or SourceSettings()
        last: dict[str, int] = {}
        for (name, location), due_ns in archived.items():
            if name == settings.name:
                place = ANY if source.any else location
                last[place] = max(last.get(place, 0), due_ns)
        running = _Running(Feed(settings, last_due_ns=last), sources, self.seat.node)
        self._sources.update({(settings.name, name): made for name, made in sources.items()})
        return running

    # --- fetching ----------------------------------------------------------------------------------------------------

    def tick(self) -> int | None:
        """Starts what is due, and returns when something is due next, in ns of wall time."""
        return self._runner.tick()

    async def idle(self) -> None:
        """Returns when no fetch is under way."""
        await self._runner.idle()

    def _emit(self, emit: Emit) -> None:
        running = self._feeds[emit.feed]
        running.items.append(emit.item)
        running.errors[emit.item.meta.location] = emit.item.meta.errors
        sample = running.signals.values(emit.item)
        if sample is not None:
            self._samples.append(sample)

    def _fetched(self, fetch: Fetch, fetched: Fetched, duration_s: float, now_ns: int) -> None:
        running = self._feeds[fetch.feed]
        if fetched.net in (Net.OK, Net.NOT_MODIFIED):
            running.failing.pop(fetch.location, None)
        else:
            running.failing[fetch.location] = f"{fetched.net.value} {fetched.note}".strip()
        errors = running.errors.pop(shown(fetch.location), 0)
        self._samples.append(running.signals.fetch(fetch.location, fetched, duration_s, errors, now_ns))
        report = running.signals.report(fetch.location, fetched, now_ns)
        if report is not None:
            self._reports.append(report)

    # --- telling the others ------------------------------------------------------------------------------------------

    async def _push_samples(self) -> None:
        await self._push(self._samples, f"vagus:collector@{self.seat.node}", "ingest")

    async def _push_reports(self) -> None:
        await self._push(self._reports, f"vagus:observer@{self.seat.node}", "report")

    async def _push(self, pending: deque[Any], actor: str, method: str) -> None:
        while len(pending) > MAX_PENDING:
            pending.popleft()
            self._dropped += 1
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
        archived = await self._archive.records(feed, start_ns, end_ns, limit)
        return [core.parse(raw) for raw in archived]

    def _named(self, feed: str) -> _Running:
        if feed in self._feeds:
            return self._feeds[feed]
        why = self._broken.get(feed, f"it is not configured; there are: {', '.join(self._feeds) or 'none'}")
        raise NoData(f"feed {feed!r} does not run on {self.seat.node}: {why}")

    def figures(self) -> dict[str, float]:
        """Counts since the start, and what waits."""
        waiting = {"samples_waiting": len(self._samples), "dropped": self._dropped}
        counts = {"feeds": len(self._feeds), "feeds_broken": len(self._broken), **self._runner.figures(), **waiting}
        return {name: float(value) for name, value in counts.items()}

    def notes(self) -> tuple[str, ...]:
        """Feeds that do not load, and locations whose newest fetch failed."""
        lines = [f"feed {name} does not run: {why}" for name, why in self._broken.items()]
        for name, running in self._feeds.items():
            lines += [f"feed {name}: {shown(location)}: {why}" for location, why in running.failing.items()]
        return tuple(lines[:50])
