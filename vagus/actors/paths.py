"""Routes from this node: traced one at a time, and kept as events when they change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

import msgspec

from vagus.actors import traceroute
from vagus.errors import VagusError
from vagus.gateway.path import Earlier, Trace
from vagus.model import Event, Scalar

EVENT = "path.changed"
FRESH_S = 5.0  # a route found so long ago is not traced again
MAX_TARGETS = 1000
MAX_EARLIER = 20

Route = tuple[str, ...]  # the first address of each hop; an empty text where nobody answered


class Paths:
    """`put` stores events; `events` reads those of a name since a time, in any order."""

    def __init__(
        self,
        node: str,
        put: Callable[[Sequence[Event]], Awaitable[None]],
        events: Callable[[str, int], Iterable[Event]],
        trace: Callable[[str, str], Trace] = traceroute.trace,
    ) -> None:
        self._node = node
        self._put = put
        self._events = events
        self._trace = trace
        self._found: dict[str, tuple[float, Trace]] = {}  # by target: when, and what
        self._known: dict[str, Route] = {}  # by target: its route, silent hops as they were before
        self._lock = asyncio.Lock()

    async def find(self, target: str, history: bool) -> Trace:
        """The route to an address; with `history` also former ones. Raises ConfigError: not an address."""
        async with self._lock:
            found_s, trace = self._found.get(target, (-FRESH_S, None))
            if trace is None or time.monotonic() - found_s >= FRESH_S:
                trace = await asyncio.to_thread(self._trace, self._node, target)
                if len(self._found) >= MAX_TARGETS:
                    self._found.clear()
                    self._known.clear()
                self._found[target] = (time.monotonic(), trace)
                known, now = self._known.get(target), route(trace)
                self._known[target] = now = filled(now, known) if known and agree(known, now) else now
                if now != known:  # another route, or a hop of it that was silent until now
                    await self._tell(trace)
        if history:
            events = await asyncio.to_thread(lambda: list(self._events(EVENT, 0)))
            trace = msgspec.structs.replace(trace, earlier=former(events, trace))
        return trace

    async def _tell(self, trace: Trace) -> None:
        fields: dict[str, Scalar] = {
            "target": trace.target,
            "route": " ".join(a or "*" for a in route(trace)),
            "reached": trace.reached,
        }
        try:
            await self._put([Event(time.time_ns(), EVENT, self._node, source="path", fields=fields)])
        except VagusError:
            del self._found[trace.target], self._known[trace.target]  # told with the next trace


def route(trace: Trace) -> Route:
    """The first address of each hop; an empty text where nobody answered."""
    return tuple(hop.addresses[0] if hop.addresses else "" for hop in trace.hops)


def agree(a: Route, b: Route) -> bool:
    """Whether two may be the same route: a hop that once does not answer is no other hop."""
    return len(a) == len(b) and all(x == y or not x or not y for x, y in zip(a, b, strict=True))


def filled(a: Route, b: Route) -> Route:
    """The first with its silent hops taken from the second, of equal length."""
    return tuple(x or y for x, y in zip(a, b, strict=True))


def former(events: Iterable[Event], trace: Trace) -> tuple[Earlier, ...]:
    """The other routes to the same target in events, newest first, each once."""
    found: list[Earlier] = []
    for event in sorted(events, key=lambda e: e.t_ns, reverse=True):
        addresses = tuple("" if a == "*" else a for a in str(event.fields.get("route", "")).split())
        if event.fields.get("target") != trace.target or agree(addresses, route(trace)):
            continue
        known = next((n for n, earlier in enumerate(found) if agree(earlier.addresses, addresses)), None)
        if known is not None:
            found[known] = Earlier(found[known].t_ns, filled(found[known].addresses, addresses))
        elif len(found) < MAX_EARLIER:
            found.append(Earlier(event.t_ns, addresses))
    return tuple(found)
