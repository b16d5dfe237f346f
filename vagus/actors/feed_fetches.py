"""The fetches that go on: within limits, by callbacks where a source can, else by a task each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from vagus.actors.feed_slots import Slots
from vagus.feeds import Fetched, Net, Source
from vagus.feeds.directives import Directive, Emit, Fetch
from vagus.feeds.location import host, scheme

MAX_PLACES = 200_000

Failed = Callable[[str, BaseException], None]


class Begins(Protocol):
    """A source that needs no task for each fetch: `done` is called once, later, in the loop, with what `fetch` returns."""

    def begin(self, location: str, timeout_s: float, max_bytes: int, done: Callable[[Fetched], None]) -> None: ...


class Run:
    """One fetch, from the directive until its last item is out. ended_ns is the owner's to set."""

    __slots__ = (
        *("begun_s", "duration_s", "ended_ns", "fetch", "fetched", "held", "host", "is_over", "owner", "source"),
        "steps",
    )

    steps: Iterator[Directive]
    fetched: Fetched

    def __init__(self, owner: Fetches, fetch: Fetch, host: str, source: Any) -> None:
        self.owner = owner
        self.fetch = fetch
        self.host = host
        self.source = source
        self.held: list[Emit] = []  # items whose bytes are not yet committed
        self.is_over = False
        self.begun_s = self.duration_s = 0.0
        self.ended_ns = 0

    def done(self, fetched: Fetched) -> None:
        """Called by the source."""
        self.duration_s = time.perf_counter() - self.begun_s
        self.fetched = fetched
        self.owner.ended(self)


class Fetches:
    """`begin` starts a fetch, or lets it wait for a slot; each that ends is told to `ended`. Arguments as FeedRunner's."""

    def __init__(
        self,
        sources: Mapping[tuple[str, str], Source],
        ended: Callable[[Run], None],
        failed: Failed,
        most: int,
        most_per_host: int,
    ) -> None:
        self._sources = sources
        self._ended = ended
        self._failed = failed
        self._slots: Slots[Run] = Slots(most, most_per_host)
        self._places: dict[tuple[str, str], tuple[str, Any]] = {}  # of a feed and location: host, source
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = self._stopped = False

    @property
    def going(self) -> int:
        """How many are under way."""
        return 0 if self._stopped else self._slots.going

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return 0 if self._stopped else self._slots.waiting

    def begin(self, fetch: Fetch) -> None:
        """Starts it now, or when there is a slot."""
        if self._stopping:
            return
        place = (fetch.feed, fetch.location)
        found = self._places.get(place)
        if found is None:
            name = scheme(fetch.location)
            found = host(fetch.location), self._sources.get((fetch.feed, name)) or self._sources.get(("", name))
            if found[1] is not None:
                if len(self._places) >= MAX_PLACES:
                    self._places.clear()
                self._places[place] = found
        run = Run(self, fetch, *found)
        if self._slots.take(run.host, run):
            self._launch(run)

    def _launch(self, run: Run) -> None:
        fetch, source = run.fetch, run.source
        run.begun_s = time.perf_counter()
        if source is None:
            note = f"no source serves {scheme(fetch.location)}: locations of feed {fetch.feed}"
            asyncio.get_running_loop().call_soon(run.done, Fetched(Net.FAILED, note=note[:300]))
            return
        if fetch.fresh and hasattr(source, "forget"):
            source.forget(fetch.location)
        begin = getattr(source, "begin", None)
        if begin is None:
            task = asyncio.ensure_future(self._await(run))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        try:
            begin(fetch.location, fetch.timeout_s, fetch.max_bytes, run.done)
        except Exception as error:
            asyncio.get_running_loop().call_soon(run.done, self._broke_contract(run, error))

    async def _await(self, run: Run) -> None:
        fetch = run.fetch
        try:
            fetched = await run.source.fetch(fetch.location, fetch.timeout_s, fetch.max_bytes)
        except Exception as error:
            fetched = self._broke_contract(run, error)
        run.done(fetched)

    def _broke_contract(self, run: Run, error: Exception) -> Fetched:
        """A source from outside that raises stops no feed."""
        self._failed(f"feed {run.fetch.feed}: source {scheme(run.fetch.location)}", error)
        return Fetched(Net.FAILED, note=f"{type(error).__name__}: {error}"[:300])

    def ended(self, run: Run) -> None:
        """Of a run: it has its result, and leaves its slot to another."""
        if self._stopped:
            return
        self._ended(run)
        for following in self._slots.free(run.host):
            if not self._stopping:
                self._launch(following)

    async def stop(self) -> None:
        """Begins nothing more, abandons what is under way, closes the sources."""
        self._stopping = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for source in {id(source): source for source in self._sources.values()}.values():
            try:
                await source.close()
            except Exception as error:
                self._failed("closing a source", error)
        self._stopped = True
