"""Bulk transfers between nodes over TCP: asked for and answered with sealed messages, timed by the receiver.

length (2) | sealed Ask →        ← length | sealed Ready        bytes →        ← length | sealed Received
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from vagus.actors.datagrams import Address
from vagus.actors.stamps import receive_bulk, send_bulk, stamp
from vagus.errors import ConfigError, PeerUnreachable
from vagus.probes import Timeouts
from vagus.probes.bandwidth import rate_bytes_s
from vagus.probes.messages import Ask, Message, Ready, Received, decode, encode
from vagus.sealing import Sealer

MAX_SERVED = 4
"""Connections at once; more are closed. One that has not said who it is within HELLO_S is closed as well."""
HELLO_S = 1.0
MAX_HELLO_BYTES = 2048
_LENGTH = struct.Struct(">H")
_ABORT = struct.pack("@ii", 1, 0)

T = TypeVar("T")


class Transfers:
    """Both sides. size, time_s: of one transfer, at most, also when others ask for more.

    `answers` says how long to wait for a node, `spawn` runs in the background; counts: refused.
    """

    def __init__(
        self,
        sealer: Sealer,
        answers: Timeouts,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        size: int,
        time_s: float,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._sealer = sealer
        self._answers = answers
        self._spawn = spawn
        self._size, self._time_s = size, time_s
        self._open: set[socket.socket] = set()
        # blocked in the kernel while bytes flow: not on the threads that others need
        self._threads = ThreadPoolExecutor(MAX_SERVED + 1, "probe")

    def close(self) -> None:
        """Ends what is under way. Idempotent."""
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._threads.shutdown(wait=False)

    async def measure(self, node: str, address: Address) -> Received:
        """Sends to a node; what it says came. Raises PeerUnreachable, OSError."""
        key = f"tcp {node}"
        with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            ask = Ask(secrets.randbits(60), self._size, self._time_s)
            timeout_s, begin_s = self._answers.timeout_s(key), time.monotonic()
            try:
                await asyncio.wait_for(self._begin(sock, address, node, ask), timeout_s)
            except (asyncio.TimeoutError, TimeoutError):
                self._answers.failed(key, timeout_s)
                raise PeerUnreachable(f"node {node} did not answer within {timeout_s:.2f} s") from None
            self._answers.observed(key, time.monotonic() - begin_s)
            await self._in_thread(sock, send_bulk, self._size, self._time_s)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
            found = await self._read(sock, node)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)  # drops what a slow path has not taken yet
        if not isinstance(found, Received) or found.probe != ask.probe:
            raise PeerUnreachable(f"node {node} answered with {type(found).__name__}")
        return found

    async def _begin(self, sock: socket.socket, address: Address, node: str, ask: Ask) -> None:
        await asyncio.get_running_loop().sock_connect(sock, address)
        await self._write(sock, ask)
        ready = await self._read(sock, node)
        if not isinstance(ready, Ready) or ready.probe != ask.probe:
            raise PeerUnreachable(f"node {node} answered with {type(ready).__name__}")

    def accept(self, listener: socket.socket) -> None:
        """A connection waits."""
        try:
            sock, _ = listener.accept()
        except OSError:  # it has gone again, or there are no more descriptors
            return
        if len(self._open) >= MAX_SERVED:
            self.counts["refused"] += 1
            sock.close()
        else:
            self._open.add(sock)
            self._spawn(self._serve(sock))

    async def _serve(self, sock: socket.socket) -> None:
        try:
            with sock:
                sock.setblocking(False)
                ask = await asyncio.wait_for(self._read(sock), HELLO_S)
                if not isinstance(ask, Ask):
                    raise PeerUnreachable("it did not ask")
                stamp(sock)
                await asyncio.wait_for(self._write(sock, Ready(ask.probe)), HELLO_S)
                limits = min(ask.bytes, self._size), min(ask.time_s, self._time_s)
                arrivals = await self._in_thread(sock, receive_bulk, *limits)
                await asyncio.wait_for(self._write(sock, _received(ask.probe, arrivals)), HELLO_S)
                await asyncio.wait_for(_drain(sock), HELLO_S)  # closing sooner would reset what it has not read yet
        except (asyncio.TimeoutError, TimeoutError, OSError, PeerUnreachable):
            self.counts["refused"] += 1
        finally:
            self._open.discard(sock)

    async def _in_thread(self, sock: socket.socket, work: Callable[[socket.socket, int, float], T], *limits: Any) -> T:
        """Blocking work with a socket; when this is cancelled it ends first: a socket must not be closed under it."""
        self._open.add(sock)
        running = asyncio.get_running_loop().run_in_executor(self._threads, work, sock, *limits)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            await asyncio.wait([running])
            running.exception()
            raise
        finally:
            self._open.discard(sock)
            sock.setblocking(False)

    async def _write(self, sock: socket.socket, message: Message) -> None:
        sealed = self._sealer.seal(encode(message))
        await asyncio.get_running_loop().sock_sendall(sock, _LENGTH.pack(len(sealed)) + sealed)

    async def _read(self, sock: socket.socket, node: str = "") -> Message:
        """The next message, from `node` if given. Raises PeerUnreachable for what this cluster did not seal."""
        (length,) = _LENGTH.unpack(await _exactly(sock, _LENGTH.size))
        if length > MAX_HELLO_BYTES:
            raise PeerUnreachable(f"a message of {length} bytes; at most {MAX_HELLO_BYTES} are read")
        opened = self._sealer.open(await _exactly(sock, length))
        if opened is None or (node and opened.node != node):
            raise PeerUnreachable("it is not who it should be: is it of this cluster, with the same secret?")
        try:
            return decode(opened.body)
        except ConfigError as error:
            raise PeerUnreachable(str(error)) from error


def _received(probe: int, arrivals: list[tuple[int, int]]) -> Received:
    if not arrivals:
        return Received(probe, 0.0, 0.0, 0)
    duration_s = (arrivals[-1][0] - arrivals[0][0]) / 1e9
    return Received(probe, min(1e15, rate_bytes_s(arrivals)), min(86400.0, max(0.0, duration_s)), arrivals[-1][1])


async def _exactly(sock: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        more = await asyncio.get_running_loop().sock_recv(sock, size - len(content))
        if not more:
            raise PeerUnreachable("it closed the connection")
        content += more
    return content


async def _drain(sock: socket.socket) -> None:
    while await asyncio.get_running_loop().sock_recv(sock, 1 << 16):
        pass
