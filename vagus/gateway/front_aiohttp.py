"""aiohttp beside the lean front, on the same connection: it gets what the front does not answer.

A request whose end is known goes to aiohttp's handler by itself, and the front goes on behind its answer. Where the
end is not known the connection is aiohttp's from then on, decisions included.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web

from vagus.gateway.front import Front
from vagus.gateway.front_connection import CLOSED, THEIRS, WRITING, Connection
from vagus.gateway.front_head import UNKNOWN, Head


class Shared(Connection):
    """A connection that the front and aiohttp serve in turns. make: a handler of aiohttp that says when it is done."""

    __slots__ = ("_already", "_busy", "_handler", "_make", "_owed")

    def __init__(self, front: Front, make: Callable[[Shared], web.RequestHandler], already: bytes = b"") -> None:
        super().__init__(front)
        self._make = make
        self._handler: web.RequestHandler | None = None
        self._owed = 0  # bytes of aiohttp's request that have not come yet
        self._busy = False
        self._already = already  # what another process has read of it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._already:
            already, self._already = self._already, b""
            self.data_received(already)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self._handler is not None:
            self._handler.connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._handler is not None:
            self._handler.pause_writing()

    def resume_writing(self) -> None:
        if self._handler is not None:
            self._handler.resume_writing()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._owed and self._handler is not None:
            part, data = data[: self._owed], data[self._owed :]
            self._owed -= len(part)
            self._handler.data_received(part)
            if not self._owed and not self._busy:
                self._soon()
            if not data:
                return
        super().data_received(data)

    def theirs(self, data: bytes, head: Head, length: int) -> None:
        handler = self._handler
        if handler is None:
            handler = self._handler = self._make(self)
            handler.connection_made(self.transport)
            if self._held & WRITING:
                handler.pause_writing()
        else:
            handler.keep_alive(True)  # ends its clock: what the front answered counts as well
        if head.kind == UNKNOWN:
            self.front.left(self)
            self._held |= CLOSED
            self.transport.set_protocol(handler)
            self.transport = None
            handler.data_received(data)
            return
        self.hold(THEIRS)
        self._busy = True
        self._owed = max(0, length - len(data))
        self._buffer += data[length:]
        handler.data_received(data[:length])

    def answered(self, keep: bool) -> None:
        """aiohttp has sent an answer; `keep`: and does not close."""
        self._busy = False
        if not keep:
            self._held |= CLOSED
        elif not self._owed:
            self._soon()

    def _soon(self) -> None:
        asyncio.get_running_loop().call_soon(self._back)

    def _back(self) -> None:
        if self._busy or self._owed:
            return
        self._used = self.front.tick
        self.release(THEIRS)
        if self.front.stopping and not self.begun:
            self.abort()


class Answering(web.RequestHandler):
    """aiohttp's end of a shared connection: says when it has answered."""

    __slots__ = ("_shared",)

    def __init__(self, manager: web.Server, *, shared: Shared, **settings: Any) -> None:
        super().__init__(manager, **settings)
        self._shared = shared

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        made, reset = await super().finish_response(request, resp, start_time)
        self._shared.answered(bool(made.keep_alive) and not reset)
        return made, reset
