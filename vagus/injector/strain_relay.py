"""Delays what a client sends to a server by standing between them: TCP and UDP, where packets cannot be had."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import cast

from vagus.injector.strain import Line

MAX_OPEN = 1000
MAX_WAITING_BYTES = 4 << 20  # of one connection; beyond that the sender waits
_CHUNK_BYTES = 1 << 16
_CONNECT_TIMEOUT_S = 10.0
_KEPT_S = 60.0  # a UDP client's way back; its next datagram makes another


def strain(
    line: Line,
    proto: str,
    listen: tuple[str, int],
    server: tuple[str, int],
    delay_s: float,
    jitter_s: float = 0.0,
    seed: int = 0,
) -> None:
    """Listens, and hands on to the server, later by delay ± jitter (order is kept); answers come back at once.

    Figures: bytes_s towards the server, open connections or clients. Raises OSError when it cannot listen.
    """
    asyncio.run(_Relay(line, server, delay_s, jitter_s, random.Random(seed)).run(proto, listen))


class _Relay:
    def __init__(self, line: Line, server: tuple[str, int], delay_s: float, jitter_s: float, dice: random.Random):
        self.line, self.server = line, server
        self.delay_s, self.jitter_s, self.dice = delay_s, jitter_s, dice
        self.passed = self.open = 0

    async def run(self, proto: str, listen: tuple[str, int]) -> None:
        if proto == "tcp":
            serving = await asyncio.start_server(self.connected, *listen)
        else:
            loop = asyncio.get_running_loop()
            await loop.create_datagram_endpoint(lambda: _Datagrams(self), local_addr=(listen[0], listen[1]))
            serving = None
        self.line.begun()
        while True:
            await asyncio.sleep(0.2)
            self.line.tell(bytes_s=self.passed / max(self.line.age_s, 1e-3), open=self.open)
            assert serving is None or serving.is_serving()

    def due(self) -> float:
        """When what comes now is to go on, in the loop's time."""
        jitter = self.dice.uniform(-self.jitter_s, self.jitter_s) if self.jitter_s else 0.0
        return asyncio.get_running_loop().time() + max(self.delay_s + jitter, 0.0)

    # --- TCP ---------------------------------------------------------------------------------------------------------

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, as long as both ends want."""
        if self.open >= MAX_OPEN:
            writer.close()
            return
        self.open += 1
        try:
            there = await asyncio.wait_for(asyncio.open_connection(*self.server), _CONNECT_TIMEOUT_S)
        except (OSError, asyncio.TimeoutError):
            self.open -= 1
            writer.transport.abort()
            return
        try:
            await asyncio.gather(self.later(reader, there[1]), pump(there[0], writer))
        except OSError:
            pass
        finally:
            self.open -= 1
            for end in (writer, there[1]):
                end.close()

    async def later(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hands on what comes, each piece when it is due; reads on meanwhile, up to a bound."""
        loop = asyncio.get_running_loop()
        waiting: deque[tuple[float, bytes]] = deque()
        news, room = asyncio.Event(), asyncio.Event()
        size = 0
        last = 0.0

        async def read() -> None:
            nonlocal size, last
            try:
                data = b"begin"
                while data:
                    data = await reader.read(_CHUNK_BYTES)
                    last = max(last, self.due())
                    waiting.append((last, data))
                    news.set()
                    size += len(data)
                    while size > MAX_WAITING_BYTES:
                        room.clear()
                        await room.wait()
            finally:
                news.set()

        reading = asyncio.create_task(read())
        try:
            while True:
                while not waiting:
                    if reading.done():
                        reading.result()
                        return
                    news.clear()
                    await news.wait()
                due, data = waiting.popleft()
                await asyncio.sleep(max(due - loop.time(), 0.0))
                if not data:
                    if writer.can_write_eof():
                        writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()
                self.passed += len(data)
                size -= len(data)
                room.set()
        finally:
            reading.cancel()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hands on at once."""
    while data := await reader.read(_CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


class _Datagrams(asyncio.DatagramProtocol):
    """Clients' datagrams; each client has a socket of its own towards the server, so that answers find back."""

    def __init__(self, relay: _Relay) -> None:
        self.relay = relay
        self.ways: dict[tuple[str, int], asyncio.Future[asyncio.DatagramTransport]] = {}
        self.waiting_bytes = 0
        self.last = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if self.waiting_bytes + len(data) > MAX_WAITING_BYTES:
            return  # datagrams may be lost
        self.waiting_bytes += len(data)
        self.last = max(self.last, self.relay.due())
        asyncio.get_running_loop().call_at(self.last, lambda: asyncio.ensure_future(self.send(data, address)))

    async def send(self, data: bytes, address: tuple[str, int]) -> None:
        self.waiting_bytes -= len(data)
        way = self.ways.get(address)
        if way is None:
            if len(self.ways) >= MAX_OPEN:
                return
            loop = asyncio.get_running_loop()
            way = self.ways[address] = loop.create_future()
            try:
                made, _ = await loop.create_datagram_endpoint(
                    lambda: _Back(self, address), remote_addr=(self.relay.server[0], self.relay.server[1])
                )
            except OSError as error:
                del self.ways[address]
                way.set_exception(error)
                way.exception()
                return
            way.set_result(made)
            self.relay.open += 1
            loop.call_later(_KEPT_S, self.forget, address)
        try:
            (await way).sendto(data)
            self.relay.passed += len(data)
        except OSError:
            pass

    def forget(self, address: tuple[str, int]) -> None:
        """A client's way back ends."""
        way = self.ways.pop(address, None)
        if way is not None and way.done() and way.exception() is None:
            way.result().close()
            self.relay.open -= 1


class _Back(asyncio.DatagramProtocol):
    def __init__(self, clients: _Datagrams, address: tuple[str, int]) -> None:
        self.clients, self.address = clients, address

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.clients.transport.sendto(data, self.address)
