"""Ray actors around vagus' plain actor classes: a class per role, so that the Ray dashboard tells them apart."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

import msgspec
import ray

from vagus import config as configuration
from vagus.actors import ROLES
from vagus.actors.base import Actor, Seat
from vagus.actors.heap import return_large_blocks, settle
from vagus.errors import PeerUnreachable
from vagus.model import ActorStatus
from vagus.runtime.links import RayLinks
from vagus.runtime.logs import log_to
from vagus.runtime.metrics import Figures
from vagus.runtime.travel import unpack

METRICS_PERIOD_S = 10.0
SERVING = ("HEALTHY", "DRAINING")
PROBES = {"probe": 16}  # a concurrency group, so a thread and a loop, of its own
OPTIONS: dict[str, Any] = {
    "num_cpus": 0,
    "max_restarts": 0,  # the supervisor recreates, so that it knows and tells
    "lifetime": "detached",
    "enable_task_events": False,  # else the head's memory grows with every call
    "max_concurrency": 1000,
}


class Shell:
    """Hosts one actor. Every method of the actor is reached through `call`; `ping` runs on a loop of its own."""

    def __init__(self, seat: Seat, nodes: tuple[str, ...]) -> None:
        seat = msgspec.structs.replace(seat, home=seat.home or str(configuration.home(seat.config)))
        configuration.private_folder(seat.folder)
        log_to(seat.folder / "logs" / f"{seat.role}{'-' + seat.label if seat.label else ''}.jsonl", seat.name)
        self.seat = seat
        return_large_blocks()
        self._links = RayLinks(nodes)
        self._actor: Actor = ROLES.make(seat.role, _unpacked(seat), self._links)
        self._begun: asyncio.Task[str] | None = None
        self._beat_s = time.monotonic()
        self._figures = Figures(seat)

    def __repr__(self) -> str:
        return self.seat.name

    async def begin(self) -> str:
        """Starts the actor, once, however often it is called; returns its name. Raises what its start raised."""
        if self._begun is None:
            self._begun = asyncio.ensure_future(self._begin())
        return await asyncio.shield(self._begun)

    async def _begin(self) -> str:
        name = await self._actor.begin()
        settle()
        self._actor.every(1.0, self._beat, "beat")
        self._actor.every(METRICS_PERIOD_S, self._publish, "metrics")
        return name

    async def call(self, method: str, *args: Any) -> Any:
        """One of the actor's public methods. Raises PeerUnreachable while it starts, and once it has ended."""
        if method.startswith("_"):
            raise AttributeError(method)
        if self._actor.state not in SERVING and method != "describe":
            raise PeerUnreachable(f"{self.seat.name} is {self._actor.state}")
        result = getattr(self._actor, method)(*args)
        return await result if hasattr(result, "__await__") else result

    async def know(self, nodes: tuple[str, ...]) -> None:
        """The supervisor's news of which nodes there are."""
        self._links.known = nodes

    @ray.method(concurrency_group="probe")
    async def ping(self) -> tuple[int, float]:
        """Process id, and the age in seconds of the main loop's last beat: large when the loop hangs."""
        return os.getpid(), time.monotonic() - self._beat_s

    @ray.method(concurrency_group="probe")
    async def stay(self, for_s: float) -> None:
        """Answers after so many seconds: who waits for it learns at once that this process has ended."""
        await asyncio.sleep(for_s)

    @ray.method(concurrency_group="probe")
    async def where(self) -> tuple[Seat, str]:
        """The seat and the Ray node id: how a new supervisor finds what already runs."""
        return self.seat, ray.get_runtime_context().get_node_id()

    @ray.method(concurrency_group="probe")
    async def put_down(self, role: str, pid: int) -> bool:
        """Kills an actor's process on this node that Ray's own kill does not reach, such as a stopped one.

        It still holds its store, and so its successor up. False when the process is not what it was taken for.
        """
        return _put_down(role, pid)

    async def end(self) -> None:
        """Stops the actor: flushes, restores, closes."""
        await self._actor.end()
        logging.shutdown()

    async def _beat(self) -> None:
        if not self._actor.broken:  # else the supervisor takes it for hanging, and replaces it
            self._beat_s = time.monotonic()

    async def _publish(self) -> None:
        status: ActorStatus = await self._actor.describe()
        self._figures.publish(status)


def _unpacked(seat: Seat) -> Seat:
    """With the user's class itself: the shell's own seat keeps it packed, for the supervisor that asks where it sits."""
    if "object" not in seat.options:
        return seat
    return msgspec.structs.replace(seat, options={**seat.options, "object": unpack(seat.options["object"])})


def _put_down(role: str, pid: int) -> bool:
    try:
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(f"ray::{role.capitalize()}".encode()):
            os.kill(pid, signal.SIGKILL)
            return True
    except OSError:
        pass  # gone by itself
    return False


class Collector(Shell):
    """Senses, stores, serves the gateway."""


class Observer(Shell):
    """Takes reports, gossips, infers."""


class Feed(Shell):
    """Fetches declared feeds."""


class Decide(Shell):
    """Learns from rewards, pushes decision tables."""


class Traces(Shell):
    """Joins spans to execution graphs, finds what makes requests slow."""


class Learner(Shell):
    """Trains the models of controllers that learn."""


class Controller(Shell):
    """Steers one target, behind the guard."""


SHELLS: dict[str, type[Shell]] = {
    "collector": Collector,
    "observer": Observer,
    "feed": Feed,
    "decide": Decide,
    "traces": Traces,
    "learner": Learner,
    "controller": Controller,
}
