"""What all actors share: a seat, links to other actors, background loops that survive errors, a status."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar, Protocol

import msgspec

from vagus.actors.usage import Share, cpu_seconds, rss_bytes
from vagus.config import Config, node_folder
from vagus.errors import VagusError
from vagus.model import ActorStatus, Target

log = logging.getLogger("vagus")
REPEAT_LOG_S = 60.0
CANCEL_AGAIN_S = 1.0


class Seat(msgspec.Struct, frozen=True):
    """Where an actor sits: which role on which node, with which settings; restarts counts its predecessors."""

    role: str
    node: str
    home: str
    config: Config
    label: str = ""  # tells actors of one role on one node apart: the controller's name
    restarts: int = 0
    options: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """`vagus:collector@NODE`, or `vagus:controller:LABEL@NODE`."""
        return f"vagus:{self.role}{':' + self.label if self.label else ''}@{self.node}"

    @property
    def folder(self) -> Path:
        """The node's own folder of state."""
        return node_folder(Path(self.home), self.node)

    @property
    def store_path(self) -> Path:
        """The LMDB environment that this actor alone writes."""
        return self.folder / "store" / (f"{self.role}-{self.label}" if self.label else self.role)


class Links(Protocol):
    """How an actor reaches others: by name, in batches, never per item. Raises PeerUnreachable."""

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any: ...

    def nodes(self) -> tuple[str, ...]:
        """The nodes known at present, this one included."""

    async def process_of(self, target: Target) -> Target:
        """The process `pid:PID:START` of a Ray actor `ray:ACTOR` on this node, anyone's. Raises ActuateError."""


class Actor:
    """Base of all actors. Subclasses set `role` and override `start`, `stop` and `figures`."""

    role: ClassVar[str] = ""

    def __init__(self, seat: Seat, links: Links) -> None:
        self.seat = seat
        self.links = links
        self.config = seat.config
        self.errors = 0
        self.last_error = ""
        self.state = "STARTING"
        self.broken = False  # a loop that it exists for has ended: it serves what it can until it is replaced
        self._since_ns = time.time_ns()
        self._logged_s = 0.0
        self._share = Share()
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return self.seat.name

    async def start(self) -> None:
        """Opens what the actor owns and begins its loops."""

    async def stop(self) -> None:
        """Flushes and closes what the actor owns. Subclasses call this after their own part."""

    def figures(self) -> dict[str, float]:
        """The actor's own measurements, names with units."""
        return {}

    def notes(self) -> tuple[str, ...]:
        """Lines for people in `vagus status`."""
        return ()

    # --- called by the runtime -------------------------------------------------------------------------------------

    async def begin(self) -> str:
        """Starts the actor; returns its name. A failing start raises."""
        await self.start()
        self.state = "HEALTHY"
        self._share.ratio(time.monotonic(), cpu_seconds())  # counts from here
        log.info("started", extra={"actor": self.seat.name, "restarts": self.seat.restarts})
        return self.seat.name

    async def end(self) -> None:
        """Stops the loops, then the actor. Idempotent."""
        if self.state == "DRAINED":
            return
        self.state = "DRAINING"
        tasks = set(self._tasks)
        while tasks:  # before Python 3.12 a wait_for whose answer comes at that moment swallows the cancellation
            for task in tasks:
                task.cancel()
            _, tasks = await asyncio.wait(tasks, timeout=CANCEL_AGAIN_S)
        await self.stop()
        self.state = "DRAINED"

    async def ping(self) -> int:
        """The actor's process id."""
        return os.getpid()

    async def describe(self) -> ActorStatus:
        """What this actor says of itself."""
        return ActorStatus(
            name=self.seat.name,
            role=self.seat.role,
            node=self.seat.node,
            state="UNHEALTHY" if self.broken and self.state == "HEALTHY" else self.state,
            pid=os.getpid(),
            since_ns=self._since_ns,
            restarts=self.seat.restarts,
            errors=self.errors,
            last_error=self.last_error,
            figures={**self._process_figures(), **self.figures()},
            notes=self.notes(),
        )

    def _process_figures(self) -> dict[str, float]:
        cpu_s = cpu_seconds()
        ratio = self._share.ratio(time.monotonic(), cpu_s)
        return {"cpu_s": cpu_s, "rss_bytes": rss_bytes(), **({} if ratio is None else {"cpu_ratio": ratio})}

    # --- for subclasses --------------------------------------------------------------------------------------------

    def failed(self, where: str, error: BaseException) -> None:
        """Counts and logs an error; the actor goes on. The same one again is logged once a minute."""
        self.errors += 1
        text = f"{error}" if isinstance(error, VagusError) else f"{type(error).__name__}: {error}"
        said, self.last_error = self.last_error, f"{where}: {text}"[:500]
        now_s = time.monotonic()
        if said != self.last_error or now_s - self._logged_s >= REPEAT_LOG_S:
            self._logged_s = now_s
            log.warning("failed", extra={"actor": self.seat.name, "error": self.last_error, "errors": self.errors})

    def spawn(self, work: Coroutine[Any, Any, None], vital: bool = False) -> None:
        """Runs a coroutine in the background until `end`; its failure is counted.

        vital: without it the actor is of no use: when it fails, the actor is UNHEALTHY, and replaced.
        """

        async def guarded() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self.broken = self.broken or vital
                self.failed("background task", error)

        task = asyncio.ensure_future(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # cancelled before its first run: not a leak, not a warning

    def every(self, period_s: float, step: Callable[[], Awaitable[None] | None], name: str = "") -> None:
        """Calls `step` on a fixed grid of `period_s`; ticks that were missed are skipped, errors are counted."""

        async def loop() -> None:
            due = time.monotonic()
            while True:
                due += period_s
                delay = due - time.monotonic()
                if delay < -period_s:
                    due = time.monotonic()  # far behind (suspended, overloaded): start afresh, do not catch up
                await asyncio.sleep(max(0.0, delay))
                try:
                    result = step()
                    if result is not None:
                        await result
                except asyncio.CancelledError:
                    raise
                except Exception as error:
                    self.failed(name or getattr(step, "__name__", "step"), error)

        self.spawn(loop())
