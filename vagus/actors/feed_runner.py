"""Performs what the engine of feeds directs: fetches within limits, archives before it parses, hands items on.

Everything goes in batches: what comes within some milliseconds is archived in one commit, then parsed and emitted
together; what comes alone does not wait. No Ray here: the feed actor, the command line and scripts use the same runner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Protocol

from vagus.actors.feed_archive import FeedArchive, Refusals
from vagus.actors.feed_fetches import Failed, Fetches, Run
from vagus.clock import NS, Clock, SystemClock
from vagus.errors import VagusError
from vagus.feeds import Fetched, Net, Origin, Raw, Source
from vagus.feeds.directives import Archive, Directive, Emit, Fetch

MAX_FETCHES = 500  # at once
MAX_FETCHES_PER_HOST = 8  # of one host and port, of commands, or of files
MAX_NAP_S = 1.0  # wall time may be set: look at it as often
GATHER_S = 0.005  # where much is due, what is due within this time begins together
COMMIT_S = 0.02  # where much comes, this long is gathered for one commit: a commit costs as much as ten fetches


class Core(Protocol):
    """What runs: the engine of several feeds."""

    def next_due(self) -> int | None: ...

    def tick(self, now_ns: int) -> list[Directive]: ...

    def fetched(self, fetch: Fetch, fetched: Fetched, now_ns: int) -> Iterator[Directive]: ...


class FeedRunner:
    """Runs an engine. `start`, or `tick` by hand; `stop` at the end closes the sources and leaves the archive open.

    sources: by (base feed, scheme); ("", scheme) serves every base that has none of its own (feed_sources makes them
    as they are needed). archive: None keeps nothing. emit: each item, after its bytes are committed (or could not be:
    then `failed` was told, and figures count them as unarchived). failed: what went wrong, and where; the runner goes
    on. fetched: each fetch that ended, its duration in seconds and when, in ns of wall time, after its items are out.
    """

    def __init__(
        self,
        engine: Core,
        sources: Mapping[tuple[str, str], Source],
        archive: FeedArchive | None,
        *,
        emit: Callable[[Emit], None],
        failed: Failed,
        fetched: Callable[[Fetch, Fetched, float, int], None] | None = None,
        clock: Clock | None = None,
        max_fetches: int = MAX_FETCHES,
        max_per_host: int = MAX_FETCHES_PER_HOST,
    ) -> None:
        self.engine = engine
        self._sources = sources
        self._archive = archive
        self._clock = clock or SystemClock()
        self._emit = emit
        self._failed = failed
        self._fetched = fetched
        self._fetches = Fetches(sources, self._ended, failed, max_fetches, max_per_host)
        self._ended_runs: list[Run] = []
        self._drained_s = 0.0
        self._archiving = 0  # batches that wait for their commit
        self._timer: asyncio.TimerHandle | None = None
        self._wake_ns = 0
        self._idle: list[asyncio.Future[None]] = []
        self._stopped = False
        self._counts = dict.fromkeys(("fetches", "failures", "missed", "bytes", "items", "unarchived"), 0)

    # --- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Ticks from now on by itself, in the running loop."""
        self._timer = asyncio.get_running_loop().call_later(0.0, self._wake)

    def _wake(self) -> None:
        self._sleep(self.tick(), GATHER_S)

    def _sleep(self, due_ns: int | None, at_least_s: float) -> None:
        now_ns = self._clock.time_ns()
        nap_s = MAX_NAP_S if due_ns is None else min(max((due_ns - now_ns) / NS, at_least_s), MAX_NAP_S)
        self._wake_ns = now_ns + round(nap_s * NS)
        self._timer = asyncio.get_running_loop().call_later(nap_s, self._wake)

    def _wake_sooner(self) -> None:
        """What has come may have made something due before the next look (foreach)."""
        if self._timer is None or self._stopped:
            return
        due_ns = self.engine.next_due()
        if due_ns is not None and due_ns < self._wake_ns:
            self._timer.cancel()
            self._sleep(due_ns, 0.0)

    async def finish(self) -> None:
        """As `stop`, but what is under way comes to its end first; no more ticks begin."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self.idle()
        await self.stop()

    async def stop(self) -> None:
        """Begins nothing more, abandons what is under way, delivers what has come, closes the sources."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        await self._fetches.stop()
        if self._ended_runs:
            self._drain()
        while self._archiving:
            await self._until_changed()

    def tick(self) -> int | None:
        """Starts what is due, and returns when something is due next, in ns of wall time."""
        try:
            now_ns = self._clock.time_ns()
            due_ns = self.engine.next_due()
            if due_ns is not None and (due_ns <= now_ns or due_ns > now_ns + MAX_NAP_S * NS):
                self._perform(self.engine.tick(now_ns))
                due_ns = self.engine.next_due()
            return due_ns
        except Exception as error:
            self._failed("tick", error)
            return None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being fetched, archived or waiting for a slot."""
        return not (self._fetches.going or self._fetches.waiting or self._ended_runs or self._archiving)

    async def idle(self) -> None:
        """Returns when nothing is under way; ticks that are due later do not count."""
        while not self.is_idle:
            await self._until_changed()

    async def _until_changed(self) -> None:
        changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(changed)
        await changed

    def _changed(self) -> None:
        if self._idle and (self.is_idle or self._stopped):
            waiting, self._idle = self._idle, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    def figures(self) -> dict[str, float]:
        """Counts since the start, what goes on, and the archive's figures."""
        found = {**self._counts, "fetching": self._fetches.going, "fetches_waiting": self._fetches.waiting}
        own = {name: float(value) for name, value in found.items()}
        return {**self._archive.figures(), **own} if self._archive is not None else own

    # --- fetching ----------------------------------------------------------------------------------------------------

    def _perform(self, directives: Iterable[Directive]) -> None:
        """Of a tick: fetches begin; what is missed is archived together, then told."""
        raws: list[Raw] = []
        emits: list[Emit] = []
        for directive in directives:
            if isinstance(directive, Fetch):
                self._fetches.begin(directive)
            elif isinstance(directive, Archive):
                raws.append(directive.raw)
            else:
                emits.append(directive)
        self._count_missed(emits)
        if raws or emits:
            self._store(raws, partial(self._told, emits))

    def _count_missed(self, emits: Iterable[Emit]) -> None:
        missed: dict[Origin, int] = {}
        for emit in emits:
            if emit.item.meta.net is Net.MISSED:  # several feeds may tell of one
                missed[emit.item.meta.origin] = emit.ticks
        self._counts["missed"] += sum(missed.values())

    def _told(self, emits: list[Emit], refused: Refusals) -> None:
        self._refused(refused)
        for emit in emits:
            self._hand_on(emit)

    def _ended(self, run: Run) -> None:
        run.ended_ns = self._clock.time_ns()
        if not self._ended_runs:
            loop = asyncio.get_running_loop()
            loop.call_at(max(self._drained_s + COMMIT_S, loop.time()), self._drain)
        self._ended_runs.append(run)

    # --- what has come -----------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """All that ended since the last time: one commit, then the items."""
        runs, self._ended_runs = self._ended_runs, []
        self._drained_s = asyncio.get_running_loop().time()
        if runs:
            counts = self._counts
            counts["fetches"] += len(runs)
            for run in runs:
                fetched = run.fetched
                counts["bytes"] += len(fetched.body)
                if fetched.net is not Net.OK and fetched.net is not Net.NOT_MODIFIED:
                    counts["failures"] += 1
                try:
                    run.steps = self.engine.fetched(run.fetch, fetched, run.ended_ns)
                except Exception as error:
                    run.steps = iter(())
                    self._failed(f"feed {run.fetch.feed}", error)
            self._advance(runs)

    def _advance(self, runs: list[Run]) -> None:
        """Each run goes on to its next bytes for the archive, or to its end. Nothing is parsed before its bytes are kept."""
        raws: list[Raw] = []
        stored: list[Run] = []
        for run in runs:
            put = len(raws)
            try:
                for directive in run.steps:
                    if isinstance(directive, Archive):
                        raws.append(directive.raw)
                        if directive.raw.body:
                            break  # to parse it is the next step
                    elif isinstance(directive, Fetch):
                        self._fetches.begin(directive)
                    elif len(raws) > put:
                        run.held.append(directive)
                    else:
                        self._hand_on(directive)
                else:
                    run.is_over = True
            except Exception as error:
                run.is_over = True
                self._failed(f"feed {run.fetch.feed}", error)
            if len(raws) > put:
                self._count_missed(run.held)  # ticks that passed while it ran
                stored.append(run)
            elif run.is_over:
                self._tell(run)
        if raws:
            self._store(raws, partial(self._stored, stored))
        self._wake_sooner()
        self._changed()

    def _tell(self, run: Run) -> None:
        if self._fetched is not None:
            try:
                self._fetched(run.fetch, run.fetched, run.duration_s, run.ended_ns)
            except Exception as error:
                self._failed(f"feed {run.fetch.feed}: fetched", error)

    def _store(self, raws: list[Raw], then: Callable[[Refusals], None]) -> None:
        if self._archive is None or not raws:
            then({})
            return
        self._archiving += 1
        self._archive.put(raws, partial(self._archived, then))

    def _archived(self, then: Callable[[Refusals], None], refused: Refusals) -> None:
        self._archiving -= 1
        try:
            then(refused)
        finally:
            self._changed()

    def _stored(self, runs: list[Run], refused: Refusals) -> None:
        self._refused(refused)
        left: list[Run] = []
        for run in runs:
            for emit in run.held:
                self._hand_on(emit)
            run.held.clear()
            if run.is_over:
                self._tell(run)
            else:
                left.append(run)
        if left:
            self._advance(left)

    def _refused(self, refused: Refusals) -> None:
        """Each distinct reason is told once a batch."""
        self._counts["unarchived"] += len(refused)
        told: dict[str, VagusError] = {str(error): error for error in refused.values()}
        for error in told.values():
            self._failed("archive", error)

    def _hand_on(self, emit: Emit) -> None:
        self._counts["items"] += 1
        try:
            self._emit(emit)
        except Exception as error:
            self._failed(f"feed {emit.feed}: item", error)
