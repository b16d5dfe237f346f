"""What the supervisor tells the actors: which nodes there are, where they listen, who runs, what happened.

Each actor is told what changed for it, once; what it did not take is told again. Nothing here grows with the square of
the nodes: what all are told is one object, and each is known by its identity to have it or not.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any

from vagus.model import ActorStatus, Event, Level, Report
from vagus.runtime import plan
from vagus.runtime.names import SUPERVISOR
from vagus.runtime.plan import Observed

log = logging.getLogger("vagus")
ROSTER_PERIOD_S = 10.0  # unchanged, it is repeated: the collectors know from it that somebody supervises
MAX_EVENTS = 20_000  # a burst, such as the start of thousands of nodes: they wait for a collector on their node
TOLD_A_ROUND = 500  # calls, which is what Ray makes in a quarter of a second; further ones are the next round's
OBSERVERS_TRIED = 2
FAILED = object()
ADDRESSES = (("observer", "address", "set_peers"), ("collector", "probe_address", "set_probe_peers"))
"""Of which role an address is asked how, and how its peers are told the others'."""

Ask = Callable[..., Awaitable[Any]]
"""ask(name, method, *args) → the answer, or FAILED. Raises nothing."""
Call = tuple[tuple[str, str], Callable[[], Coroutine[Any, Any, bool]]]
"""An actor and a method of it, and what asks; whether it took it."""


class News:
    """Keeps what waits to be told, and what each actor knows already."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        # (actor, method) → in which life it was told, and what
        self._knows: dict[tuple[str, str], tuple[int, Any]] = {}
        self._common: dict[str, Any] = {}  # what all are told, by method: the same object while it is equal
        self._roster_s: dict[str, float] = {}
        self._deaf: set[str] = set()  # did not take what they were told last: others come first
        self._turn = 0
        self._turns: dict[tuple[str, str], int] = {}  # (actor, method) → its last turn

    def happened(self, seen: Observed, event: str, level: Level, **fields: Any) -> None:
        """Something happened to an actor: logged here, stored by its node's collector."""
        seat = seen.seat
        log.log(logging.INFO if level is Level.INFO else logging.WARNING, event, extra={"actor": seat.name, **fields})
        about = {"actor": seat.name, "node": seat.node, **fields}
        self._events.append(Event(time.time_ns(), event, seat.node, level, SUPERVISOR, about))

    async def tell(
        self, nodes: tuple[str, ...], seen: Mapping[str, Observed], roster: Iterable[ActorStatus], ask: Ask
    ) -> bool:
        """One round. Returns whether there is more to tell than one round may."""
        healthy = {name: o for name, o in seen.items() if o.state == "HEALTHY"}
        self._knows = {key: known for key, known in self._knows.items() if key[0] in healthy}
        self._turns = {key: turn for key, turn in self._turns.items() if key[0] in healthy}
        self._roster_s = {name: told_s for name, told_s in self._roster_s.items() if name in healthy}
        more = False
        due: list[Call] = self._due("know", nodes, healthy, ask)
        due += self._due("set_feeders", plan.feeders(seen.values()), _of("feed", healthy), ask)
        for role, method, tell in ADDRESSES:
            actors = _of(role, healthy)
            if await self._learn(method, actors, ask):
                more = True  # all of them are told once, not of each part
                continue
            having, table = self._addresses(method, actors)
            due += self._due(tell, table, having, ask)
        events = list(self._events)
        taken: set[int] = set()
        due += self._rosters(_of("collector", healthy), roster, events, taken, ask)
        more |= await self._perform(due)
        self._deaf &= healthy.keys()
        if taken:
            kept = [event for event in self._events if id(event) not in taken]
            self._events.clear()
            self._events.extend(kept)
        return more

    async def report(self, reports: list[Report], seen: Mapping[str, Observed], ask: Ask) -> bool:
        """Evidence of the supervisor's own, to one observer, which tells the others; False when none took it."""
        observers = [name for name, o in seen.items() if o.seat.role == "observer" and o.state == "HEALTHY"]
        for name in observers[:OBSERVERS_TRIED] if reports else ():
            if await ask(name, "report", reports) is not FAILED:
                return True
        return False

    async def _perform(self, calls: list[Call]) -> bool:
        """Makes as many calls as a round may: those to the deaf last, else whose turn was the longest ago. Whether there
        are more to others than the deaf, who can wait."""
        if len(calls) > TOLD_A_ROUND:
            calls.sort(key=lambda call: (call[0][0] in self._deaf, self._turns.get(call[0], -1)))
        now, rest = calls[:TOLD_A_ROUND], calls[TOLD_A_ROUND:]
        took = await asyncio.gather(*(call() for _, call in now))
        self._turn += 1
        for (key, _), ok in zip(now, took, strict=True):
            self._turns[key] = self._turn
            (self._deaf.discard if ok else self._deaf.add)(key[0])
        return any(name not in self._deaf for (name, _), _ in rest)

    def _due(self, method: str, content: Any, actors: Mapping[str, Observed], ask: Ask) -> list[Call]:
        """Tells what all are told by this method to those who do not have it."""
        before = self._common.get(method)
        if before is None or before != content:
            self._common[method] = before = content
        knows, nothing = self._knows, (-1, None)
        return [
            ((name, method), partial(self._tell, name, o.seat.restarts, ask, method, before))
            for name, o in actors.items()
            if (known := knows.get((name, method), nothing))[1] is not before or known[0] != o.seat.restarts
        ]

    async def _tell(self, name: str, restarts: int, ask: Ask, method: str, content: object) -> bool:
        if await ask(name, method, content) is FAILED:
            return False
        self._knows[name, method] = (restarts, content)
        return True

    async def _learn(self, method: str, actors: Mapping[str, Observed], ask: Ask) -> bool:
        """Asks each actor once in its life where it listens; whether there are more to ask."""

        async def learn(name: str, restarts: int) -> bool:
            address = await ask(name, method)
            if address is FAILED:
                return False
            self._knows[name, method] = (restarts, tuple(address or ()))
            return True

        return await self._perform(
            [
                ((name, method), partial(learn, name, o.seat.restarts))
                for name, o in actors.items()
                if self._knows.get((name, method), (-1,))[0] != o.seat.restarts
            ]
        )

    def _addresses(self, method: str, actors: Mapping[str, Observed]) -> tuple[dict[str, Observed], dict[str, Any]]:
        """The actors that have an address, by name, and these addresses by node."""
        having, table = {}, {}
        for name, o in actors.items():
            restarts, address = self._knows.get((name, method), (-1, ()))
            if address and restarts == o.seat.restarts:
                having[name], table[o.seat.node] = o, address
        return having, table

    def _rosters(
        self,
        collectors: Mapping[str, Observed],
        roster: Iterable[ActorStatus],
        events: Iterable[Event],
        taken: set[int],
        ask: Ask,
    ) -> list[Call]:
        """Tells collectors of their node's actors and what happened to them; `taken`: ids of events that they took."""
        actors, happened, now_s = defaultdict(list), defaultdict(list), self._clock()
        for status in roster:
            actors[status.node].append(status)
        for event in events:
            happened[event.node].append(event)
        calls: list[Call] = []
        for name, o in collectors.items():
            mine, told = happened.get(o.seat.node, []), (o.seat.restarts, actors[o.seat.node])
            unchanged = not mine and self._knows.get((name, "set_roster")) == told
            if not (unchanged and now_s - self._roster_s.get(name, -math.inf) < ROSTER_PERIOD_S):
                calls.append(((name, "set_roster"), partial(self._report, name, told, mine, taken, ask)))
        return calls

    async def _report(
        self, name: str, told: tuple[int, list[ActorStatus]], events: list[Event], taken: set[int], ask: Ask
    ) -> bool:
        if await ask(name, "set_roster", told[1], events) is FAILED:
            return False
        self._knows[name, "set_roster"], self._roster_s[name] = told, self._clock()
        taken.update(map(id, events))
        return True


def _of(role: str, actors: Mapping[str, Observed]) -> dict[str, Observed]:
    return {name: o for name, o in actors.items() if o.seat.role == role}
