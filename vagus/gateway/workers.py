"""Processes that answer decisions beside the collector's: started, fed, listened to and watched by its gateway.

Each has a listening socket of its own on the gateway's port (SO_REUSEPORT), made and kept here: while a worker is not
ready, or after it has died, the gateway itself accepts from its socket, so that no connection waits for a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vagus.controllers.decide.table import encode_update
from vagus.gateway import worker_wire as wire
from vagus.gateway.problem import Problem
from vagus.gateway.route import Site
from vagus.model import Scalar

log = logging.getLogger("vagus")
SILENT_S = 15.0
"""A worker that says nothing for so long hangs, and is killed."""
LIVED_S = 10.0
"""One that died sooner is started again later, at most so late:"""
MAX_WAIT_S = 30.0
STOP_S = 3.0
RETRY_S = 1.0
MAX_ACCEPTED = 128
"""Connections that are accepted in one turn of the loop."""


class _One:
    """One worker: its socket, its process while there is one, and the gateway in its place while there is none."""

    def __init__(self, workers: Workers, listening: socket.socket) -> None:
        self.listening = listening
        self.pid = 0
        self.ready = False
        self._workers = workers
        self._process: subprocess.Popen[bytes] | None = None
        self._link: wire.Link | None = None
        self._moved: wire.Moved | None = None
        self._standing_in = False
        self._loop = asyncio.get_running_loop()
        self._heard_s = self._begun_s = self._loop.time()
        self._wait_s = 0.0
        self._again: asyncio.TimerHandle | None = None
        self._outcomes: list[wire.Rewarded] = []

    def begin(self) -> None:
        """Serves in its place, and starts it."""
        self._stand_in()
        self._launch()

    def _stand_in(self) -> None:
        # No server of asyncio's: when that is closed, connections that it has just accepted come to nothing.
        if not (self._standing_in or self.ready or self._workers.stopping):
            self._standing_in = True
            self._loop.add_reader(self.listening.fileno(), self._accept)

    def _stand_back(self) -> None:
        if self._standing_in:
            self._standing_in = False
            self._loop.remove_reader(self.listening.fileno())

    def _accept(self) -> None:
        for _ in range(MAX_ACCEPTED):
            try:
                connection, _address = self.listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptors, or no memory
                log.error("the gateway cannot accept connections; it tries again in a second", exc_info=error)
                self._stand_back()
                self._loop.call_later(RETRY_S, self._stand_in)
                return
            connection.setblocking(False)
            self._workers.accepted(connection)

    def _launch(self) -> None:
        link, their_link = socket.socketpair()
        ways, their_ways = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        passed = [one.fileno() for one in (their_link, their_ways, self.listening)]
        package = str(Path(__file__).parents[2])
        path = os.pathsep.join(p for p in (package, os.environ.get("PYTHONPATH", "")) if p)
        self._begun_s = self._heard_s = self._loop.time()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "vagus.gateway.worker", *map(str, passed)],
                stdin=subprocess.DEVNULL,
                pass_fds=passed,
                env={**os.environ, "PYTHONPATH": path},
            )
        except OSError as error:
            for one in (link, ways):
                one.close()
            log.error("a worker of the gateway cannot be started", exc_info=error)
            self._later()
            return
        finally:
            their_link.close()
            their_ways.close()
        self.pid = self._process.pid
        self._link = wire.Link(link, self._heard, self._lost)
        self._moved = wire.Moved(ways, self._workers.arrived)
        self.send(self._workers.setup())
        self.send(wire.Table(self._workers.table()))
        if self._workers.live is not None:
            self.send(wire.Live(self._workers.live))

    def send(self, record: wire.Down) -> None:
        if self._link is not None:
            self._link.send(record)

    def _heard(self, body: bytes) -> None:
        self._heard_s = self._loop.time()
        record = wire.up(body)
        if isinstance(record, wire.Decided):
            self._workers.decided(record)
        elif isinstance(record, wire.Rewarded):
            if not self._outcomes:  # in the next turn: decisions that other workers sent before have been read by then
                self._loop.call_soon(self._ask)
            self._outcomes.append(record)
        elif isinstance(record, wire.Counted):
            self._workers.counted(record)
        elif isinstance(record, wire.Stale):
            self.send(wire.Table(self._workers.table()))
        elif isinstance(record, wire.Ready):
            self.ready = True
            self._stand_back()

    def _ask(self) -> None:
        outcomes, self._outcomes = self._outcomes, []
        for record in outcomes:
            self._workers.spawn(self._reward(record))

    async def _reward(self, record: wire.Rewarded) -> None:
        link = self._link
        answer = await self._workers.rewarded(record)
        if link is not None:
            link.send(answer)

    def _lost(self) -> None:
        """It is gone: its place is taken, and another one started."""
        self._end()
        if not self._workers.stopping:
            self._workers.restarts += 1
            log.warning("a worker of the gateway ended; another one is started", extra={"pid": self.pid})
            self._stand_in()
            self._later()

    def _later(self) -> None:
        lived = self._loop.time() - self._begun_s > LIVED_S
        self._wait_s = 0.0 if lived else min(max(0.25, self._wait_s * 2), MAX_WAIT_S)
        self._again = self._loop.call_later(self._wait_s, self._launch)

    def _end(self) -> None:
        self.ready = False
        link, self._link = self._link, None
        moved, self._moved = self._moved, None
        for one in (link, moved):
            if one is not None:
                one.close()
        process, self._process = self._process, None
        if process is not None:
            if process.poll() is None:
                process.kill()
            self._workers.spawn(asyncio.to_thread(process.wait))

    def look(self) -> None:
        """Kills it when it hangs."""
        if self._process is not None and self._loop.time() - self._heard_s > SILENT_S:
            log.warning("a worker of the gateway hangs and is killed", extra={"pid": self.pid})
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """Lets it answer what was begun; then it is gone."""
        if self._again is not None:
            self._again.cancel()
        self._stand_back()
        self.listening.close()
        process = self._process
        if process is not None:
            self.send(wire.Stop())
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(process.wait, STOP_S)
        self._end()


class Workers:
    """The workers of a gateway. protocol: makes a connection of the gateway's own; take: makes one of a socket and what
    was read of it; problem: what an exception is to whoever sent outcomes; setup: what workers work by.
    """

    def __init__(
        self,
        site: Site,
        setup: Callable[[], wire.Setup],
        protocol: Callable[[], Any],
        take: Callable[[bytes], Any],
        problem: Callable[[str, Exception], Problem],
    ) -> None:
        self.setup = setup
        self.protocol = protocol
        self.stopping = False
        self.restarts = 0
        self.live: dict[str, Scalar] | None = None
        self._site = site
        self._take = take
        self._problem = problem
        self._workers: list[_One] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._watch: asyncio.TimerHandle | None = None

    async def start(self, listening: Sequence[socket.socket]) -> None:
        """Begins to serve on these sockets, each by a worker."""
        self._workers = [_One(self, one) for one in listening]
        for worker in self._workers:
            worker.begin()
        self._look()

    async def stop(self) -> None:
        """Ends them. Idempotent."""
        self.stopping = True
        if self._watch is not None:
            self._watch.cancel()
        await asyncio.gather(*(worker.stop() for worker in self._workers))
        self._workers = []

    @property
    def pids(self) -> list[int]:
        """Of the workers that are ready."""
        return [worker.pid for worker in self._workers if worker.ready]

    def table(self) -> bytes:
        """All of the table."""
        return encode_update(self._site.backend.table.full())

    def changed(self, update: bytes) -> None:
        """Sends an update of the table to all."""
        for worker in self._workers:
            worker.send(wire.Table(update))

    def spawn(self, work: Any) -> None:
        """Runs it to its end."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._site.failed(f"workers: {type(error).__name__}: {error}"[:300])
            log.error("the gateway's workers", exc_info=error)

    def accepted(self, connection: socket.socket) -> None:
        """A connection accepted in a worker's place."""
        self.spawn(self._adopt(connection, self.protocol))

    def arrived(self, connection: socket.socket, data: bytes) -> None:
        """A connection that a worker hands on."""
        self.spawn(self._adopt(connection, lambda: self._take(data)))

    async def _adopt(self, connection: socket.socket, protocol: Callable[[], Any]) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(protocol, connection)
        except OSError:  # the client is gone
            connection.close()

    def decided(self, record: wire.Decided) -> None:
        """Decisions of a worker."""
        decided = self._site.backend.decided
        for decision in record.decisions:
            decided(decision)

    async def rewarded(self, record: wire.Rewarded) -> wire.Answered:
        """The answer to a worker's outcomes."""
        try:
            acks = await self._site.backend.reward(list(record.rewards))
        except Exception as error:
            problem = self._problem("/v1/update", error)
            detail = problem.detail
            told = (problem.status, detail.code, detail.message, detail.where, detail.hint)
            return wire.Answered(record.number, problem=told)
        return wire.Answered(record.number, tuple(acks))

    def counted(self, record: wire.Counted) -> None:
        """What a worker answered in the last second."""
        for method, path, status, count in record.requests:
            self._site.counts[method, path, status] += count
        if record.failures:
            self._site.failures += record.failures
            self._site.last_failure = record.last_failure

    def _look(self) -> None:
        for worker in self._workers:
            worker.look()
        if self._site.context is not None:
            self.spawn(self._renew())
        self._watch = asyncio.get_running_loop().call_later(1.0, self._look)

    async def _renew(self) -> None:
        assert self._site.context is not None
        live = dict(await self._site.context.features())
        if live != self.live:
            self.live = live
            for worker in self._workers:
                worker.send(wire.Live(live))
