"""What of the expected topology is missing, as the node's observer says; what it said last while it is silent."""

from __future__ import annotations

from vagus.actors.base import Links
from vagus.clock import NS, Clock
from vagus.errors import VagusError
from vagus.model import Missing

TIMEOUT_S = 2.0
SILENT_S = 15.0  # an observer that died is back sooner
APART_S = 120.0  # two failures further apart are two


class Missed:
    """Asks `observer`; one that is silent for longer than it takes to replace it is missing itself."""

    def __init__(self, links: Links, observer: str, clock: Clock) -> None:
        self._links = links
        self._observer = observer
        self._clock = clock
        self._said: tuple[Missing, ...] = ()
        self._silent: tuple[int, int] | None = None  # since when, by both clocks
        self._asked_ns = 0  # when last

    async def ask(self) -> tuple[Missing, ...]:
        """What is missing. Raises nothing."""
        observer = self._observer
        try:
            self._said = tuple(await self._links.call(observer, "missing", timeout_s=TIMEOUT_S))
            self._silent = None
            return self._said
        except VagusError as error:
            now_ns = self._clock.monotonic_ns()
            if now_ns - self._asked_ns > APART_S * NS:
                self._silent = None  # nobody asked meanwhile, so nobody knows what it would have said
            self._asked_ns = now_ns
            since_ns, began_ns = self._silent = self._silent or (self._clock.time_ns(), now_ns)
            if now_ns - began_ns < SILENT_S * NS:
                return self._said
            todo = "its last error is in `vagus status`, all of them in HOME/nodes/NODE/logs"
            node = observer.rpartition("@")[2]
            silent = Missing(observer, "actor", "dead", since_ns, node, str(error)[:300], todo)
            return (*(one for one in self._said if one.what != observer), silent)
