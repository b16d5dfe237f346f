"""One reader of a subscription: its place in the feed of each node, and how it gets there from the past."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice

import msgspec

from vagus.errors import ConfigError, VagusError
from vagus.gateway.fanout import MissingNode
from vagus.gateway.forms import Allow, Chunk
from vagus.gateway.hub import RETRY_S, Feed, Hub, Selection

AT_ONCE_S = 0.5  # how long the past is searched for a first item before the search is asked for again
HEARTBEAT_S = 10.0


class Leg:
    """A reader's way along one node: alone from its own position until it meets the feed, then with the feed.

    after: a position to resume from; since_ns: else how far back; 0: from now on.
    """

    def __init__(self, reader: Reader, feed: Feed, after: str, since_ns: int) -> None:
        self.feed = feed
        self.position = after  # after what was taken
        self._going = after  # after what was fetched
        self._reader = reader
        self._since_ns = since_ns
        self._alone: deque[Chunk] = deque()
        self._room = asyncio.Event()  # the archive is read no faster than what came of it is sent
        self._room.set()
        self._cursor = -1  # the feed's next chunk; -1: not there yet
        self._passed = 0
        self._told_missing = False
        self._task: asyncio.Task[None] | None = None
        if after or since_ns:
            self._task = asyncio.ensure_future(self._catch_up())
        else:
            self.position = feed.position
            self._meet(feed.end, feed.passed)

    def _meet(self, cursor: int, passed: int) -> None:
        self._cursor, self._passed = cursor, passed
        if self.feed.trouble:
            self._alone.append(self._missing(self.feed.trouble))

    def _missing(self, text: str) -> Chunk:
        self._told_missing = True
        return Chunk(b"", 0, self.feed.node, self.position, notice={"missing": MissingNode(self.feed.node, text)})

    async def _catch_up(self) -> None:
        failures = 0
        while True:
            try:
                if await self._toward_feed():
                    self._reader.wake()
                    return
                failures = 0
            except ConfigError as error:
                self._reader.error = self._reader.error or error
                self._reader.wake()
                return
            except Exception as error:
                text = str(error) if isinstance(error, VagusError) else type(error).__name__
                if not failures:
                    self._alone.append(self._missing(text[:300]))
                    self._reader.wake()
                await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
                failures += 1

    async def _toward_feed(self) -> bool:
        """Goes up to where the feed is; False when that has gone on meanwhile, further than its ring goes back."""
        feed = self.feed
        if not feed.started.is_set():
            if feed.trouble:
                self._alone.append(self._missing(feed.trouble))
                self._reader.wake()
            await feed.started.wait()
        goal, cursor, passed = feed.position, feed.end, feed.passed
        while True:
            await self._room.wait()
            async with feed.turn:
                page = await feed.ask(self._going, self._since_ns, goal, AT_ONCE_S)
                if self._told_missing:  # the feed itself need not have noticed
                    self._told_missing = False
                    self._alone.append(Chunk(b"", 0, feed.node, self.position, notice={"back": feed.node}))
                self._alone.extend(feed.encode(page))
            self._going = page.after
            self.position = self.position or page.after
            idle = not (page.items or page.behind)
            page = msgspec.structs.replace(page, items=())  # megabytes, which a reader that stands still would keep
            if self._alone:
                self._room.clear()
                self._reader.wake()
            if page.reached:
                if cursor < feed.first:
                    return False
                self._meet(cursor, passed)
                return True
            if idle:  # ahead of the feed, which comes
                await asyncio.sleep(0.05)
                return False

    def stands(self) -> str:
        """The position after what was taken; "": not known yet."""
        return self.position or (self.feed.begin if self._cursor >= 0 else "")

    def take(self, out: list[Chunk]) -> int:
        """Adds what there is; returns how many items were lost."""
        lost = 0
        if self._alone:
            out.extend(self._alone)
            self.position = self._alone[-1].after or self.position
            self._alone.clear()
        feed = self.feed
        if self._cursor >= 0 and self._cursor < feed.end:
            first = feed.first
            if self._cursor < first:
                lost = feed.chunks[0][0] - self._passed
                self._cursor = first
            out.extend(chunk for _, chunk in islice(feed.chunks, self._cursor - first, None))
            self._cursor, self._passed = feed.end, feed.passed
        if self._cursor >= 0:
            self.position = feed.position or self.position
        return lost

    def sent(self) -> None:
        """What was taken is on its way."""
        if not self._alone:
            self._room.set()

    def close(self) -> None:
        """Ends the catching up."""
        if self._task is not None:
            self._task.cancel()


class Reader:
    """Takes what comes for one selection from some nodes, or all there are and will be (`nodes` None).

    after: positions of nodes; since_ns: how far back for nodes without one; 0: from now on. lost: items so far that
    it was too slow for. error: why it ended.
    """

    def __init__(
        self,
        hub: Hub,
        selection: Selection,
        allow: Allow,
        nodes: Sequence[str] | None,
        since_ns: int = 0,
        after: Mapping[str, str] = {},
    ) -> None:
        self.lost = 0
        self.error: Exception | None = None
        self.closed = False
        self._hub = hub
        self._selection = selection
        self._allow = allow
        self._fixed = nodes is not None
        self._legs: dict[str, Leg] = {}
        self._more = asyncio.Event()
        self._begun_ns = hub.clock.time_ns()
        self._beaten = False
        for node in nodes if nodes is not None else self._nodes():
            self._join(node, after.get(node, ""), since_ns)
        self._since_ns = since_ns

    def _nodes(self) -> list[str]:
        return sorted({self._hub.backend.node, *self._hub.backend.nodes()})

    def _join(self, node: str, after: str, since_ns: int) -> None:
        feed = self._hub.join(node, self._selection, self._allow, self)
        self._legs[node] = Leg(self, feed, after, since_ns)

    def wake(self) -> None:
        """There is something to take."""
        self._more.set()

    def positions(self) -> dict[str, str]:
        """Where each node's stream stands, of those where it is known."""
        return {node: position for node, leg in self._legs.items() if (position := leg.stands())}

    def take(self) -> tuple[list[Chunk], int]:
        """What there is now, and how many items were lost before it."""
        out: list[Chunk] = []
        lost = 0
        for leg in self._legs.values():
            lost += leg.take(out)
            self.error = self.error or leg.feed.error
        self.lost += lost
        return out, lost

    async def wait(self) -> bool:
        """Until there is something to take, the end, or a heartbeat is due; False for that. What was taken is sent."""
        for leg in self._legs.values():
            leg.sent()
        if self._more.is_set():
            self._more.clear()
            return True
        self._beaten = False
        beat = asyncio.get_running_loop().call_later(HEARTBEAT_S, self._beat)
        try:
            await self._more.wait()
        finally:
            beat.cancel()
        self._more.clear()
        return not self._beaten

    def _beat(self) -> None:
        self._beaten = True
        if not self._fixed:
            for node in self._nodes():
                if node not in self._legs:
                    self._join(node, "", self._since_ns or self._begun_ns)
        self._more.set()

    def end(self) -> None:
        """The gateway ends: take what is left, then stop."""
        self.closed = True
        self._more.set()

    def close(self) -> None:
        """Leaves the feeds."""
        for leg in self._legs.values():
            leg.close()
            self._hub.leave(self._selection, leg.feed, self)
        self._legs.clear()
