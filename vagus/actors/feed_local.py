"""Feeds at work in this process, without Ray: the engine, its runner, an archive and tools in a folder.

The folder has `archive`, a store with the raw bytes, and for each feed a folder with the files of its tools.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from vagus.actors.feed_archive import FeedArchive
from vagus.actors.feed_notices import FeedNotices
from vagus.actors.feed_read import Only, refed
from vagus.actors.feed_runner import FeedRunner
from vagus.actors.feed_sources import FeedSources
from vagus.actors.feed_tools import FeedTools
from vagus.clock import Clock, SystemClock
from vagus.config import Config, FeedSettings, StoreSettings, load, seconds
from vagus.errors import ConfigError, NoData, VagusError
from vagus.feeds import Fetched, Raw, Tool
from vagus.feeds.contracts import Notice
from vagus.feeds.directives import Emit, Fetch, Recall
from vagus.feeds.engine import Engine
from vagus.feeds.feed import Base, Feed, Foreach
from vagus.feeds.naming import names_of, tree

ARCHIVE = "archive"
TOOLS_TICK_S = 1.0
BATCH = 50  # items of a refeed that are handed on without a look at what else there is

Failed = Callable[[str, BaseException], None]


class LocalFeeds:
    """Runs feeds in the running loop, from `start` to `stop`.

    only: the names of those that are wanted, where others are there since they may be made of them. folder: where bytes are archived, and from where a run goes on that stood there before (resume); None keeps
    nothing. tools: of each feed. emit: each item; notice: each notice of a tool, in the tools' thread, which also goes
    to its webhooks and mailboxes; failed: what went wrong, and where, from any thread; fetched: each fetch that ended, as FeedRunner tells it.
    """

    def __init__(
        self,
        feeds: Mapping[str, Feed[Any]],
        *,
        emit: Callable[[Emit], None],
        failed: Failed,
        only: Collection[str] | None = None,
        folder: Path | None = None,
        resume: bool = True,
        tools: Mapping[str, Sequence[Tool]] | None = None,
        notice: Callable[[Notice], None] = lambda _: None,
        fetched: Callable[[Fetch, Fetched, float, int], None] | None = None,
        always: Mapping[str, Mapping[str, Any]] | None = None,
        store: StoreSettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.feeds = dict(feeds)
        self._emit = emit
        self._failed = failed
        self._fetched = fetched
        self._resume = resume
        self._always = always
        self._clock = clock or SystemClock()
        self._only = None if only is None else tuple(only)
        self._notice = notice
        self._notices = FeedNotices(failed=failed)
        self._tools = FeedTools(tools or {}, self._deliver, failed)
        self._archive: FeedArchive | None = None
        if folder is not None:
            self._archive = FeedArchive(folder / ARCHIVE, store, clock=self._clock, failed=failed)
        self._names = names_of(self.feeds)
        self._engine: Engine | None = None
        self._runner: FeedRunner | None = None
        self._ticking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Opens the archive, goes on where it ends, begins to fetch. Raises VagusError; then nothing is open."""
        try:
            last = {}
            if self._archive is not None:
                await self._archive.open()
                last = await self._archive.last_due() if self._resume else {}
            share = None if self._only is None else Only(self._only)
            engine = self._engine = Engine(self.feeds, now_ns=self._clock.time_ns(), last_due_ns=last, share=share)
            for recall in engine.recalls():
                await self._recall(engine, recall)
        except BaseException:
            if self._archive is not None:
                await self._archive.close()
            raise
        sources = FeedSources(lambda base: engine.base(base).options, always=self._always, failed=self._failed)
        self._runner = FeedRunner(
            engine,
            sources,
            self._archive,
            emit=self._take,
            failed=self._failed,
            fetched=self._fetched,
            clock=self._clock,
        )
        await self._notices.start()
        self._runner.start()
        self._ticking = asyncio.ensure_future(self._tick_tools())

    async def _recall(self, engine: Engine, recall: Recall) -> None:
        for number, directive in enumerate(engine.recalled(recall, self._raws(recall), self._clock.time_ns())):
            if isinstance(directive, Emit):
                self._take(directive)
            if number % BATCH == BATCH - 1:
                await asyncio.sleep(0)

    def _raws(self, recall: Recall) -> Iterator[Raw]:
        """One after the other: an archive may be larger than memory."""
        if recall.folder:
            yield from refed(recall)
        elif self._archive is not None:
            for raw in self._archive.read(start_ns=recall.since_ns):
                if not recall.feeds or raw.meta.feed in recall.feeds:
                    yield raw

    async def stop(self) -> tuple[str, ...]:
        """Ends all in order: fetches, tools, archive; the tools that did not end in time. Idempotent."""
        left: tuple[str, ...] = ()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.stop()
            if self._ticking is not None:
                self._ticking.cancel()
            if self._tools:
                left = await asyncio.to_thread(self._tools.finish, self._clock.time_ns())
            await self._notices.stop()
            if self._archive is not None:
                await self._archive.close()
        return left

    def _take(self, emit: Emit) -> None:
        self._tools.take(emit)
        self._emit(emit)

    def _deliver(self, notice: Notice) -> None:
        self._notices.deliver(notice)
        self._notice(notice)

    async def _tick_tools(self) -> None:
        while self._tools:
            self._tools.tick(self._clock.time_ns())
            await asyncio.sleep(TOOLS_TICK_S)

    @property
    def ended(self) -> bool:
        """Whether nothing is under way and nothing will be due, as after `once`."""
        runner, engine = self._runner, self._engine
        return runner is None or engine is None or (engine.ended and runner.is_idle)

    def next_due_ns(self) -> dict[str, int | None]:
        """When each feed has its next tick, in ns of wall time; None when there is none any more."""
        dues = {} if self._engine is None else self._engine.next_dues()
        return {
            name: min((due for base in self.bases_of(name) if (due := dues[base]) is not None), default=None)
            for name in (self.feeds if self._only is None else self._only)
        }

    def bases_of(self, feed: str) -> list[str]:
        """The names of the base feeds that a feed has at present, those that foreach made included."""
        own = {self._names[id(one)] for one in tree(self.feeds[feed]) if isinstance(one, (Base, Foreach))}
        bases = () if self._engine is None else self._engine.bases()
        return [base for base in bases if not own.isdisjoint(_prefixes(base))]

    def base(self, name: str) -> Base[Any]:
        """A base feed that there is at present. Raises NoData."""
        if self._engine is None:
            raise NoData(f"there is no base feed {name!r}: nothing was started")
        return self._engine.base(name)

    def figures(self) -> dict[str, float]:
        """Those of runner and archive, and of the tools."""
        own = self._runner.figures() if self._runner is not None else {}
        return {**own, **{f"tools_{name}": value for name, value in self._tools.figures().items()}}


def _prefixes(base: str) -> list[str]:
    """The name, and those of the foreach that it may have been made in."""
    parts = base.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def feeds_in(file: str | Path) -> tuple[FeedSettings, ...]:
    """What a vagus.yaml declares, or a file with nothing but `feeds:`. Raises ConfigError, also when that is nothing."""
    settings = load(file, Config).feeds
    if not load(file, dict[str, Any]).get("feeds"):  # the settings would have defaults
        raise ConfigError(f"{file}: it declares no feeds; `vagus feed --help` shows how they look")
    return settings


def once_each(settings: FeedSettings) -> FeedSettings:
    """The same feed with a single tick, now, and so of all that stand in it."""
    return _scheduled(settings, lambda one: {"once": True, "start": "", "duration": 0})


def faster(settings: FeedSettings, times: float) -> FeedSettings:
    """The same feed with ticks that come so many times as often, and so of all that stand in it; timeouts stay.

    Raises ConfigError for a period that is too short then.
    """
    return _scheduled(settings, lambda one: {key: seconds(getattr(one, key)) / times for key in ("every", "duration")})


def _scheduled(settings: FeedSettings, change: Callable[[FeedSettings], dict[str, Any]]) -> FeedSettings:
    """The same feed with other schedules."""

    def part(one: FeedSettings | str | None) -> Any:
        return _scheduled(one, change) if isinstance(one, FeedSettings) else one

    changed: dict[str, Any] = {
        **{key: part(getattr(settings, key)) for key in ("of", "foreach")},
        **{key: tuple(map(part, getattr(settings, key))) for key in ("pair", "union", "failover", "many")},
        "keyed": {key: part(one) for key, one in settings.keyed.items()},
    }
    if settings.source is not None:
        changed |= change(settings)
    return msgspec.structs.replace(settings, **changed)


def describe(error: BaseException) -> str:
    """What went wrong, for people."""
    return str(error) if isinstance(error, VagusError) else f"{type(error).__name__}: {error}"
