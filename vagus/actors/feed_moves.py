"""Which work on feeds is this node's, and how it moves when nodes come and go.

The supervisor tells every feed actor who fetches. What is no longer this node's stops at once; what is newly its own
is taken once those who had it have heard the same news, or after HAND_OVER_S: they say which tick of each place was
the last that they began, and it goes on with the next. What a dead node had goes on with its next tick from now:
whether that did the latest, nobody knows. Without news, as when Ray's head is gone, all stays as it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from vagus.actors.base import Links, Seat
from vagus.errors import PeerUnreachable, VagusError
from vagus.feeds.shares import Ring, drivers, feed_of, groups, is_spread, owner_of

HAND_OVER_S = 5.0
TRY_S = 0.3
CALL_S = 2.0
NEWS_S = 10.0  # an actor that starts while nobody supervises asks the nodes that it knows

Place = tuple[str, str]
"""A base feed and a location as items name it."""
Dues = Mapping[Place, int]
"""The last tick of places."""


class Share(NamedTuple):
    """What an engine of this node is to do (vagus.feeds.sharing). before: the nodes that fetched until now, while the
    work is handed over: only what was this node's then, too, is done."""

    node: str
    home: str
    together: Mapping[str, str]
    ring: Ring
    before: Ring | None

    def runs(self, feed: str) -> bool:
        """Whether any work on a named feed may be done here: all or nothing of one that stays together."""
        return bool(self.ring.nodes) and (feed not in self.together or self.owns(feed, ""))

    def owns(self, feed: str, key: str) -> bool:
        """Whether a unit of its work is done here."""
        rings = (self.ring,) if self.before is None else (self.ring, self.before)
        return all(r.nodes and owner_of(feed, key, self.together, r, self.home) == self.node for r in rings)


class FeedMoves:
    """`share` is what is worked on here. dues: of the places that this node fetches, the last tick that it began.

    take: called when that is another one from now on, with what other nodes said of their last ticks, and whether what
    nobody knows may begin with its latest tick: it may when this actor starts, not when it gets it from a node that may
    have done that.
    """

    def __init__(
        self,
        seat: Seat,
        links: Links,
        dues: Callable[[], Awaitable[Dues]],
        take: Callable[[Dues, bool], Awaitable[None]],
    ) -> None:
        feeds = seat.config.feeds
        self.spread = is_spread(feeds, seat.config.feeds_on)
        self.moves = 0
        self._seat = seat
        self._links = links
        self._dues = dues
        self._take = take
        self._home = str(seat.options.get("head", seat.node))
        self._together = groups(feeds) if self.spread else {}
        self._drivers = drivers(feeds)
        self._ring = self._before = Ring()
        self._settled = not self.spread
        self._let_go: tuple[str, ...] | None = None  # with which nodes the rest of the work was let go
        self._news: tuple[str, ...] = ()
        self._told = asyncio.Event()

    @property
    def nodes(self) -> tuple[str, ...]:
        """Who fetches, as far as is known; none: it is not known yet."""
        return self._ring.nodes if self.spread else (self._seat.node,)

    def owner(self, feed: str, unit: str) -> str:
        """The node whose a unit of work is: a location, or an element of a list."""
        return owner_of(feed, unit, self._together, self._ring, self._home) if self.spread else self._seat.node

    def runs(self, feed: str) -> bool:
        """Whether any work on a named feed may be this node's, now: all or nothing of one that stays together."""
        return not self.spread or self.share().runs(feed)

    def share(self) -> Share:
        """What is this node's to do, now; what it answers does not change."""
        return Share(self._seat.node, self._home, self._together, self._ring, None if self._settled else self._before)

    def heard(self, nodes: tuple[str, ...]) -> None:
        """News: who fetches."""
        self._news = tuple(nodes)
        self._told.set()

    async def run(self) -> None:
        """Follows the news."""
        while self.spread:
            try:
                await asyncio.wait_for(self._told.wait(), None if self._ring.nodes else NEWS_S)
            except (asyncio.TimeoutError, TimeoutError):
                self._news = self._links.nodes()
            self._told.clear()
            if set(self._news) != set(self._ring.nodes):
                await self._move(self._news)

    async def _move(self, nodes: tuple[str, ...]) -> None:
        first = not self._ring.nodes
        self._before, self._ring, self._settled = self._ring, Ring(nodes), False
        self.moves += 1
        if not first:
            await self._take({}, False)
        self._let_go = self._ring.nodes
        others = sorted({*self._before.nodes, *self._ring.nodes} - {self._seat.node})
        last: dict[Place, int] = {}
        for part in await asyncio.gather(*map(self._asked, others)):
            for place, due_ns in part.items():
                last[place] = max(due_ns, last.get(place, 0))
        self._settled = True
        await self._take(last, first)

    async def _asked(self, node: str) -> Dues:
        """What another node knows of last ticks; one that has gone is asked once."""
        until_s = time.monotonic() + HAND_OVER_S
        while True:
            try:
                said = await self._links.call(f"vagus:feed@{node}", "hand_over", self._ring.nodes, timeout_s=CALL_S)
                if said is not None:
                    return {(base, location): due_ns for base, location, due_ns in said}
            except PeerUnreachable:
                pass
            except VagusError:
                return {}
            if node not in self._ring.nodes or time.monotonic() > until_s or self._told.is_set():
                return {}
            await asyncio.sleep(TRY_S)

    async def hand_over(self, nodes: tuple[str, ...]) -> list[tuple[str, str, int]] | None:
        """The last ticks that this node began, for another; None: it has not heard of these nodes yet.

        Without the lists that drive others: each node fetches these for itself.
        """
        if self._let_go is None or set(nodes) != set(self._let_go):
            return None
        dues = await self._dues()
        return [(base, at, due_ns) for (base, at), due_ns in dues.items() if not self.drives(base)]

    def drives(self, base: str) -> bool:
        """Whether items of a base say what else is fetched."""
        return feed_of(base, self._drivers) in self._drivers
