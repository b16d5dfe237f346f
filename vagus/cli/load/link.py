"""One of a load's connections: at most one request on its way, and connected again whenever it ends."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple, cast

from vagus.client.exchange import Reading
from vagus.errors import PeerUnreachable

if TYPE_CHECKING:
    from vagus.cli.load.worker import Load

RECONNECT_S = 0.1


class Sent(NamedTuple):
    """A request on its way: when it was due, when it was sent, in seconds since the start."""

    kind: str
    due_s: float
    sent_s: float


class Link(asyncio.Protocol):
    """A connection with at most one request on its way; it connects again when it ends."""

    def __init__(self, load: Load, host: str, port: int) -> None:
        self._load = load
        self._where = host, port
        self._transport: asyncio.Transport | None = None
        self._sent: Sent | None = None
        self._reading = Reading()
        self.free_s = 0.0
        self.closing = False

    async def connect(self) -> None:
        """Until it is connected, or closing."""
        while not self.closing:
            try:
                await asyncio.get_running_loop().create_connection(lambda: self, *self._where)
                return
            except OSError:
                await asyncio.sleep(RECONNECT_S)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by class
        self._load.connected += 1
        self._release()

    def send(self, sent: Sent, request: bytes) -> None:
        """Sends a request; the connection must be free."""
        assert self._transport is not None
        self._sent, self._reading = sent, Reading()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        sent, transport = self._sent, self._transport
        assert transport is not None
        if sent is None:
            transport.abort()  # nobody asked
            return
        try:
            if not self._reading.feed(data):
                return
        except PeerUnreachable:
            self._end("no HTTP answer")
            return
        self._sent = None
        self._load.answered(sent, self._reading)
        if self._reading.keep:
            self._release()
            self._load.kick()
        else:
            transport.close()

    def sweep(self, now_s: float) -> None:
        """Ends a request that has taken too long."""
        if self._sent is not None and now_s - self._sent.sent_s > self._load.plan.timeout_s:
            self._end("time-out")

    def close(self) -> None:
        """Ends the connection for good."""
        self.closing = True
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._load.connected -= 1
        with contextlib.suppress(ValueError):
            self._load.free.remove(self)
        if self._sent is not None:
            sent, self._sent = self._sent, None
            self._load.failed(sent, "connection lost")
        if not self.closing:
            task = asyncio.get_running_loop().create_task(self.connect())
            _TASKS.add(task)
            task.add_done_callback(_TASKS.discard)

    def _end(self, why: str) -> None:
        sent, self._sent = self._sent, None
        if sent is not None:
            self._load.failed(sent, why)
        if self._transport is not None:
            self._transport.abort()

    def _release(self) -> None:
        self.free_s = self._load.now()
        self._load.free.append(self)


_TASKS: set[asyncio.Task[None]] = set()
