"""Events of an actor on their way to its node's collector, which archives them and has the subscribers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from vagus.actors.base import Links
from vagus.errors import PeerUnreachable, VagusError
from vagus.model import Event

MAX_WAITING = 5000
MAX_BATCH = 1000
MAX_TRIES = 20


class Telling:
    """`note` queues and never blocks; `flush`, called now and then, hands over what waits.

    What the collector does not take for `MAX_TRIES` flushes, or beyond `MAX_WAITING`, goes to `keep`: the actor's own
    store, where `vagus events` finds it as well; only those who subscribe to events miss it.
    """

    def __init__(self, node: str, links: Links | None, keep: Callable[[Sequence[Event]], None]) -> None:
        self.collector = f"vagus:collector@{node}"
        self._links = links
        self._keep = keep
        self._waiting: deque[Event] = deque()
        self._tries = 0

    def __len__(self) -> int:
        """Events that wait."""
        return len(self._waiting)

    def note(self, event: Event) -> None:
        """Queues an event."""
        if self._links is None:
            self._keep([event])
            return
        self._waiting.append(event)
        if len(self._waiting) > MAX_WAITING:
            self._give_up(MAX_WAITING // 2)

    async def flush(self) -> None:
        """Hands over what waits, in order."""
        while self._waiting and self._links is not None:
            batch = [self._waiting[at] for at in range(min(MAX_BATCH, len(self._waiting)))]
            try:
                await self._links.call(self.collector, "told", batch)
            except (PeerUnreachable, VagusError):
                self._tries += 1
                if self._tries >= MAX_TRIES:
                    self._give_up(len(self._waiting))
                return
            self._tries = 0
            handed = set(map(id, batch))
            while self._waiting and id(self._waiting[0]) in handed:
                self._waiting.popleft()

    def close(self) -> None:
        """At the end: what still waits is kept."""
        self._give_up(len(self._waiting))

    def _give_up(self, count: int) -> None:
        self._tries = 0
        kept = [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]
        if kept:
            self._keep(kept)
