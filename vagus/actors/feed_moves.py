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


class FeedMoves:
    """`owns` says what is worked on here. dues: of the places that this node fetches, the last tick that it began.

    take: called when `owns` answers differently from now on, with what other nodes said of their last ticks, and
    whether what nobody knows may begin with its latest tick: it may when this actor starts, not when it gets it from a
    node that may have done that.
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
        self._news: tuple[str, ...] = ()
        self._told = asyncio.Event()

    @property
    def nodes(self) -> tuple[str, ...]:
        """Who fetches, as far as is known; none: it is not known yet."""
        return self._ring.nodes if self.spread else (self._seat.node,)

    def owner(self, feed: str, unit: str) -> str:
        """The node whose a unit of work is: a location, an element of a list, or a feed that stays together."""
        return self._owner(feed, unit, self._ring) if self.spread else self._seat.node

    def _owner(self, feed: str, unit: str, ring: Ring) -> str:
        return owner_of(feed, unit, self._together, ring, self._home)

    def owns(self, feed: str, unit: str) -> bool:
        """Whether a unit of work is this node's, now."""
        if not self.spread:
            return True
        node = self._seat.node
        if not self._ring.nodes or self._owner(feed, unit, self._ring) != node:
            return False
        return self._settled or (bool(self._before.nodes) and self._owner(feed, unit, self._before) == node)

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
        if set(nodes) != set(self._ring.nodes):
            return None
        dues = await self._dues()
        return [(base, at, due_ns) for (base, at), due_ns in dues.items() if not self.drives(base)]

    def drives(self, base: str) -> bool:
        """Whether items of a base say what else is fetched."""
        return feed_of(base, self._drivers) in self._drivers
