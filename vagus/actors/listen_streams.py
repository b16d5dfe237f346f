"""TCP ports whose content is taken: NetLogger lines, and Fluent's forward protocol.

Each connection is read only when what came before is committed, so that a store that is behind slows the senders down.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Sequence
from typing import Any

import msgpack

from vagus.access import Principal
from vagus.actors.intake import Intake
from vagus.errors import ConfigError, PeerUnreachable, VagusError
from vagus.inputs import forward
from vagus.inputs.forward_auth import Handshake
from vagus.inputs.lines import Actions, Splitter, read_at
from vagus.model import Event

READ_BYTES = 128 << 10
LINES = 1000  # at once: then others get their turn
RETRY_S = 0.25
PATIENCE_S = 30.0
HANDSHAKE_S = 10.0
CLOSE_S = 1.0


class Streams:
    """The connections of one port; subclasses say what they carry. max_connections: more are closed at once."""

    name = ""

    def __init__(self, intake: Intake, max_connections: int) -> None:
        self.connections = 0
        self._intake = intake
        self._max = max_connections
        self._who = Principal("listener", self.name)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port. Raises OSError."""
        self._server = await asyncio.start_server(self._connected, host, port, limit=READ_BYTES)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Closes the port and its connections; what was read is stored."""
        if self._server is not None:
            self._server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self.connections >= self._max:
            self._intake.bad.note(self.name, "connections", f"more than {self._max} connections")
            writer.close()
            return
        self._tasks.add(task)
        self.connections += 1
        try:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            await self.serve(reader, writer)
        except ConfigError as error:
            self._intake.bad.note(self.name, "malformed", str(error))
        except VagusError as error:
            self._intake.bad.note(self.name, "not stored", str(error))
        except (OSError, asyncio.TimeoutError, asyncio.CancelledError):
            pass  # the sender went away, or reads no answers; or the port closes
        finally:
            self.connections -= 1
            writer.close()
            with contextlib.suppress(OSError, asyncio.TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(writer.wait_closed(), CLOSE_S)
            writer.transport.abort()  # what it has not read by now is not waited for
            self._tasks.discard(task)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Reads one connection to its end. Raises ConfigError where it cannot be followed any further."""
        raise NotImplementedError

    async def _take(self, events: Sequence[Event]) -> None:
        """Raises StoreError, or PeerUnreachable when the store stays away for half a minute."""
        until_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                await self._intake.take(self._who, (), events)
                return
            except PeerUnreachable:  # nothing of it was stored: this sender waits, and its own sender
                if time.monotonic() > until_s:
                    raise
                await asyncio.sleep(RETRY_S)


class LineStreams(Streams):
    """NetLogger lines, ULM and CEDPS."""

    name = "ulm"

    def __init__(self, intake: Intake, max_connections: int, actions: Actions) -> None:
        super().__init__(intake, max_connections)
        self._actions = actions

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        splitter = Splitter()
        while data := await reader.read(READ_BYTES):
            skipped = splitter.oversize
            lines = splitter.feed(data)
            if splitter.oversize > skipped:
                self._intake.bad.note(self.name, "oversize", "a line", splitter.oversize - skipped)
            await self._lines(lines)
        await self._lines(splitter.end())

    async def _lines(self, lines: Sequence[bytes]) -> None:
        for first in range(0, len(lines), LINES):
            events = []
            for line in lines[first : first + LINES]:
                try:
                    events.append(read_at(line, self._intake.node, self._actions))
                except ConfigError as error:
                    self._intake.bad.note(self.name, "malformed", str(error))
            await (self._take(events) if events else asyncio.sleep(0))


class ForwardStreams(Streams):
    """Fluent's forward protocol. key: what senders must know; empty: anyone may send.

    A chunk is acknowledged when everything in it that is admitted is committed.
    """

    name = "forward"

    def __init__(self, intake: Intake, max_connections: int, key: bytes = b"") -> None:
        super().__init__(intake, max_connections)
        self._key = key

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        unpacker = forward.unpacker()
        if self._key and not await asyncio.wait_for(self._greet(reader, writer, unpacker), HANDSHAKE_S):
            self._intake.bad.note(self.name, "shared key", "it does not match")
            return
        await self._messages(unpacker, writer)  # those that came right behind the greeting
        while data := await reader.read(READ_BYTES):
            _feed(unpacker, data)
            await self._messages(unpacker, writer)

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, unpacker: Any) -> bool:
        handshake = Handshake(self._key, self._intake.node)
        writer.write(handshake.hello)
        while data := await reader.read(READ_BYTES):
            _feed(unpacker, data)
            ping = _next(unpacker)
            if ping is not _NOTHING:
                known, pong = handshake.answer(ping)
                writer.write(pong)
                await writer.drain()
                return known
        return False

    async def _messages(self, unpacker: Any, writer: asyncio.StreamWriter) -> None:
        while (given := _next(unpacker)) is not _NOTHING:
            if given is None:
                continue  # a heartbeat
            message = forward.read_message(given)
            if message.gzipped:
                message = await asyncio.to_thread(forward.inflated, message)
            bad: list[str] = []
            for events in forward.read_events(message, self._intake.node, time.time_ns(), bad):
                await self._take(events)
            if bad:
                self._intake.bad.note(self.name, "malformed", bad[0], len(bad))
            if message.chunk:
                writer.write(forward.ack(message.chunk))
                await asyncio.wait_for(writer.drain(), PATIENCE_S)


_NOTHING = object()


def _feed(unpacker: Any, data: bytes) -> None:
    try:
        unpacker.feed(data)
    except msgpack.BufferFull as error:
        raise ConfigError(f"a message has more than {forward.MAX_MESSAGE_BYTES} bytes; send smaller chunks") from error


def _next(unpacker: Any) -> Any:
    try:
        return next(unpacker, _NOTHING)
    except ConfigError:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise ConfigError(f"not MessagePack: {error or type(error).__name__}") from error
