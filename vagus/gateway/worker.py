"""A process that answers decisions for the collector's gateway, on the same port: `python -m vagus.gateway.worker`.

It has a table of its own and nothing else of the node: decisions and outcomes go up to the collector, tables come
down, and a connection that asks for anything else is handed to the collector, socket and all. What was decided is on
its way before its answer is, so that an outcome cannot overtake its decision. It ends with the collector.

Started by `workers` with the descriptors of the link, of the way for connections, and of the listening socket.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from vagus.clock import SystemClock
from vagus.controllers.decide.table import DecisionTable, Stale
from vagus.errors import VagusError
from vagus.gateway import worker_wire as wire
from vagus.gateway.door import HostNames, Keys
from vagus.gateway.front import Front
from vagus.gateway.front_connection import CLOSED, THEIRS, Connection
from vagus.gateway.front_head import Head, Heads
from vagus.gateway.problem import INTERNAL, Problem
from vagus.model import Ack, Decision, Reward, Scalar

FLUSH_S = 10.0
STOP_S = 1.0
COUNT_S = 1.0
PR_SET_PDEATHSIG = 1


class Collector:
    """The collector as the front's node: what is decided and rewarded here goes up to it."""

    def __init__(self, setup: wire.Setup, link: wire.Link) -> None:
        rng = Random(int.from_bytes(os.urandom(8), "big"))
        self.table = DecisionTable(rng, prefix=setup.prefix, labels=setup.labels)
        self._link = link
        self._made: list[Decision] = []
        self.decided = self._made.append
        self._number = 0
        self._asked: dict[int, asyncio.Future[tuple[Ack, ...]]] = {}

    def flush(self) -> bool:
        """Sends what was decided; False when it does not all have room: an outcome by another way could overtake it."""
        if self._made:
            self._link.send(wire.Decided(tuple(self._made)))
            self._made.clear()
        return not self._link.backlog

    async def reward(self, rewards: Sequence[Reward]) -> list[Ack]:
        """The learner's answers. Raises Problem."""
        self.flush()
        self._number += 1
        asked = self._asked[self._number] = asyncio.get_running_loop().create_future()
        self._link.send(wire.Rewarded(self._number, tuple(rewards)))
        return list(await asked)

    def answered(self, answer: wire.Answered) -> None:
        """The collector's word on outcomes."""
        asked = self._asked.pop(answer.number, None)
        if asked is not None and not asked.done():
            if answer.problem is not None:
                asked.set_exception(Problem(*answer.problem))
            else:
                asked.set_result(answer.acks)


class Desk:
    """What the connections of this process share beside the front: answers leave after what was decided for them."""

    def __init__(self, node: Collector, movers: wire.Movers) -> None:
        self.movers = movers
        self._node = node
        self._out: list[tuple[Any, bytes]] = []
        self._paused: set[Any] = set()
        self._loop = asyncio.get_running_loop()
        self._full = False

    def write(self, transport: Any, answer: bytes) -> None:
        """Sends an answer at the end of this turn of the loop."""
        if not self._out and not self._full:
            self._loop.call_soon(self.flush)
        if self._full:
            transport.pause_reading()
            self._paused.add(transport)
        self._out.append((transport, answer))

    def flush(self) -> None:
        """Sends decisions, then answers; none while the collector has no room."""
        self._full = not self._node.flush()
        if self._full:
            return
        out, self._out = self._out, []
        for transport, answer in out:
            transport.write(answer)

    def drained(self) -> None:
        """There is room again."""
        if self._full:
            self.flush()
            paused, self._paused = self._paused, set()
            for transport in paused:
                if not transport.is_closing():
                    transport.resume_reading()


class Behind:
    """A transport whose answers go by the desk."""

    __slots__ = ("_desk", "abort", "inner", "is_closing", "is_reading", "pause_reading", "resume_reading")

    def __init__(self, desk: Desk, inner: Any) -> None:
        self._desk = desk
        self.inner = inner
        self.abort, self.is_closing = inner.abort, inner.is_closing
        self.is_reading, self.pause_reading, self.resume_reading = (
            inner.is_reading,
            inner.pause_reading,
            inner.resume_reading,
        )

    def write(self, answer: bytes) -> None:
        self._desk.write(self.inner, answer)

    def close(self) -> None:
        self._desk.flush()
        self.inner.close()


class Served(Connection):
    """A connection of a worker: what is not for the front goes to the collector, for good."""

    __slots__ = ("_desk",)

    def __init__(self, front: Front, desk: Desk) -> None:
        super().__init__(front)
        self._desk = desk

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport = Behind(self._desk, transport)

    def theirs(self, data: bytes, head: Head, length: int) -> None:
        self.hold(THEIRS)
        self.transport.pause_reading()
        self._buffer += data
        self._desk.flush()
        loop = asyncio.get_running_loop()
        loop.call_soon(self._move, loop.time() + FLUSH_S)

    def _move(self, until_s: float) -> None:
        """Once all answers are in the kernel's hands: what is written there comes before what the collector writes."""
        if self.transport is None:
            return
        inner, loop = self.transport.inner, asyncio.get_running_loop()
        if inner.get_write_buffer_size():
            if loop.time() > until_s:
                inner.abort()
            else:
                loop.call_later(0.001, self._move, until_s)
            return
        self._held |= CLOSED
        descriptor = os.dup(inner.get_extra_info("socket").fileno())
        if not self._desk.movers.move(descriptor, bytes(self._buffer)):
            os.close(descriptor)
        self._buffer.clear()
        inner.abort()


class Worker:
    """The process: waits for its settings, then serves until it is told to stop or the collector is gone."""

    def __init__(self, link: socket.socket, ways: socket.socket, listening: socket.socket) -> None:
        self._ways = ways
        self._listening = listening
        self._link = wire.Link(link, self._heard, lambda: os._exit(0), self._drained)
        self._node: Collector | None = None
        self._front: Front | None = None
        self._desk: Desk | None = None
        self._server: asyncio.Server | None = None
        self._live: dict[str, Scalar] | None = None
        self._failures = 0
        self._last_failure = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self.ended = asyncio.Event()

    def _heard(self, body: bytes) -> None:
        record = wire.down(body)
        if isinstance(record, wire.Answered) and self._node is not None:
            self._node.answered(record)
        elif isinstance(record, wire.Table) and self._node is not None:
            try:
                self._node.table.apply(record.update)
            except Stale:
                self._link.send(wire.Stale())
            except VagusError as error:
                self._failed("table", error)
        elif isinstance(record, wire.Live):
            self._live = record.features
        elif isinstance(record, wire.Setup):
            self._set_up(record)
        elif isinstance(record, wire.Stop):
            self._spawn(self._stop())

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _set_up(self, setup: wire.Setup) -> None:
        clock = SystemClock()
        (_, token), *others = setup.tokens
        keys = Keys(setup.node, clock, token, dict(others), setup.rules)
        heads = Heads(keys, HostNames(set(setup.hosts)), setup.max_body_bytes)
        self._node = node = Collector(setup, self._link)
        self._requests: Counter[tuple[str, str, int]] = Counter()
        context = (lambda: self._live) if setup.contextual else None
        self._front = front = Front(node, clock, heads, self._requests, self._problem, context)
        self._desk = desk = Desk(node, wire.Movers(self._ways))
        self._spawn(self._listen(lambda: Served(front, desk)))

    async def _listen(self, made: Callable[[], Served]) -> None:
        loop = asyncio.get_running_loop()
        gc.collect()
        gc.freeze()
        self._server = await loop.create_server(made, sock=self._listening, backlog=1024)
        self._link.send(wire.Ready())
        loop.call_later(COUNT_S, self._count)

    async def _stop(self) -> None:
        if self._server is not None and self._front is not None and self._desk is not None:
            self._server.close()
            self._front.stop()
            await self._front.stopped(STOP_S)
            self._desk.flush()
            self._tell()
            await asyncio.sleep(0)  # the loop writes what it was given
        self.ended.set()

    def _drained(self) -> None:
        if self._desk is not None:
            self._desk.drained()

    def _count(self) -> None:
        self._tell()
        asyncio.get_running_loop().call_later(COUNT_S, self._count)

    def _tell(self) -> None:
        if self._front is not None:
            self._front.fold()
        counts = tuple((*key, count) for key, count in self._requests.items() if count)
        self._requests.clear()
        self._link.send(wire.Counted(counts, self._failures, self._last_failure))

    def _problem(self, path: str, error: Exception) -> Problem:
        if isinstance(error, Problem):
            return error
        self._failed(path, error)
        return INTERNAL

    def _failed(self, where: str, error: Exception) -> None:
        self._failures += 1
        self._last_failure = f"{where}: {type(error).__name__}: {error}"[:300]


async def main(link: int, ways: int, listening: int) -> None:
    """Serves with these descriptors until the end."""
    worker = Worker(*(socket.socket(fileno=descriptor) for descriptor in (link, ways, listening)))
    await worker.ended.wait()


if __name__ == "__main__":
    import uvloop

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # even if it hangs; the closed link says the same
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever presses Ctrl-C means the collector, which stops its workers
    uvloop.run(main(*map(int, sys.argv[1:4])))
