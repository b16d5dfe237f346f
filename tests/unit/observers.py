"""Observer actors for tests: begun in this process with real stores and real sockets, or as processes of their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vagus.actors.base import Seat
from vagus.actors.observer import ObserverActor
from vagus.config import AccessRule, Config, HealthSettings
from vagus.model import Metric, Report, Status

KEY = bytes(range(32))
H, P, U = Status.HEALTHY, Status.PENDING, Status.UNHEALTHY


def observer(
    home: Path, node: str = "n1", *, health: dict[str, Any] | None = None, access: tuple[AccessRule, ...] = ()
) -> ObserverActor:
    """One that is not begun yet; it calls nobody."""
    links: Any = None
    config = Config(health=HealthSettings(**(health or {})), access=access)
    return ObserverActor(Seat("observer", node, str(home), config, options={"key": KEY}), links)


def said(status: Status = U, *, subject: str = "db", observer: str = "api", t_ns: int = 0) -> Report:
    """A report of now."""
    return Report(observer, subject, t_ns or time.time_ns(), {"read": Metric(status, 20)})


def statuses(actor: ObserverActor) -> dict[str, Status]:
    """The verdicts by subject."""
    return {inference.subject: inference.status for inference in actor._local.inferences()}


async def introduce(*actors: ObserverActor, key: bytes = b"") -> None:
    """Tells everyone of everyone, as the supervisor does."""
    addresses = {actor.seat.node: await actor.address() for actor in actors}
    for actor in actors:
        await actor.set_peers(addresses, key)


async def until(holds: Callable[[], Any], timeout_s: float = 10.0) -> None:
    """Lets the loop run until `holds()`; fails after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"timed out waiting: {holds}"
        await asyncio.sleep(0.002)
