"""Ray actors around vagus' plain actor classes: a class per role, so that the Ray dashboard tells them apart."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

import msgspec
import ray

from vagus import config as configuration
from vagus.actors import ROLES, Actor
from vagus.actors.base import Seat
from vagus.model import ActorStatus
from vagus.runtime.links import RayLinks
from vagus.runtime.logs import log_to
from vagus.runtime.metrics import Figures

METRICS_PERIOD_S = 10.0
PROBES = {"probe": 2}  # a concurrency group, so a thread and a loop, of its own
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
        seat.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        log_to(seat.folder / "logs" / f"{seat.role}{'-' + seat.label if seat.label else ''}.jsonl", seat.name)
        self.seat = seat
        self._links = RayLinks(nodes)
        self._actor: Actor = ROLES.make(seat.role, seat, self._links)
        self._beat_s = time.monotonic()
        self._figures = Figures(seat)

    def __repr__(self) -> str:
        return self.seat.name

    async def begin(self) -> str:
        """Starts the actor; raises what its start raised."""
        if self._actor.state == "STARTING":
            await self._actor.begin()
            self._actor.every(1.0, self._beat, "beat")
            self._actor.every(METRICS_PERIOD_S, self._publish, "metrics")
        return self.seat.name

    async def call(self, method: str, *args: Any) -> Any:
        """One of the actor's public methods."""
        if method.startswith("_"):
            raise AttributeError(method)
        result = getattr(self._actor, method)(*args)
        return await result if hasattr(result, "__await__") else result

    async def know(self, nodes: tuple[str, ...]) -> None:
        """The supervisor's news of which nodes there are."""
        self._links.known = nodes

    @ray.method(concurrency_group="probe")  # type: ignore[untyped-decorator]
    async def ping(self) -> tuple[int, float]:
        """Process id, and the age in seconds of the main loop's last beat: large when the loop hangs."""
        return os.getpid(), time.monotonic() - self._beat_s

    @ray.method(concurrency_group="probe")  # type: ignore[untyped-decorator]
    async def where(self) -> tuple[Seat, str]:
        """The seat and the Ray node id: how a new supervisor finds what already runs."""
        return self.seat, ray.get_runtime_context().get_node_id()

    async def end(self) -> None:
        """Stops the actor: flushes, restores, closes."""
        await self._actor.end()
        logging.shutdown()

    async def _beat(self) -> None:
        self._beat_s = time.monotonic()

    async def _publish(self) -> None:
        status: ActorStatus = await self._actor.describe()
        self._figures.publish(status)


class Collector(Shell):
    """Senses, stores, serves the gateway."""


class Observer(Shell):
    """Takes reports, gossips, infers."""


class Feed(Shell):
    """Fetches declared feeds."""


class Decide(Shell):
    """Learns from rewards, pushes decision tables."""


class Controller(Shell):
    """Steers one target, behind the guard."""


SHELLS: dict[str, type[Shell]] = {
    "collector": Collector,
    "observer": Observer,
    "feed": Feed,
    "decide": Decide,
    "controller": Controller,
}


def logs_folder(home: Path, node: str) -> Path:
    """Where the structured logs of a node's actors are."""
    return configuration.node_folder(home, node) / "logs"
