"""One declared feed as a pure core: ticks and results in, directives out. The shell fetches, archives and emits.

`all`: for each tick and location exactly one item. `any`: one item for each tick, failing over in order. A failure
or a missed tick is an item too, its value None. Raw bytes are archived before they are parsed: `fetched` yields
`Archive` first and parses only when asked for the next directive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from vagus.config import FeedSettings, seconds
from vagus.feeds.directives import Archive, Directive, Emit, Fetch
from vagus.feeds.item import Data, Fetched, Item, Meta, Net, Raw
from vagus.feeds.load import load_format, load_locations
from vagus.feeds.location import shown
from vagus.feeds.schedule import BackOff, Missed, Schedule, Scheduler

ANY = ""  # the scheduler's one place of an `any` feed
MAX_NOTE = 300


class Feed:
    """The core of one feed.

    last_due_ns: the last tick before a restart of each location, as items name it; of `ANY` for an `any` feed.
    Raises ConfigError when source, schedule or format of the settings are wrong.
    """

    def __init__(
        self,
        settings: FeedSettings,
        *,
        last_due_ns: Mapping[str, int] | None = None,
        back_off: BackOff | None = None,
    ) -> None:
        self.name = settings.name
        self.settings = settings
        self.locations = load_locations(settings)
        self.failing_over = bool(settings.source and settings.source.any)
        self.schedule = Schedule(period_s=seconds(settings.every), timeout_s=seconds(settings.timeout))
        self.format = load_format(settings)
        last = last_due_ns or {}
        self._scheduler = Scheduler(
            self.schedule,
            (ANY,) if self.failing_over else self.locations,
            salt=settings.name,
            back_off=back_off,
            last_due_ns=last if self.failing_over else {p: last[shown(p)] for p in self.locations if shown(p) in last},
        )

    def next_due(self) -> int | None:
        """When to call `tick` next, in ns of wall time."""
        return self._scheduler.next_due()

    def tick(self, now_ns: int) -> list[Directive]:
        """What is due: fetches to start, and items for the ticks that are missed."""
        told: list[Directive] = []
        for start in self._scheduler.due(now_ns):
            location = start.location or self.locations[0]
            if isinstance(start, Missed):
                together = f"; {start.ticks} ticks" if start.ticks > 1 else ""
                meta = Meta(self.name, shown(location), start.due_ns, now_ns, Net.MISSED, note=start.reason + together)
                told += (Archive(Raw(meta, b"")), Emit(self.name, Item(meta), start.ticks))
            else:
                told.append(self._fetch(location, start.due_ns))
        return told

    def _fetch(self, location: str, due_ns: int, tried: tuple[str, ...] = ()) -> Fetch:
        return Fetch(self.name, location, due_ns, self.schedule.timeout_s, self.settings.max_bytes, tried)

    def fetched(self, fetch: Fetch, fetched: Fetched, now_ns: int) -> Iterator[Directive]:
        """A fetch has ended: archive, then parse and emit; or try the next location of an `any` feed.

        Iterate to the end; the parse happens on the way to the last directive.
        """
        good = fetched.net in (Net.OK, Net.NOT_MODIFIED)
        if self.failing_over and not good and len(fetch.tried) + 1 < len(self.locations):
            tried = (*fetch.tried, f"{shown(fetch.location)}: {fetched.net.value} {fetched.note}".strip()[:MAX_NOTE])
            return iter((self._fetch(self.locations[len(tried)], fetch.due_ns, tried),))
        self._scheduler.finished(ANY if self.failing_over else fetch.location, fetched, now_ns)
        meta = Meta(
            self.name,
            shown(fetch.location),
            fetch.due_ns,
            now_ns,
            fetched.net,
            size_bytes=len(fetched.body),
            note="; ".join((*fetch.tried, *filter(None, (fetched.note,))))[: 4 * MAX_NOTE],
        )
        return self._deliver(Raw(meta, fetched.body))

    def _deliver(self, raw: Raw) -> Iterator[Directive]:
        yield Archive(raw)
        yield Emit(self.name, self.parse(raw))

    def parse(self, raw: Raw) -> Item[Any]:
        """The item of archived bytes: the same as when they arrived. Never raises."""
        if raw.meta.net is not Net.OK:
            return Item(raw.meta)
        try:
            value, found = self.format.parse(raw.body)
        except Exception as error:  # a format from outside that breaks its contract stops no feed
            note = f"format {self.settings.format} raised {type(error).__name__}: {error}"
            return Item(msgspec.structs.replace(raw.meta, data=Data.SYNTAX, errors=1, note=note[:MAX_NOTE]))
        return Item(msgspec.structs.replace(raw.meta, data=found.code, errors=found.errors), value)
