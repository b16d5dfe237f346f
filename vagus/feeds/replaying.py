"""A replay: archived raws go through the declared feeds once more; the items are those that there were."""

from __future__ import annotations

from vagus.feeds.item import Raw
from vagus.feeds.location import shown
from vagus.feeds.port import Port


class Replaying:
    """Who owns the ports of a graph that replays: nothing is fetched, and what is settled is told by the raws."""

    def __init__(self) -> None:
        self.is_over = False
        self._newest: dict[tuple[str, str], int] = {}

    def subscribe(self, port: Port) -> None:
        """Nothing to fetch."""

    def unsubscribe(self, port: Port) -> None:
        """Nothing was fetched."""

    def saw(self, raw: Raw) -> None:
        """These bytes are next; of one place the later ticks come after the earlier ones."""
        meta = raw.meta
        for key in ((meta.feed, meta.location), (meta.feed, "")):
            if meta.due_ns > self._newest.get(key, -1):
                self._newest[key] = meta.due_ns

    def settled(self, port: Port, due_ns: int) -> bool:
        if self.is_over:
            return True
        when = port.base.when
        if when.period_s and when.start_ns is not None and (due_ns - when.start_ns) % when.schedule(0).period_ns:
            return True
        places = ("",) if port.base.any else map(shown, port.base.locations)
        return all(self._newest.get((port.name, place), -1) > due_ns for place in places)
