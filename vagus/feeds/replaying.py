"""A replay: archived raws go through the declared feeds once more; the items are those that there were."""

from __future__ import annotations

from vagus.feeds.item import Net, Raw
from vagus.feeds.location import shown
from vagus.feeds.port import Port
from vagus.feeds.schedule import RUNNING


class Replaying:
    """Who owns the ports of a graph that replays: nothing is fetched, and what is settled is told by the raws."""

    def __init__(self) -> None:
        self.is_over = False
        self._first: dict[str, int] = {}
        self._newest: dict[tuple[str, str], int] = {}

    def subscribe(self, port: Port) -> None:
        """Nothing to fetch."""

    def unsubscribe(self, port: Port) -> None:
        """Nothing was fetched."""

    def saw(self, raw: Raw) -> None:
        """These bytes are next; of one place the later ticks come after the earlier ones."""
        meta = raw.meta
        self._first.setdefault(meta.feed, meta.due_ns)
        if meta.net is Net.MISSED and meta.note.startswith(RUNNING):
            return  # an earlier one is still to come
        for key in ((meta.feed, meta.location), (meta.feed, "")):
            if meta.due_ns > self._newest.get(key, -1):
                self._newest[key] = meta.due_ns

    def settled(self, port: Port, due_ns: int) -> bool:
        """What is certain of the ticks: that there is none at this time, or that a later one came."""
        if self.is_over or self._has_no_tick(port, due_ns):
            return True
        places = ("",) if port.base.any else map(shown, port.base.locations)
        return all(self._newest.get((port.name, place), -1) > due_ns for place in places)

    def _has_no_tick(self, port: Port, due_ns: int) -> bool:
        when = port.base.when
        zero_ns = when.start_ns
        if zero_ns is None and port.key is None:
            zero_ns = self._first.get(port.name)  # only modulo the period, after a restart
        if zero_ns is None:
            return False
        schedule = when.schedule(zero_ns)
        tick, off = divmod(due_ns - zero_ns, schedule.period_ns)
        return bool(off) or tick > schedule.last_tick or (tick < 0 and when.start_ns is not None)
