"""Idle connections of the plain HTTP client, by host and port: some for each, not for ever, and never too many."""

from __future__ import annotations

import asyncio
import resource
import time
from collections import deque

from vagus.feeds.sources.http_wire import Connection, Place

MAX_IDLE_PER_PLACE = 8
MAX_IDLE = 10_000  # and never more than a quarter of the files that this process may open
KEEP_ALIVE_S = 75.0


class Pool:
    """`take` gives the connection that was used last, so that those that are too many grow old and are closed."""

    def __init__(self) -> None:
        self._idle: dict[Place, deque[Connection]] = {}
        self._count = 0
        self._most = min(MAX_IDLE, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
        self._timer: asyncio.TimerHandle | None = None

    def take(self, place: Place) -> Connection | None:
        """A connection that is open as far as is known."""
        idle = self._idle.get(place)
        while idle:
            connection = idle.pop()
            self._count -= 1
            if connection.is_usable:
                return connection
        return None

    def keep(self, connection: Connection) -> None:
        """Takes a connection back after its exchange."""
        idle = self._idle.get(connection.place)
        if idle is None:
            idle = self._idle[connection.place] = deque()
        if len(idle) >= MAX_IDLE_PER_PLACE or self._count >= self._most:
            connection.abort()
            return
        connection.idle_since_s = time.monotonic()
        idle.append(connection)
        self._count += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(KEEP_ALIVE_S / 4, self._close_old)

    def lost(self, connection: Connection) -> None:
        """A connection without an exchange has ended."""
        idle = self._idle.get(connection.place)
        if idle is not None and connection in idle:
            idle.remove(connection)
            self._count -= 1
            if not idle:
                del self._idle[connection.place]

    def _close_old(self) -> None:
        self._timer = None
        before = time.monotonic() - KEEP_ALIVE_S
        for place, idle in list(self._idle.items()):
            while idle and idle[0].idle_since_s <= before:
                self._count -= 1
                idle.popleft().abort()
            if not idle:
                del self._idle[place]
        if self._idle:
            self._timer = asyncio.get_running_loop().call_later(KEEP_ALIVE_S / 4, self._close_old)

    def close(self) -> None:
        """Closes all."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for idle in self._idle.values():
            for connection in idle:
                connection.abort()
        self._idle.clear()
        self._count = 0
