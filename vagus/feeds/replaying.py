"""A replay: archived raws go through the declared feeds once more; the items are those that there were."""

from __future__ import annotations

from functools import partial

from vagus.feeds.item import Raw
from vagus.feeds.location import shown
from vagus.feeds.port import Port


class Replaying:
    """Who owns the ports of a graph that replays: nothing is fetched, and what is settled is told by the raws."""

    def __init__(self) -> None:
        self.is_over = False
        self._first: dict[str, int] = {}
        self._newest: dict[tuple[str, str], int] = {}  # all ticks until then are told

    def subscribe(self, port: Port) -> None:
        """Nothing to fetch."""

    def unsubscribe(self, port: Port) -> None:
        """Nothing was fetched."""

    def saw(self, raw: Raw) -> None:
        """These bytes have gone their way; of one place the later ticks come after the earlier ones."""
        meta = raw.meta
        self._first.setdefault(meta.feed, meta.due_ns)
        place = (meta.feed, meta.location)
        if meta.due_ns > self._newest.get(place, -1):
            self._newest[place] = meta.due_ns

    def settled(self, port: Port, due_ns: int) -> bool:
        """What is certain of the ticks: that there is none at this time, or that it was told."""
        if self.is_over or self._has_no_tick(port, due_ns):
            return True
        base = port.base
        shown_places = [(port.name, place) for place in map(shown, base.locations)]
        if base.any:
            told = any(map(partial(self._is_told, due_ns), shown_places))
            return told or self._never_begins(port, "\n".join(base.locations), due_ns)
        return all(
            self._is_told(due_ns, place) or self._never_begins(port, location, due_ns)
            for place, location in zip(shown_places, base.locations, strict=True)
        )

    def _is_told(self, due_ns: int, place: tuple[str, str]) -> bool:
        return due_ns <= self._newest.get(place, -1)

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

    @staticmethod
    def _never_begins(port: Port, key: str, due_ns: int) -> bool:
        """Whether what foreach made came too late for the tick, or was over before it began."""
        when = port.base.when
        if port.key is None or when.start_ns is None:
            return False
        schedule = when.schedule(0)
        spread_ns = schedule.spread_ns(f"{port.name}\n{key}")
        begins_ns = due_ns + spread_ns
        if begins_ns >= port.until_ns:
            return True
        return begins_ns < port.since_ns and (
            when.catch_up == "none" or due_ns < schedule.due_ns(schedule.tick_at(port.since_ns - spread_ns))
        )
