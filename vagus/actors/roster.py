"""A node's actors as the supervisor sees them and as they say of themselves."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence

import msgspec

from vagus.actors.base import Links
from vagus.errors import VagusError
from vagus.model import ActorStatus, Event, Metric, Report, Status

DESCRIBE_TIMEOUT_S = 2.0
UNSUPERVISED_S = 45.0  # the supervisor repeats itself every 10 s
WELL = ("HEALTHY", "STARTING", "DRAINING", "DRAINED")
_ALIVE = {"HEALTHY": Status.HEALTHY, "STARTING": Status.PENDING, "DRAINING": Status.PENDING, "DRAINED": Status.PENDING}


class Roster:
    """What the supervisor said last."""

    def __init__(self, links: Links) -> None:
        self.actors: tuple[ActorStatus, ...] = ()
        self._links = links
        self._told_s = time.monotonic()
        self._stored: deque[tuple[int, str, str]] = deque(maxlen=1000)

    def told(self, actors: Sequence[ActorStatus], events: Iterable[Event]) -> list[Event]:
        """News: keeps the actors; the events that are new (it tells again what it is not sure that we heard)."""
        self.actors, self._told_s = tuple(actors), time.monotonic()
        fresh = [e for e in events if _key(e) not in self._stored]
        self._stored.extend(map(_key, fresh))
        return fresh

    def forget(self, events: Iterable[Event]) -> None:
        """They could not be stored: to be told again."""
        for event in events:
            self._stored.remove(_key(event))

    def controllers(self) -> list[str]:
        """The names of the node's controllers."""
        return [a.name.split(":", 2)[2].rpartition("@")[0] for a in self.actors if a.role == "controller"]

    def reports(self, t_ns: int) -> list[Report]:
        """Whether each actor is alive."""
        return [
            Report("vagus:supervisor", a.name, t_ns, {"alive": Metric(_ALIVE.get(a.state, Status.DEAD))})
            for a in self.actors
        ]

    async def describe(self, me: ActorStatus) -> tuple[ActorStatus, ...]:
        """Every actor of the node in its own words, by name; one that does not answer is UNHEALTHY, and why."""
        others = await asyncio.gather(*(self._ask(a) for a in self.actors if a.name != me.name))
        known = next((a for a in self.actors if a.name == me.name), me)
        return tuple(sorted([_seen(me, known), *others], key=lambda a: a.name))

    async def _ask(self, known: ActorStatus) -> ActorStatus:
        if known.state != "HEALTHY":
            return known
        try:
            said: ActorStatus = await self._links.call(known.name, "describe", timeout_s=DESCRIBE_TIMEOUT_S)
            return _seen(said, known)
        except VagusError as error:
            return msgspec.structs.replace(known, state="UNHEALTHY", last_error=str(error), figures={})

    def errors(self, described: Iterable[ActorStatus]) -> list[str]:
        """What is wrong with them, a line each."""
        lines = [f"{a.name}: {a.state} {a.last_error}".strip() for a in described if a.state not in WELL]
        silent_s = time.monotonic() - self._told_s
        if silent_s > UNSUPERVISED_S:
            lines.append(
                f"nothing heard from the supervisor for {silent_s:.0f} s: what runs goes on, but an actor that dies is "
                "not replaced; does Ray's head run?"
            )
        return lines


def _key(event: Event) -> tuple[int, str, str]:
    return event.t_ns, event.event, str(event.fields.get("actor", ""))


def _seen(said: ActorStatus, known: ActorStatus) -> ActorStatus:
    """What the actor says, with the supervisor's reason for its last restart where it has no error of its own."""
    if said.last_error or not known.last_error:
        return said
    note = f"restarted {known.restarts} x, last: {known.last_error}"
    return msgspec.structs.replace(said, notes=(*said.notes, note))
