"""The supervisor actor: keeps the fleet as it should be, round after round, and answers `vagus up`, `down`, `spawn`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import Any

import msgspec
import ray

from vagus import config as configuration
from vagus.actors.heap import settle
from vagus.config import Config, ControllerSettings
from vagus.model import ActorStatus
from vagus.runtime.engine import RayEngine
from vagus.runtime.fleet import Fleet
from vagus.runtime.logs import log_to
from vagus.runtime.names import HEAD, NAMESPACE, SUPERVISOR

log = logging.getLogger("vagus")
PERIOD_S = 2.0  # for new nodes and pings; the end of an actor starts a round at once
LEAST_S = 0.1


class Supervisor:
    """`vagus:supervisor`, one per cluster, on the head; Ray itself restarts it."""

    def __init__(self, config: Config, home: str, options: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # without a log of its own it goes on all the same
            log_to(configuration.home(config) / "logs" / "supervisor.jsonl", SUPERVISOR)
        self._fleet = Fleet(config, home, options, RayEngine())
        self._loop = asyncio.get_event_loop().create_task(self._run())

    def __repr__(self) -> str:
        return SUPERVISOR

    async def _run(self) -> None:
        fleet, settled = self._fleet, -1
        while not fleet.stopping:
            if len(fleet.seen) > 2 * settled:  # a collection of all that a large fleet is takes longer than a round
                settled = len(fleet.seen)
                settle()
            try:
                await fleet.round()
            except asyncio.CancelledError:
                raise
            except Exception as error:  # the loop never ends: a lost head or a Ray error is a state to wait out
                fleet.failed(error)
                log.warning("supervisor round failed", extra={"error": fleet.last_error})
            await asyncio.sleep(LEAST_S)
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(fleet.changed.wait(), PERIOD_S)

    async def describe(self) -> dict[str, Any]:
        """Rounds so far, the nodes by id, every seat's state, the settings, whether it is ending, its process."""
        fleet = self._fleet
        return {
            "rounds": fleet.rounds,
            "nodes": dict(fleet.node_names),
            "actors": fleet.roster(),
            "errors": fleet.errors,
            "last_error": fleet.last_error,
            "config": fleet.given,
            "stopping": fleet.stopping,
            "pid": os.getpid(),
        }

    async def spawn(
        self, settings: ControllerSettings, user_class: Any, lease_s: float = 0.0, owner: str = ""
    ) -> list[str]:
        """See Fleet.spawn."""
        return self._fleet.spawn(settings, user_class, lease_s, owner)

    async def keep(self, name: str, owner: str = "") -> list[ActorStatus] | None:
        """See Fleet.keep."""
        return self._fleet.keep(name, owner)

    async def remove(self, name: str, owner: str = "") -> bool:
        """See Fleet.remove."""
        return await self._fleet.remove(name, owner)

    async def arm(self, on: bool) -> list[str]:
        """See Fleet.arm."""
        return await self._fleet.arm(on)

    async def leave(self, node_id: str) -> list[str]:
        """See Fleet.leave."""
        return await self._fleet.leave(node_id)

    async def stop(self) -> list[str]:
        """See Fleet.stop; no further round."""
        self._fleet.stopping = True
        self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=True)
        return await self._fleet.stop()


def make_supervisor(config: Config, home: str, options: dict[str, Any]) -> Any:
    """The supervisor's handle: made on the head's node, or the one that there is."""
    remote: Any = ray.remote(Supervisor)
    return remote.options(
        name=SUPERVISOR,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        max_restarts=-1,
        enable_task_events=False,
        resources={HEAD: 0.001},  # whichever node the head is on: one that returned after its end has another id
    ).remote(msgspec.structs.replace(config), home, options)
