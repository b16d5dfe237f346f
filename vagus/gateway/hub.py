"""Feeds: the items of one node for one selection, followed once and encoded once, however many read them.

A feed keeps its newest chunks in a ring; readers have a place in it. A reader that is slower than the ring loses its
oldest items, which are counted; nobody waits for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from vagus.clock import Clock
from vagus.errors import ConfigError, VagusError
from vagus.gateway.backend import Backend
from vagus.gateway.fanout import MissingNode
from vagus.gateway.forms import Allow, Chunk, Form, encode
from vagus.model import Event, Page, Sample

MAX_CHUNKS = 256
MAX_RING_BYTES = 4 << 20
MAX_BYTES = 64 << 20  # of all rings: many selections share it
MAX_SEEN = 10_000
AT_ONCE = 4  # readers of one node's past: a page of it is some megabytes before it is encoded
PACE_S = 0.02  # items that come closer together travel together
OWN_WAIT_S = 10.0
MOST_WAIT_S = 2.0  # of another node: an answer within the gateway's time-out
RETRY_S = (0.2, 1.0, 2.0, 5.0)


class Selection(NamedTuple):
    """What a feed is of. who: whose rules apply; "" where there are none."""

    selector: str
    events: str
    form: Form
    who: str = ""


class Woken(Protocol):
    """A reader of feeds."""

    def wake(self) -> None: ...


class Feed:
    """One node's items, encoded, the newest in a ring. `begin` is the node's position before the first chunk, `position`
    the one after the last; "": not known.

    Chunks are numbered; the ring holds those from `first` on, `end` will be the next. `passed` counts items since the
    beginning. error: why the feed has ended; empty: it goes on, and asks again while the node is away.
    """

    def __init__(self, hub: Hub, node: str, selection: Selection, allow: Allow) -> None:
        self.node = node
        self.readers: dict[Woken, None] = {}
        self.chunks: deque[tuple[int, Chunk]] = deque()  # with the items that were passed before it
        self.end = 0
        self.passed = 0
        self.begin = self.position = ""
        self.started = asyncio.Event()
        self.turn = hub.turns.setdefault(node, asyncio.Semaphore(AT_ONCE))
        self.trouble = ""
        self.error: Exception | None = None
        self._bytes = 0
        self._hub = hub
        self._selection = selection
        self._allow = allow
        self._seen: dict[str, bool] = {}
        self._task = asyncio.ensure_future(self._run())

    @property
    def first(self) -> int:
        """The number of the oldest chunk."""
        return self.end - len(self.chunks)

    async def ask(self, after: str, since_ns: int, until: str, wait_s: float) -> Page:
        """A page of this feed's node for this selection."""
        return await self._hub.ask(self.node, (*self._selection[:2], after, since_ns, until, wait_s))

    def encode(self, page: Page) -> list[Chunk]:
        """The chunks of a page: what it says of itself, and its items that the reader may see."""
        chunks = []
        if page.gap:
            chunks.append(Chunk(b"", 0, self.node, page.after, notice={"gap": MissingNode(self.node, page.gap)}))
        items = page.items
        if self._selection.who:
            if len(self._seen) > MAX_SEEN:
                self._seen.clear()
            for name in {_name(record) for _, record in items} - self._seen.keys():
                self._seen[name] = self._allow(self.node, name)
                if not self._seen[name]:
                    refused = {"node": self.node, "name": name}
                    chunks.append(Chunk(b"", 0, self.node, self.position, notice={"refused": refused}))
            items = tuple(item for item in items if self._seen[_name(item[1])])
        if items:
            chunks.append(encode(self._selection.form, self.node, page.after, items))
        return chunks

    async def _run(self) -> None:
        begun_ns, since_ns, failures = self._hub.clock.time_ns(), 0, 0
        wait_s = OWN_WAIT_S if self.node == self._hub.backend.node else min(MOST_WAIT_S, self._hub.timeout_s / 2)
        after = ""
        while True:
            try:
                page = await self.ask(after, since_ns, "", wait_s)
            except ConfigError as error:
                self.error = error
                self._tell()
                return
            except Exception as error:
                text = str(error)[:300] if isinstance(error, VagusError) else type(error).__name__
                if not isinstance(error, (VagusError, asyncio.TimeoutError, TimeoutError)):
                    self._hub.failed(f"feed of {self.node}: {type(error).__name__}: {error}"[:300])
                if text != self.trouble:
                    self.trouble = text
                    self._put(Chunk(b"", 0, self.node, self.position, notice={"missing": MissingNode(self.node, text)}))
                since_ns = since_ns or begun_ns  # what comes while it is away is in its archive
                await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
                failures += 1
                continue
            failures = 0
            if self.trouble:
                self.trouble = ""
                self._put(Chunk(b"", 0, self.node, page.after, notice={"back": self.node}))
            after = page.after
            for chunk in self.encode(page):
                self._put(chunk)
            self.position = after
            self.begin = self.begin or after
            if page.live and not self.started.is_set():
                self.started.set()
                self._tell()
            if page.items:
                await asyncio.sleep(PACE_S)

    def _put(self, chunk: Chunk) -> None:
        self.chunks.append((self.passed, chunk))
        self.end += 1
        self.passed += chunk.items
        self._bytes += _size(chunk)
        most = min(MAX_RING_BYTES, MAX_BYTES // max(1, len(self._hub)))
        while len(self.chunks) > 1 and (len(self.chunks) > MAX_CHUNKS or self._bytes > most):
            self._bytes -= _size(self.chunks.popleft()[1])
        self._tell()

    def _tell(self) -> None:
        for reader in self.readers:
            reader.wake()

    def close(self) -> None:
        """Ends the following."""
        self._task.cancel()


def _name(record: Sample | Event) -> str:
    return record.event if isinstance(record, Event) else record.stream.kind


def _size(chunk: Chunk) -> int:
    return len(chunk.data) + sum(len(line) for _, line in chunk.parts)


class Hub:
    """The feeds there are; one ends with its last reader. `failed` is told of defects."""

    def __init__(self, backend: Backend, clock: Clock, timeout_s: float, failed: Callable[[str], None]) -> None:
        self.backend = backend
        self.clock = clock
        self.timeout_s = timeout_s
        self.failed = failed
        self.turns: dict[str, asyncio.Semaphore] = {}  # by node: who may read its past
        self._feeds: dict[tuple[str, Selection], Feed] = {}

    def __len__(self) -> int:
        return len(self._feeds)

    async def ask(self, node: str, args: tuple[str, str, str, int, str, float]) -> Page:
        """`follow` of any node."""
        if node == self.backend.node:
            return await self.backend.follow(*args)
        found: Page = await asyncio.wait_for(self.backend.ask(node, "follow", args), self.timeout_s)
        return found

    def join(self, node: str, selection: Selection, allow: Allow, reader: Woken) -> Feed:
        """The feed, begun if there is none; `leave` it in the end."""
        feed = self._feeds.get((node, selection))
        if feed is None or feed.error is not None:
            feed = self._feeds[node, selection] = Feed(self, node, selection, allow)
        feed.readers[reader] = None
        return feed

    def leave(self, selection: Selection, feed: Feed, reader: Woken) -> None:
        """A reader less."""
        feed.readers.pop(reader, None)
        if not feed.readers:
            feed.close()
            if self._feeds.get((feed.node, selection)) is feed:
                del self._feeds[feed.node, selection]
