"""The feed actor: runs the declared feeds of its node, or its share of them, and tells the rest of the node."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from vagus.actors import feed_items
from vagus.actors.base import Actor, Links, Seat
from vagus.actors.feed_archive import FeedArchive
from vagus.actors.feed_engines import Assumed, FeedEngines
from vagus.actors.feed_items import FeedItems
from vagus.actors.feed_load import Loaded, load
from vagus.actors.feed_moves import Dues, FeedMoves, Place
from vagus.actors.feed_notices import FeedNotices
from vagus.actors.feed_read import refed, replayed_from
from vagus.actors.feed_runner import FeedRunner
from vagus.actors.feed_signals import FeedSignals
from vagus.actors.feed_sources import FeedSources
from vagus.actors.feed_tools import FeedTools
from vagus.clock import NS, Clock, SystemClock
from vagus.errors import ConfigError, NoData, VagusError
from vagus.feeds.contracts import Notice, Tool
from vagus.feeds.directives import Emit, Fetch, Recall
from vagus.feeds.engine import Engine
from vagus.feeds.feed import Base
from vagus.feeds.item import Fetched, Item, Net, Raw
from vagus.feeds.location import shown
from vagus.feeds.tools import tools_of
from vagus.model import FeedStatus

RESUME_S = 3600.0  # how far back the archive is asked for the last ticks, at least
RESUME_PERIODS = 3
TELL_S = 0.5
TOOLS_TICK_S = 1.0
FORGET_S = 60.0
MAX_FAILING = 10_000
SHOWN_FAILING = 20
BATCH = 50  # items of a refeed that are handed on without a look at what else there is


class FeedActor(Actor):
    """`vagus:feed@NODE`. A feed that does not load is noted, as is a tool; the others run."""

    role = "feed"

    def __init__(self, seat: Seat, links: Links, clock: Clock | None = None) -> None:
        super().__init__(seat, links)
        self._clock = clock or SystemClock()
        self._loaded = Loaded({}, {})
        self._items: dict[str, FeedItems] = {}
        self._failing: dict[Place, str] = {}  # places whose newest fetch failed, and why
        self._archive = FeedArchive(seat.store_path, self.config.store, clock=self._clock, failed=self.failed)
        self._signals = FeedSignals(seat, links)
        self._notices = FeedNotices(seat.node, self.failed)
        self._moves = FeedMoves(seat, links, self._dues, self._take)
        self._engines = FeedEngines(self._moves.drives)
        gateway = seat.options.get("gateway") or {"endpoint_file": str(seat.folder / "gateway.json")}
        self._runner = FeedRunner(
            self._engines,
            FeedSources(self._engines.options, always={"gateway": gateway}, failed=self.failed),
            self._archive,
            emit=lambda emit: self._emit(emit),  # noqa: PLW0108  a test puts itself in its place
            fetched=self._fetched,
            failed=self.failed,
            clock=self._clock,
        )
        self._tools = FeedTools({}, self._noticed)
        self._with_tools: frozenset[str] = frozenset()
        self._broken_tools: dict[str, str] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._archive.open()
        self._loaded = load(self.config.feeds)
        for name, why in self._loaded.broken.items():
            self.failed(f"feed {name}", ConfigError(why))
        budget = feed_items.MAX_BYTES // max(1, len(self._loaded.feeds))
        self._items = {name: FeedItems(budget) for name in self._loaded.feeds}
        self._signals.shapes = self._loaded.shapes
        await self._notices.start()
        if not self._moves.spread:
            await self._take({}, True)
        self.every(TELL_S, self._signals.flush_samples, "push samples")
        self.every(TELL_S, self._signals.flush_reports, "report")
        self.every(TELL_S, self._signals.flush_events, "tell")
        self.every(TOOLS_TICK_S, self._tick_tools, "tools")
        self.every(FORGET_S, self._forget_gone, "failing places")
        self._runner.start()
        self.spawn(self._moves.run(), vital=True)

    async def stop(self) -> None:
        await self._runner.stop()
        await self._end_tools()
        await self._notices.stop()
        with contextlib.suppress(VagusError):  # what cannot be told now is in the archive
            await asyncio.gather(
                self._signals.flush_samples(), self._signals.flush_reports(), self._signals.flush_events()
            )
        await self._archive.close()

    # --- its share of the work -----------------------------------------------------------------------------------------

    async def set_feeders(self, nodes: Sequence[str]) -> None:
        """News from the supervisor: the nodes that fetch feeds."""
        self._moves.heard(tuple(nodes))

    async def hand_over(self, nodes: Sequence[str]) -> list[tuple[str, str, int]] | None:
        """For another feed actor: see FeedMoves."""
        return await self._moves.hand_over(tuple(nodes))

    async def _dues(self) -> Dues:
        back_s = max(RESUME_S, RESUME_PERIODS * self._loaded.slowest_s)
        dues = await self._archive.last_due(max(0, self._clock.time_ns() - round(back_s * NS)))
        for place, due_ns in self._engines.begun().items():
            dues[place] = max(due_ns, dues.get(place, 0))
        return dues

    async def _take(self, last: Dues, first: bool) -> None:
        """Goes on with what is this node's share from now on. first: it had none before."""
        self._engines.pause()
        known = dict(last)
        for place, due_ns in (await self._dues()).items():
            known[place] = max(due_ns, known.get(place, 0))
        now_ns = self._clock.time_ns()
        dues = known if first else Assumed(known, now_ns, self._base)
        share = self._moves.share() if self._moves.spread else None
        make = partial(Engine, self._loaded.feeds, now_ns=now_ns, last_due_ns=dues, share=share)
        engine = await asyncio.to_thread(make)  # with many locations it takes a while
        for recall in engine.recalls():
            if not recall.refeed:
                await asyncio.to_thread(self._recall, engine, recall, now_ns)
        await self._use_tools()
        for step in self._engines.use(engine, self._clock.time_ns()):
            if isinstance(step, Emit):
                self._emit(step)
        for recall in engine.recalls() if first else ():
            if recall.refeed:
                self.spawn(self._refeed(engine, recall))

    def _base(self, name: str) -> Base[Any] | None:
        return self._engines.base(name) or self._loaded.bases.get(name)

    def _recall(self, engine: Engine, recall: Recall, now_ns: int) -> None:
        """In a thread: tells an engine where it was."""
        for _ in engine.recalled(recall, self._raws(recall), now_ns):
            pass  # what there was to be told was told then

    def _raws(self, recall: Recall) -> Iterator[Raw]:
        if recall.folder:
            return refed(recall)
        return self._read(recall.feeds, recall.since_ns)

    async def _refeed(self, engine: Engine, recall: Recall) -> None:
        """Hands the items of an archive on, beside what is fetched."""
        for number, step in enumerate(engine.recalled(recall, self._raws(recall), self._clock.time_ns())):
            if isinstance(step, Emit):
                self._emit(step)
            if number % BATCH == BATCH - 1:
                await asyncio.sleep(0)

    # --- what happens --------------------------------------------------------------------------------------------------

    def tick(self) -> int | None:
        """Starts what is due, and returns when something is due next, in ns of wall time."""
        return self._runner.tick()

    async def idle(self) -> None:
        """Returns when no fetch is under way."""
        await self._runner.idle()

    def _emit(self, emit: Emit) -> None:
        self._items[emit.feed].take(emit)
        self._signals.emitted(emit)
        self._tools.take(emit)

    def _fetched(self, fetch: Fetch, fetched: Fetched, duration_s: float, now_ns: int) -> None:
        place = fetch.feed, shown(fetch.location)
        self._failing.pop(place, None)
        if fetched.net not in (Net.OK, Net.NOT_MODIFIED):
            self._failing[place] = f"{fetched.net.value} {fetched.note}".strip()[:300]
            if len(self._failing) > MAX_FAILING:
                del self._failing[next(iter(self._failing))]
        self._signals.fetched(fetch, fetched, duration_s, now_ns)

    def _forget_gone(self) -> None:
        """A place that is fetched no more, since no list has it, fails no more."""
        engine = self._engines.current
        if engine is not None and self._failing:
            there = {(base, shown(place)) for base, places in engine.locations().items() for place in places}
            self._failing = {place: why for place, why in self._failing.items() if place in there}

    def _noticed(self, notice: Notice) -> None:
        """In the tools' thread."""
        self._notices.deliver(notice)
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._signals.notice, notice)

    # --- tools -----------------------------------------------------------------------------------------------------------

    async def _use_tools(self) -> None:
        """Those of the feeds that run here; at a node that gets a feed they begin anew, with files of their own."""
        wanted = frozenset(f.name for f in self._loaded.settings if f.tools and self._moves.runs(f.name))
        if wanted == self._with_tools:
            return
        await self._end_tools()
        self._broken_tools = {}
        made: dict[str, list[Tool]] = {}
        for settings in self._loaded.settings:
            if settings.name in wanted:
                try:
                    made |= tools_of([settings], self._loaded.feeds, self.seat.folder / "feeds", self.seat.node)
                except (VagusError, OSError) as error:
                    self._broken_tools[settings.name] = str(error)
                    self.failed(f"feed {settings.name}", error)
        self._with_tools = wanted
        self._tools = FeedTools(made, self._noticed, self._tool_failed)

    def _tool_failed(self, where: str, error: BaseException) -> None:
        """In the tools' thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self.failed, where, error)

    async def _end_tools(self) -> None:
        tools, self._tools = self._tools, FeedTools({}, self._noticed)
        if tools:
            await asyncio.to_thread(tools.finish, self._clock.time_ns())

    def _tick_tools(self) -> None:
        now_ns = self._clock.time_ns()
        self._tools.tick(now_ns)
        self._signals.repeat(now_ns)

    # --- answers ---------------------------------------------------------------------------------------------------------

    async def items(self, feed: str, limit: int = 100) -> list[Item[Any]]:
        """The newest items of a feed, oldest first. Raises NoData for an unknown feed."""
        return self._named(feed).newest(limit)

    async def replay(self, feed: str, start_ns: int, end_ns: int, limit: int = 100_000) -> list[Item[Any]]:
        """The items that arrived in [start_ns, end_ns), parsed again from the archive: the same as they were.

        At most `limit`, the oldest. Of a list that each node fetches, the items that are this node's to tell. Raises
        NoData for an unknown feed.
        """
        self._named(feed)

        def replayed() -> Iterator[Item[Any]]:
            for emit in replayed_from(self._loaded.feeds, (feed,), self._read, start_ns, end_ns):
                meta = emit.item.meta
                shared = self._moves.spread and self._moves.drives(meta.feed)
                if not shared or self._moves.owner(feed, meta.location) == self.seat.node:
                    yield emit.item

        return await asyncio.to_thread(lambda: [item for item, _ in zip(replayed(), range(limit), strict=False)])

    def _read(self, bases: Collection[str], start_ns: int = 0, end_ns: int = 1 << 62) -> Iterator[Raw]:
        """Raws of base feeds (none: of all), in order of arrival; blocks: for threads."""
        parts = [self._archive.read(base, start_ns, end_ns) for base in sorted(set(bases)) or [""]]
        return heapq.merge(*parts, key=lambda raw: raw.meta.arrived_ns)

    async def shown_items(self, feed: str, limit: int, start_ns: int, end_ns: int) -> list[tuple[int, bytes]] | None:
        """For the gateway: see Backend.feed_items. Raises NoData for a feed that does not load."""
        if feed not in self._items and feed not in self._loaded.broken:
            return None
        if end_ns:
            found = await self.replay(feed, start_ns, end_ns, limit)
            return await asyncio.to_thread(feed_items.shown, found)
        newest = self._named(feed).newest(limit)
        return (await asyncio.to_thread(feed_items.shown, newest[::-1]))[::-1]

    def _named(self, feed: str) -> FeedItems:
        if feed in self._items:
            return self._items[feed]
        why = self._loaded.broken.get(feed, f"it is not configured; there are: {', '.join(self._items) or 'none'}")
        raise NoData(f"feed {feed!r} does not run on {self.seat.node}: {why}")

    async def statuses(self) -> list[FeedStatus]:
        """What is to be said of each feed that runs here, and of those that do not load."""
        engine = self._engines.current
        places: Mapping[str, tuple[str, ...]] = engine.locations() if engine is not None else {}
        dues: Mapping[str, int | None] = engine.next_dues() if engine is not None else {}
        self._forget_gone()
        found = []
        for settings in self.config.feeds:
            name = settings.name
            error = self._loaded.broken.get(name) or self._broken_tools.get(name, "")
            if not error and not self._moves.runs(name):
                continue
            bases = [base for base in places if self._loaded.is_part(base, name)]
            failing = {at: why for (base, at), why in self._failing.items() if base in bases}
            found.append(
                self._loaded.status(
                    settings,
                    self.seat.node,
                    locations=sum(len(places[base]) for base in bases),
                    codes=dict(self._items[name].codes) if name in self._items else {},
                    next_due_ns=min((due for base in bases if (due := dues[base]) is not None), default=0),
                    failing=dict(list(failing.items())[-SHOWN_FAILING:]),
                    failing_count=len(failing),
                    error=error,
                )
            )
        return found

    def figures(self) -> dict[str, float]:
        """Counts since the start, and what waits."""
        return {
            "feeds": float(len(self._loaded.feeds)),
            "feeds_broken": float(len(self._loaded.broken)),
            "feeds_dropped": float(self._engines.current.dropped if self._engines.current is not None else 0),
            "moves": float(self._moves.moves),
            **self._runner.figures(),
            **self._signals.figures(),
            **self._tools.figures(),
            **self._notices.figures(),
        }

    def notes(self) -> tuple[str, ...]:
        """Feeds and tools that do not load, tools that fail, and locations whose newest fetch failed."""
        lines = [f"feed {name} does not run: {why}" for name, why in self._loaded.broken.items()]
        lines += [f"feed {name} runs without its tools: {why}" for name, why in self._broken_tools.items()]
        lines += self._tools.notes()
        lines += [f"feed {base}: {at}: {why}" for (base, at), why in self._failing.items()]
        return tuple(lines[:50])
