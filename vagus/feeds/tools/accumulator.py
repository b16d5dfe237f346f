"""PADS' accumulator: a profile of everything that a feed brought, and of its failures. Pure, and mergeable.

Source: PADS/D's tool `accum`; what a profile holds is that of PADS' own accumulators.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from vagus.feeds.contracts import ANY_SHAPE, Shape
from vagus.feeds.item import Descriptor, Item, Net, State
from vagus.feeds.tools.accum_profile import Profile
from vagus.feeds.tools.walk import Place, Visitor, Walker, known_descriptor

MAX_NOTE = 200
FETCHED = (Net.OK, Net.NOT_MODIFIED)


class Accumulator(Visitor):
    """Takes items of one feed. profiles: of each place by its path; news: places where the last
    item has a new minimum or maximum, and those before it.

    items: all; good: fetched and without an error; bad: fetched, with errors; failed: not fetched. net and data: items
    by code; notes: of each net code the first note. first_ns, last_ns: when the first and the last item arrived.
    """

    def __init__(self, shape: Shape = ANY_SHAPE) -> None:
        self.items = self.good = self.bad = self.failed = self.errors = 0
        self.net: Counter[str] = Counter()
        self.data: Counter[str] = Counter()
        self.notes: dict[str, str] = {}
        self.first_ns = self.last_ns = 0
        self.profiles: dict[str, Profile] = {}
        self.news: dict[Profile, tuple[float | None, float | None]] = {}
        self._walker = Walker(self, shape)

    def init(self, place: Place) -> Profile:
        """A place is met."""
        return self.profiles.setdefault(place.path, Profile(place))

    def start(self, profile: Profile, value: Any, descriptor: Descriptor | None) -> None:
        """A value of a place."""
        if profile.take(value, descriptor):
            self.news.setdefault(profile, profile.former)

    def take(self, item: Item[Any], descriptor: Descriptor | None = None) -> None:
        """Counts an item; descriptor: where its errors are, if that is known."""
        self.news.clear()
        meta = item.meta
        self._span(meta.arrived_ns, meta.arrived_ns)
        self.items += 1
        self.errors += meta.errors
        self.net[meta.net.value] += 1
        if meta.note:
            self.notes.setdefault(meta.net.value, meta.note[:MAX_NOTE])
        known = known_descriptor(item, descriptor)
        wrong = meta.errors > 0 or known is None
        if meta.net not in FETCHED:
            self.failed += 1
        else:
            self.good += not wrong
            self.bad += wrong
        if meta.net is Net.OK or item.value is not None:  # of a pair, one side may have failed
            self.data[meta.data.value] += 1
            if wrong and (known is None or not known.errors):
                known = Descriptor(State.PARTIAL, max(1, meta.errors), meta.data, 0, meta.size_bytes)
            self._walker.walk(item.value, known)

    def _span(self, first_ns: int, last_ns: int) -> None:
        self.first_ns = min(self.first_ns, first_ns) if self.items else first_ns
        self.last_ns = max(self.last_ns, last_ns) if self.items else last_ns

    def merge(self, other: Accumulator) -> None:
        """Adds what another one counted of the same feed, in another slice of time or another part of its locations."""
        if not other.items:
            return
        self._span(other.first_ns, other.last_ns)
        for name in ("items", "good", "bad", "failed", "errors"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.net += other.net
        self.data += other.data
        for code, note in other.notes.items():
            self.notes.setdefault(code, note)
        for path, profile in other.profiles.items():
            self.profiles.setdefault(path, Profile(profile.place)).merge(profile)
