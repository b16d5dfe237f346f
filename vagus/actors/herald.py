"""Who is told of changed verdicts outside of the observer: the node's collector and its subscribers, and webhooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from vagus.actors.base import Links, Seat
from vagus.actors.telling import Telling
from vagus.actors.verdicts import Verdicts
from vagus.actors.webhooks import Webhooks
from vagus.model import Event


class Herald:
    """keep: takes the events that no collector takes. alive: the nodes whose observers live, this one included.

    Raises ConfigError for webhooks that cannot be told.
    """

    def __init__(
        self,
        seat: Seat,
        links: Links | None,
        verdicts: Verdicts,
        keep: Callable[[Sequence[Event]], None],
        alive: Callable[[], Iterable[str]],
    ) -> None:
        health = seat.config.health
        self._telling = Telling(seat.node, links, keep)
        self._webhooks = Webhooks(health.webhooks, seat.node, alive if health.interest == "all" else None)
        verdicts.told.append(self._telling.note)
        if self._webhooks:
            verdicts.changed.append(self._webhooks.note)

    def note(self, event: Event) -> None:
        """An event that is none of a verdict."""
        self._telling.note(event)

    async def start(self) -> None:
        """Begins to tell webhooks."""
        await self._webhooks.start()

    async def flush(self) -> None:
        """Hands events to the collector; call it often."""
        await self._telling.flush()

    async def stop(self) -> None:
        """What no collector took is kept; what no webhook took is dropped. Idempotent."""
        self._telling.close()
        await self._webhooks.stop()

    def figures(self) -> dict[str, float]:
        """Counters since start, and what waits."""
        counts = self._webhooks.counts if self._webhooks else {}
        return {"events_waiting": float(len(self._telling)), **{f"webhook_{k}": float(v) for k, v in counts.items()}}

    def notes(self) -> tuple[str, ...]:
        """What people should know."""
        return (self._webhooks.last_error,) if self._webhooks.last_error else ()
