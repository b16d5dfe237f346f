"""What the supervisor tells the actors: which nodes there are, where they listen, who runs, what happened.

Each actor is told what changed for it, once; what it did not take is told again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from vagus.model import ActorStatus, Event, Level, Report
from vagus.runtime import plan
from vagus.runtime.names import SUPERVISOR
from vagus.runtime.plan import Observed

log = logging.getLogger("vagus")
ROSTER_PERIOD_S = 10.0  # unchanged, it is repeated: the collectors know from it that somebody supervises
MAX_EVENTS = 1000  # a burst: they wait for a collector on their node
OBSERVERS_TRIED = 2
FAILED = object()
ADDRESSES = (("observer", "address", "set_peers"), ("collector", "probe_address", "set_probe_peers"))
"""Of which role an address is asked how, and how its peers are told the others'."""

Ask = Callable[..., Awaitable[Any]]
"""ask(name, method, *args) → the answer, or FAILED. Raises nothing."""


class News:
    """Keeps what waits to be told, and what each actor knows already."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        # (actor, method) → in which life it was told, and what
        self._knows: dict[tuple[str, str], tuple[int, Any]] = {}
        self._roster_s: dict[str, float] = {}

    def happened(self, seen: Observed, event: str, level: Level, **fields: Any) -> None:
        """Something happened to an actor: logged here, stored by its node's collector."""
        seat = seen.seat
        log.log(logging.INFO if level is Level.INFO else logging.WARNING, event, extra={"actor": seat.name, **fields})
        about = {"actor": seat.name, "node": seat.node, **fields}
        self._events.append(Event(time.time_ns(), event, seat.node, level, SUPERVISOR, about))

    async def tell(
        self, nodes: tuple[str, ...], seen: Mapping[str, Observed], roster: Iterable[ActorStatus], ask: Ask
    ) -> None:
        """One round."""
        healthy = {name: o for name, o in seen.items() if o.state == "HEALTHY"}
        self._knows = {key: known for key, known in self._knows.items() if key[0] in healthy}
        told = [self._tell(o, ask, "know", nodes) for o in healthy.values()]
        feeders = plan.feeders(seen.values())
        told += [self._tell(o, ask, "set_feeders", feeders) for o in healthy.values() if o.seat.role == "feed"]
        for role, method, tell in ADDRESSES:
            addresses = await self._addresses([o for o in healthy.values() if o.seat.role == role], method, ask)
            told += [
                self._tell(healthy[name], ask, tell, {n: a for other, (n, a) in addresses.items() if other != name})
                for name in addresses
            ]
        events, roster = list(self._events), list(roster)
        for o in healthy.values():
            if o.seat.role == "collector":
                node = o.seat.node
                mine = [e for e in events if e.node == node]
                told.append(self._report(o, ask, [a for a in roster if a.node == node], mine))
        await asyncio.gather(*told)

    async def report(self, reports: list[Report], seen: Mapping[str, Observed], ask: Ask) -> bool:
        """Evidence of the supervisor's own, to one observer, which tells the others; False when none took it."""
        observers = [name for name, o in seen.items() if o.seat.role == "observer" and o.state == "HEALTHY"]
        for name in observers[:OBSERVERS_TRIED] if reports else ():
            if await ask(name, "report", reports) is not FAILED:
                return True
        return False

    async def _addresses(self, actors: list[Observed], method: str, ask: Ask) -> dict[str, tuple[str, Any]]:
        """Node and address of each actor that has one, by its name; each is asked once in its life."""

        async def learn(o: Observed) -> None:
            if self._knows.get((o.seat.name, method), (-1,))[0] != o.seat.restarts:
                address = await ask(o.seat.name, method)
                if address is not FAILED:
                    self._knows[o.seat.name, method] = (o.seat.restarts, tuple(address or ()))

        await asyncio.gather(*map(learn, actors))
        known = {o.seat.name: (o.seat, self._knows.get((o.seat.name, method), (-1, ()))) for o in actors}
        return {
            name: (seat.node, address)
            for name, (seat, (restarts, address)) in known.items()
            if address and restarts == seat.restarts
        }

    async def _tell(self, o: Observed, ask: Ask, method: str, content: object) -> None:
        key, told = (o.seat.name, method), (o.seat.restarts, content)
        if self._knows.get(key) != told and await ask(o.seat.name, method, content) is not FAILED:
            self._knows[key] = told

    async def _report(self, collector: Observed, ask: Ask, roster: list[ActorStatus], events: list[Event]) -> None:
        name, told = collector.seat.name, (collector.seat.restarts, roster)
        unchanged = self._knows.get((name, "set_roster")) == told and not events
        if unchanged and self._clock() - self._roster_s.get(name, 0.0) < ROSTER_PERIOD_S:
            return
        if await ask(name, "set_roster", roster, events) is not FAILED:
            self._knows[name, "set_roster"], self._roster_s[name] = told, self._clock()
            taken = set(map(id, events))
            kept = [e for e in self._events if id(e) not in taken]
            self._events.clear()
            self._events.extend(kept)
