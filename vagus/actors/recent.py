"""The newest events of a node in order, for subscriptions where no collector keeps them: a ring, numbered."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from vagus.actors.interest import interest
from vagus.errors import ConfigError
from vagus.model import Event, Page

MOST = 1000  # items of a page
MAX_EVENTS = 10_000
OTHER_LIFE = "the observer was restarted: resumed by time"
TOO_OLD = "the position is older than what this observer remembers"


class _Place(NamedTuple):
    """A position: in which life of the observer, how many events came before it, and the last one's time."""

    life: str
    number: int
    t_ns: int

    def __str__(self) -> str:
        return f"{self.life}.{self.number}.{self.t_ns}"

    @classmethod
    def parse(cls, text: str) -> _Place:
        """Raises ConfigError."""
        life, _, rest = text.partition(".")
        number, _, t_ns = rest.partition(".")
        if not (
            life and number.isascii() and number.isdigit() and t_ns.isascii() and t_ns.isdigit() and len(rest) < 50
        ):
            raise ConfigError(f"{text[:80]!r} is no position of this node's events")
        return cls(life, int(number), int(t_ns))


class Recent:
    """Takes events as they come; `follow` answers as Backend.follow does. `past`: what is known at the beginning."""

    def __init__(self, past: Iterable[Event] = (), most: int = MAX_EVENTS) -> None:
        self._life = secrets.token_hex(4)
        self._events: deque[Event] = deque(past, most)
        self._first = 0  # the number of the oldest event that is held
        self._waiting: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        """Events held."""
        return len(self._events)

    def note(self, event: Event) -> None:
        """Takes an event in."""
        if len(self._events) == self._events.maxlen:
            self._first += 1
        self._events.append(event)
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()

    async def follow(self, events: str, after: str, since_ns: int, until: str, wait_s: float) -> Page:
        """What comes after a position; see Backend.follow. Raises ConfigError."""
        wanted = interest("", events)
        end = _Place.parse(until) if until else None
        if end is not None and end.life != self._life:
            end = None
        if not after:
            newest = self._end if end is None else min(end.number, self._end)
            number = min(self._after(since_ns - 1), newest) if since_ns > 0 else newest
            return Page((), self._place(number), behind=since_ns > 0, live=since_ns <= 0)
        place = _Place.parse(after)
        if place.life != self._life:
            return Page((), self._place(self._after(place.t_ns)), gap=OTHER_LIFE, behind=True, live=False)
        if not self._first <= place.number <= self._end:
            return Page((), self._place(self._first), gap=TOO_OLD, behind=True, live=False)
        number, deadline = place.number, time.monotonic() + wait_s
        while True:
            stop = self._end if end is None else min(end.number, self._end)
            upto = max(number, min(stop, number + MOST))
            # one that waited very long may find that the ring has moved on: the next page tells the gap
            held = islice(self._events, max(0, number - self._first), max(0, upto - self._first))
            items = [(n, event) for n, event in enumerate(held, number + 1) if wanted.pick(event) is not None]
            left_s = deadline - time.monotonic()
            if items or end is not None or left_s <= 0:
                found = tuple((self._place(n), event) for n, event in items)
                reached = end is not None and upto >= end.number
                return Page(found, self._place(upto), behind=upto < stop, live=upto == self._end, reached=reached)
            number = upto
            if upto == self._end:
                await self._more(left_s)
            if number < self._first:
                return Page((), self._place(self._first), gap=TOO_OLD, behind=True, live=False)

    @property
    def _end(self) -> int:
        """The number of the next event."""
        return self._first + len(self._events)

    def _place(self, number: int) -> str:
        at = number - self._first
        t_ns = self._events[at - 1].t_ns if 0 < at <= len(self._events) else 0
        return str(_Place(self._life, number, t_ns or time.time_ns()))

    def _after(self, t_ns: int) -> int:
        """The number of the first event held that is later than a time."""
        return next((n for n, event in enumerate(self._events, self._first) if event.t_ns > t_ns), self._end)

    async def _more(self, wait_s: float) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await asyncio.wait_for(waiter, wait_s)
        except (asyncio.TimeoutError, TimeoutError):
            pass
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
