"""One connection of the load: HTTP/1.1, one request at a time, kept for the next one. The parser is Node's llhttp."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import httptools

from vagus.cli.openloop.endpoints import Place

MAX_ANSWER_BYTES = 16 << 20


class Owner(Protocol):
    """Who sends on connections."""

    def answered(self, connection: Connection, number: int, status: int) -> None:
        """The answer to request `number` is whole. The connection may be free."""

    def broken(self, connection: Connection, number: int, why: str, stale: bool) -> None:
        """No whole answer came; stale: the connection had been used before, and nothing of this answer came on it."""

    def gone(self, connection: Connection) -> None:
        """A connection without a request has ended."""


class Connection(asyncio.Protocol):
    """Connects when it is made a protocol; the first request waits for that. free: whether it may carry another one."""

    __slots__ = ("_bytes", "_owner", "_parser", "_transport", "_waiting", "number", "place", "served")

    def __init__(self, owner: Owner, place: Place) -> None:
        self.place = place
        self.number = -1  # of the request on its way
        self.served = 0
        self._owner = owner
        self._transport: Any = None
        self._parser: Any = None
        self._waiting = b""
        self._bytes = 0

    @property
    def free(self) -> bool:
        return self.number < 0 and self._transport is not None and not self._transport.is_closing()

    def send(self, number: int, request: bytes) -> None:
        """Sends a request; none may be on its way."""
        self.number = number
        self._bytes = 0
        self._parser = httptools.HttpResponseParser(self)
        if self._transport is None:
            self._waiting = request
        else:
            self._transport.write(request)

    def end(self) -> None:
        """Closes it; nobody is told."""
        self.number = -1
        self._waiting = b""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        if self.number < 0:  # given up meanwhile
            self._transport.abort()
        elif self._waiting:
            self._transport.write(self._waiting)
            self._waiting = b""

    def data_received(self, data: bytes) -> None:
        if self.number < 0:
            self._transport.abort()  # nobody asked
            return
        self._bytes += len(data)
        if self._bytes > MAX_ANSWER_BYTES:
            self._lost("the answer is too long")
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._lost("no HTTP answer")

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # 100 Continue and the like: the answer comes behind
            return
        number, self.number = self.number, -1
        if number < 0:
            return
        self.served += 1
        if not self._parser.should_keep_alive():
            self._transport.close()
        self._owner.answered(self, number, status)

    def eof_received(self) -> None:
        """Closes, too."""

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self.number >= 0:
            self._lost("connection lost", stale=self.served > 0 and not self._bytes)
        else:
            self._owner.gone(self)

    def _lost(self, why: str, stale: bool = False) -> None:
        number, self.number = self.number, -1
        if self._transport is not None:
            self._transport.abort()
        if number >= 0:
            self._owner.broken(self, number, why, stale)
