"""What a running controller does, for who follows it: each record once, and whether its actors stay up."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from vagus.actors.crash_loops import crash_loops, with_end
from vagus.clock import NS
from vagus.errors import VagusError
from vagus.model import ActorStatus, Event, Receipt

if TYPE_CHECKING:
    from vagus.client.connection import Connection

R = TypeVar("R", Event, Receipt)
OVERLAP_S = 15.0  # records of nodes whose clocks are behind, or that were stored late
MOST = 1000
STARTED_WITHIN_S = 90.0
FAILURES_EVERY_S = 5.0


class Fresh:
    """Of records that are asked for again and again, over spans that overlap, those that did not come before. Pure."""

    def __init__(self) -> None:
        self._seen: dict[bytes, int] = {}

    def of(self, records: Iterable[R]) -> list[R]:
        """The new ones, oldest first."""
        import msgspec

        found = []
        for record in records:
            key = msgspec.msgpack.encode(record)
            if key not in self._seen:
                self._seen[key] = record.t_ns
                found.append(record)
        return sorted(found, key=lambda record: record.t_ns)

    def forget(self, before_ns: int) -> None:
        """Records from before that are not asked for any more."""
        self._seen = {key: t_ns for key, t_ns in self._seen.items() if t_ns >= before_ns}


class Health:
    """Whether a controller works, from what the supervisor says of its actors. Pure: `now_s` is monotonic.

    At first each of them must start. Later it has failed when all of them end again and again: one node's trouble is
    told, and ends nothing elsewhere.
    """

    def __init__(self, names: Sequence[str], now_s: float) -> None:
        self.started = False
        self._names = tuple(names)
        self._made_s = now_s
        self._restarts: dict[str, int] = {}
        self._ends_s: dict[str, tuple[float, ...]] = {}
        self._up_s: dict[str, float] = {}

    def problem(self, said: Iterable[ActorStatus], now_s: float) -> str:
        """Why it is given up; empty while it works."""
        actors = {actor.name: actor for actor in said}
        for name, actor in actors.items():
            self._note(name, actor, now_s)
        if not self.started:
            return self._starting(actors, now_s)
        looping = [a for n, a in actors.items() if crash_loops(self._ends_s.get(n, ()), self._up_s.get(n), now_s)]
        if not actors or len(looping) < len(actors):
            return ""
        worst = looping[0]
        return f"it ends again and again at {worst.node}: {worst.last_error or 'no reason is known'}"

    def _note(self, name: str, actor: ActorStatus, now_s: float) -> None:
        for _ in range(min(10, actor.restarts - self._restarts.get(name, actor.restarts))):
            self._ends_s[name] = with_end(self._ends_s.get(name, ()), now_s)
            self._up_s.pop(name, None)
        self._restarts[name] = actor.restarts
        if actor.state == "HEALTHY":
            self._up_s.setdefault(name, now_s)
        else:
            self._up_s.pop(name, None)

    def _starting(self, actors: dict[str, ActorStatus], now_s: float) -> str:
        for actor in actors.values():
            if actor.state == "UNHEALTHY":
                return f"it does not start at {actor.node}: {actor.last_error or 'no reason is known'}"
        self.started = all(name in actors and actors[name].state == "HEALTHY" for name in self._names)
        if not self.started and now_s - self._made_s > STARTED_WITHIN_S:
            return f"it is not healthy after {STARTED_WITHIN_S:.0f} s; see `vagus status`"
        return ""


class Follower:
    """Asks a gateway for what one controller tells. connect: makes the connection, also a new one after a failure."""

    def __init__(self, connect: Callable[[], Connection], name: str, node: str = "") -> None:
        self.trouble = ""  # why the gateway could not be asked; empty when it could
        self.more = False  # the last look found more than it takes at once
        self._connect = connect
        self._connection: Connection | None = None
        self._name = name
        self._node = node  # the only one that it runs on; else all are asked
        self._fresh = Fresh()
        self._looked_ns = time.time_ns()
        self._failures: dict[str, str] = {}  # by actor: the last that was told
        self._failures_s = 0.0

    def at(self, node: str) -> None:
        """From now on this node alone is asked."""
        self._node = node

    def look(self) -> list[Event | Receipt]:
        """What it told and did since the last look, oldest first; nothing while the gateway does not answer."""
        now_ns = time.time_ns()
        since = f"{(now_ns - self._looked_ns) / NS + OVERLAP_S:.3f}s"
        its = re.escape(f"vagus:controller:{self._name}@")
        try:
            asked = self._connected()
            receipts = asked.records("receipt", since, MOST, node=self._node)
            events = [
                *asked.records("event", since, MOST, where=(f'source="{self._name}"',), node=self._node),
                *asked.records("event", since, MOST, where=(f"actor=~{its}.*",), node=self._node),
            ]
        except VagusError as error:
            self._lost(error)
            return []
        self.trouble, self.more = "", len(receipts) >= MOST or len(events) >= MOST
        new = [*self._fresh.of(r for r in receipts if r.controller == self._name), *self._fresh.of(events)]
        self._looked_ns = now_ns
        self._fresh.forget(now_ns - round(2 * OVERLAP_S * NS))
        return sorted(new, key=lambda record: record.t_ns)

    def failures(self, now_s: float) -> list[str]:
        """Why its steps fail, now and then, each reason once."""
        if now_s - self._failures_s < FAILURES_EVERY_S:
            return []
        self._failures_s = now_s
        try:
            nodes = self._connected().status()
        except VagusError as error:
            self._lost(error)
            return []
        found = []
        for actor in (a for n in nodes for a in n.actors if a.name.startswith(f"vagus:controller:{self._name}@")):
            if actor.last_error and self._failures.get(actor.name) != actor.last_error:
                self._failures[actor.name] = actor.last_error
                found.append(f"at {actor.node}: {actor.last_error}")
        return found

    def close(self) -> None:
        """Ends the connection; another look makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _lost(self, error: VagusError) -> None:
        self.trouble = str(error)
        self.close()
