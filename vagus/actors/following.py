"""The shell around the seam: reads the archive in threads, waits for what is live, answers in pages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Protocol

import numpy as np

from vagus.actors.arrivals import Journal, Position, stream_number
from vagus.actors.base import Links
from vagus.actors.interest import Interest, interest
from vagus.actors.live import Live
from vagus.actors.seam import Found, Scan, begin, joined, plan
from vagus.clock import NS
from vagus.errors import PeerUnreachable
from vagus.model import Event, Page, Sample
from vagus.store import Batch, Store

MOST = 5000  # items of a page, about
WAIT_S = 2.0
SETTLE_S = 5.0  # what was begun is committed and told within this, or the store hangs
FIRST_WINDOW_NS = 10 * NS
LEAST_WINDOW_NS = NS // 10
MOST_WINDOW_NS = 21_600 * NS
MAX_WINDOWS = 1000


class Following:
    """Answers `follow` for one node."""

    def __init__(self, live: Live, store: Store, journal: Journal, most: int = MOST) -> None:
        self._live = live
        self._store = store
        self._journal = journal
        self._most = most
        self._windows: dict[Interest, int] = {}  # how much of the past at once: by how much there was last time

    async def follow(
        self,
        selector: str,
        events: str = "",
        after: str = "",
        since_ns: int = 0,
        until: str = "",
        wait_s: float = WAIT_S,
    ) -> Page:
        """What comes after the position `after`; "": now, or with `since_ns` the past from then on, then the present.

        until: a position at which to stop (and what counts as now). Waits up to `wait_s` for the first item. Positions
        are kept by the one who asks: asking again for the same gives the same. Raises ConfigError, StoreError,
        PeerUnreachable (the store hangs).
        """
        wanted = interest(selector, events)
        end = Position.parse(until) if until else None
        position = Position.parse(after) if after else begin(self._live.arrivals, since_ns, end, time.time_ns())
        if not after:
            return Page((), str(position), behind=since_ns > 0, live=since_ns <= 0)
        deadline = time.monotonic() + wait_s
        while True:
            if end is not None and position.past_ns < 0 and position[0] == end[0] and position.key >= end.key:
                return Page((), str(position), reached=position.key == end.key)
            window_ns = self._windows.get(wanted, FIRST_WINDOW_NS)
            step = plan(self._live, wanted, position, end, time.time_ns(), window_ns, self._most)
            if isinstance(step, Scan):
                step = await self._scan(wanted, step, end)
            left_s = deadline - time.monotonic()
            if step is None:
                if left_s <= 0:
                    return Page((), str(position))
                await self._live.wait(left_s)
            elif step.items or step.gap or (left_s <= 0 and step.after != str(position)):
                return step
            else:
                position = Position.parse(step.after)

    async def _scan(self, wanted: Interest, scan: Scan, until: Position | None) -> Page:
        found, end_ns = await asyncio.to_thread(read, self._store, self._journal, wanted, scan, self._most)
        begun = self._journal.begun  # after the scan: nothing that it saw was begun later
        deadline = time.monotonic() + SETTLE_S
        while self._live.arrivals.published < begun:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise PeerUnreachable(f"what is being stored is not committed within {SETTLE_S:g} s: a slow disk?")
            await self._live.wait(left_s)
        if not scan.replay:
            self._learn(wanted, scan, end_ns, len(found.samples) + len(found.events))
            scan = scan._replace(end_ns=end_ns)
        return joined(self._live.arrivals, wanted, scan, found, until, self._most)

    def _learn(self, wanted: Interest, scan: Scan, end_ns: int, items: int) -> None:
        """The next window, so that it holds about a page."""
        window_ns = self._windows.get(wanted, FIRST_WINDOW_NS)
        if end_ns < scan.end_ns:
            window_ns = 2 * (end_ns - scan.start_ns)
        elif items < self._most // 4:
            window_ns *= 4
        if len(self._windows) > MAX_WINDOWS:
            self._windows.clear()
        self._windows[wanted] = min(max(window_ns, LEAST_WINDOW_NS), MOST_WINDOW_NS)


def read(store: Store, journal: Journal, wanted: Interest, scan: Scan, most: int) -> tuple[Found, int]:
    """What the archive has in the scan's span, and the end of it: earlier for the past when there is too much."""
    batches: list[Batch] = []
    if wanted.selector is not None:
        batches = list(store.scan(wanted.selector, scan.start_ns, scan.end_ns))
    end_ns = scan.end_ns
    events: list[Event] = []
    upto = (0, 0)
    if wanted.events:
        if not journal.lock.acquire(timeout=SETTLE_S):
            raise PeerUnreachable(f"a flush of the store has taken more than {SETTLE_S:g} s: a slow disk?")
        try:  # events have no key but their order: no flush may be half-way
            upto = journal.committed
            events, end_ns = _events(store, scan, most)
        finally:
            journal.lock.release()
    if not scan.replay and sum(len(batch) for batch in batches) > most:
        times = np.sort(np.concatenate([batch.t_ns for batch in batches]))
        end_ns = min(end_ns, int(times[most]) + 1)
    samples: list[tuple[int, Sample]] = []
    for batch in batches:
        number, stream = stream_number(batch.stream.key), batch.stream
        rows = int(np.searchsorted(batch.t_ns, end_ns))
        columns = [column[:rows].tolist() for column in batch.columns]
        values: Any = zip(*columns, strict=True)
        samples += [
            (number, Sample(stream, t_ns, row)) for t_ns, row in zip(batch.t_ns[:rows].tolist(), values, strict=True)
        ]
    return Found(samples, [event for event in events if event.t_ns < end_ns], upto), end_ns


def _events(store: Store, scan: Scan, most: int) -> tuple[list[Event], int]:
    """The events of the span, or of the past its first ones up to a time all of whose events are known, and its end."""
    limit = 0 if scan.replay else most
    found = store.timed_records("event", Event, scan.start_ns, scan.end_ns, limit=limit, newest_first=False)
    events = [event for _, _, event in found]
    if not limit or len(events) < limit:
        return events, scan.end_ns
    last_ns = events[-1].t_ns
    while events and events[-1].t_ns == last_ns:
        events.pop()
    found = store.timed_records("event", Event, last_ns, last_ns + 1, newest_first=False)
    return events + [event for _, _, event in found], last_ns + 1


class Source(Protocol):
    """Whoever has `follow`: Following itself, a collector in this process, or one behind links."""

    async def follow(
        self, selector: str, events: str, after: str, since_ns: int, until: str, wait_s: float
    ) -> Page: ...


class LinkedSource:
    """The collector of any node, for an actor: `follow` over its links."""

    def __init__(self, links: Links, node: str) -> None:
        self._links = links
        self._actor = f"vagus:collector@{node}"

    async def follow(self, selector: str, events: str, after: str, since_ns: int, until: str, wait_s: float) -> Page:
        """As Following.follow. Raises PeerUnreachable."""
        args = (selector, events, after, since_ns, until, wait_s)
        found: Page = await self._links.call(self._actor, "follow", *args, timeout_s=wait_s + SETTLE_S)
        return found


async def subscribe(
    source: Source, selector: str, events: str = "", since_ns: int = 0, retry_s: float = 1.0, after: str = ""
) -> AsyncIterator[Page]:
    """Past to present, page by page, for ever: how actors subscribe, on whichever node the sensor is.

    Each page has items. A source that is away is asked again from the same position: nothing is lost or comes twice.
    Raises ConfigError.
    """
    interest(selector, events)
    begun_ns = since_ns or time.time_ns()
    while True:
        try:
            page = await source.follow(selector, events, after, since_ns, "", WAIT_S)
        except PeerUnreachable:
            since_ns = since_ns or begun_ns  # what comes while it is away is in its archive
            await asyncio.sleep(retry_s)
            continue
        after = page.after
        if page.items or page.gap:
            yield page
