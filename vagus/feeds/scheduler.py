"""What to do when: starts and misses of many locations, each tick told exactly once, in order. Pure."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from vagus.clock import NS
from vagus.feeds.item import Fetched, Net
from vagus.feeds.schedule import BackOff, Schedule

MAX_GONE = 100_000
MAX_MISSED = 100  # ticks of a location told one by one after a long silence; older ones are told together
MAX_MISSED_IN_ALL = 100_000  # of all locations; what 100,000 of them missed in two hours would be gigabytes
RUNNING = "the previous run was still going"
BACKING_OFF = "backing off after failures"
LATE = "the feed was not running, or overloaded"


class Start(msgspec.Struct, frozen=True):
    """Begin the fetch of this location for the tick due at `due_ns`."""

    location: str
    due_ns: int


class Missed(msgspec.Struct, frozen=True):
    """A tick that is not fetched, and why; `ticks` > 1: it stands for as many, this being the last of them."""

    location: str
    due_ns: int
    reason: str
    ticks: int = 1


class _Place:
    """What is known of one location."""

    __slots__ = (
        "behind",
        "busy_tick",
        "end_ns",
        "failures",
        "hold_tick",
        "is_alive",
        "last_tick",
        "missed_ns",
        "next_tick",
        "period_ns",
        "running_tick",
        "schedule",
        "skip_tick",
        "spread_ns",
        "wake_ns",
        "zero_ns",
    )

    def __init__(self, schedule: Schedule, spread_ns: int, next_tick: int | None) -> None:
        self.follow(schedule)
        self.spread_ns = spread_ns
        self.next_tick = next_tick  # None: never run; the latest tick is caught up at once
        self.running_tick: int | None = None
        self.failures = 0
        self.hold_tick = 0  # no try before this tick
        self.busy_tick = -1  # until this one the ticks that are not yet told passed while a run was going
        self.missed_ns: list[int] = []  # so did these, of schedules before
        self.skip_tick = 0  # those before this one passed before anybody looked, and are not caught up
        self.wake_ns = -1  # where it stands in the heap; -1: nowhere, there are no more ticks
        self.is_alive = True
        self.behind = False  # ticks that passed wait for the one that runs (catch-up `all`)

    def follow(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.zero_ns = schedule.due_ns(0)
        self.period_ns = schedule.period_ns
        self.last_tick = schedule.last_tick
        lasting = not (schedule.single or math.isinf(schedule.duration_s))
        self.end_ns = self.zero_ns + round(schedule.duration_s * NS) if lasting else math.inf

    def due_ns(self, tick: int) -> int:
        """The scheduled time of a tick."""
        return self.zero_ns + tick * self.period_ns

    def latest(self, now_ns: int) -> int:
        """The latest tick that has begun; -1 before the first."""
        tick = max((now_ns - self.spread_ns - self.zero_ns) // self.period_ns, -1)
        return tick if tick <= self.last_tick else int(self.last_tick)


class Scheduler:
    """Decides for each location and tick, exactly once and in order: start or missed.

    A tick that passes while the run before is still going is missed, and told when that has ended: what is known of a
    location is then always known of all ticks until the last, which is all that must be known after a restart.
    last_due_ns: the last tick that each location had before a restart; the ticks since then are caught up as the
    schedule says, or missed. A location that is absent there starts with the latest tick at once (catch-up `none`:
    with the next one). When wall time is set back by more than a period, the grid is entered anew: those ticks come
    again. Locations may come and go: `add`, `remove`.
    """

    def __init__(
        self,
        schedule: Schedule,
        locations: Iterable[str],
        *,
        salt: str = "",
        back_off: BackOff | None = None,
        last_due_ns: Mapping[str, int] | None = None,
    ) -> None:
        self.schedule = schedule
        self.back_off = back_off or BackOff()
        self._salt = salt
        last = last_due_ns or {}
        self._places: dict[str, _Place] = {}
        for location in locations:
            seen = schedule.tick_at(last[location]) + 1 if location in last else None
            self._places[location] = _Place(schedule, self.spread_ns(location), seen)
        self._heap: list[tuple[int, str]] = []
        self._gone: dict[str, None] = {}  # without further ticks
        self._now_ns = 0
        self.has_woken = False  # a run that ended makes something due
        self._fill()

    def spread_ns(self, location: str) -> int:
        """How long after each tick this location begins."""
        return self.schedule.spread_ns(f"{self._salt}\n{location}")

    def _fill(self) -> None:
        self._heap = []
        for location, place in self._places.items():
            self._push(location, place, place.next_tick or 0)

    def _push(self, location: str, place: _Place, tick: int) -> None:
        if tick <= place.last_tick:
            self._wake(location, place, place.due_ns(tick) + place.spread_ns)
        else:
            place.wake_ns = -1

    def _wake(self, location: str, place: _Place, t_ns: int) -> None:
        place.wake_ns = t_ns
        heapq.heappush(self._heap, (t_ns, location))

    @property
    def has_places(self) -> bool:
        """Whether it knows of any location."""
        return bool(self._places)

    def __contains__(self, location: object) -> bool:
        return location in self._places

    def add(
        self, location: str, schedule: Schedule, now_ns: int, *, last_due_ns: int | None = None, resumed: bool = False
    ) -> None:
        """A location comes, with its own schedule, or is told anew: then it goes on, with a schedule renewed from now.

        last_due_ns: its last tick before a restart; resumed: it was here until then, so that ticks since are missed.
        A schedule renewed has its grid where it was, and as many further ticks as the new one; where both have only
        one tick, that is a new one.
        """
        place = self._places.get(location)
        if place is None:
            seen = None if last_due_ns is None else schedule.tick_at(last_due_ns) + 1
            place = self._places[location] = _Place(schedule, schedule.spread_ns(f"{self._salt}\n{location}"), seen)
            self._skip(place, now_ns)
            if seen is None or resumed:
                self._push(location, place, place.next_tick or 0)
            else:
                self._go_on(location, place, seen, now_ns)
            return
        self._gone.pop(location, None)
        next_tick = place.next_tick or 0
        if not place.is_alive:  # it begins anew, but for what it had
            told_ns = place.due_ns(next_tick - 1) if next_tick else -1
            self._renew(place, schedule)
            place.failures = 0
            place.is_alive = True
            self._go_on(location, place, schedule.tick_at(told_ns) + 1, now_ns)
        elif schedule.start_ns == place.schedule.start_ns:
            return
        elif schedule.single:
            if place.running_tick is not None and not next_tick:
                place.missed_ns.append(place.zero_ns)
            self._renew(place, schedule)
            place.next_tick = 0
            self._push(location, place, 0)
        else:
            start_ns = place.schedule.start_ns
            lasting_s = (schedule.start_ns - start_ns) / NS + schedule.duration_s
            place.follow(msgspec.structs.replace(schedule, start_ns=start_ns, duration_s=lasting_s))
            if place.wake_ns < 0:
                if place.running_tick is None:
                    self._go_on(location, place, next_tick, now_ns)
                else:
                    self._push(location, place, place.latest(now_ns) + 1)

    @staticmethod
    def _renew(place: _Place, schedule: Schedule) -> None:
        if schedule.start_ns != place.schedule.start_ns and place.running_tick is not None:
            place.running_tick = -1
        place.follow(schedule)
        place.hold_tick = 0
        place.busy_tick = -1

    def _go_on(self, location: str, place: _Place, next_tick: int, now_ns: int) -> None:
        self._skip(place, now_ns)
        first = place.latest(now_ns)
        if now_ns - place.spread_ns >= place.end_ns:
            first += 1  # it is over
        place.next_tick = max(next_tick, first, place.skip_tick)
        self._push(location, place, place.next_tick)

    def remove(self, location: str) -> None:
        """A location goes: there are no more ticks of it. It is known until its next one, lest the last comes again."""
        place = self._places[location]
        place.is_alive = place.behind = False
        place.missed_ns.clear()
        if place.wake_ns < 0:
            self._gone[location] = None
            if len(self._gone) > MAX_GONE:
                oldest = next(iter(self._gone))
                del self._gone[oldest]
                if self._places[oldest].running_tick is None:
                    del self._places[oldest]

    def next_due(self) -> int | None:
        """When `due` has something to say next, in ns; None when the schedule has ended."""
        while self._heap:
            t_ns, location = self._heap[0]
            place = self._places.get(location)
            if place is not None and place.wake_ns == t_ns:
                return t_ns
            heapq.heappop(self._heap)  # it was woken at another time, or is gone
        return None

    def settled(self, location: str, due_ns: int) -> bool:
        """Whether the tick due at this time, if there is one, is told and its run has ended."""
        place = self._places.get(location)
        if place is None:
            return True
        tick, off = divmod(due_ns - place.zero_ns, place.period_ns)
        if off or not 0 <= tick <= place.last_tick:
            return True
        return place.next_tick is not None and tick < place.next_tick and tick != place.running_tick

    def due(self, now_ns: int) -> list[Start | Missed]:
        """What is to be done at this time, in order of beginning."""
        if not self._now_ns or now_ns < self._now_ns - self.schedule.period_ns:
            self._enter(now_ns)  # also at first: wall time may have been set back before a restart
        self._now_ns = now_ns
        self.has_woken = False
        told: list[Start | Missed] = []
        heap, places = self._heap, self._places
        while heap and heap[0][0] <= now_ns:
            t_ns, location = heapq.heappop(heap)
            place = places.get(location)
            if place is None or place.wake_ns != t_ns:
                continue
            latest = place.latest(now_ns)
            if not place.is_alive:
                if place.running_tick is None:
                    del places[location]
                else:
                    self._push(location, place, latest + 1)
            elif place.running_tick is not None:
                self._push(location, place, latest + 1)
            elif (
                latest == place.next_tick
                and latest > place.busy_tick
                and latest >= place.hold_tick
                and latest >= place.skip_tick
            ):  # nearly always
                place.running_tick = latest
                place.next_tick = latest + 1
                place.behind = False
                self._push(location, place, latest + 1)
                told.append(Start(location, place.due_ns(latest)))
            else:
                told.extend(self._passed(location, place, latest, now_ns))
        return told

    def _passed(self, location: str, place: _Place, latest: int, now_ns: int) -> Iterator[Start | Missed]:
        self._push(location, place, latest + 1)
        missed_ns, place.missed_ns = place.missed_ns, []
        for due_ns in missed_ns:
            yield Missed(location, due_ns, RUNNING)
        first = place.next_tick
        if first is None:
            first = latest + 1 if now_ns - place.spread_ns >= place.end_ns else max(latest, place.skip_tick)
        begin = max(first, latest)
        if place.schedule.catch_up == "all":
            begin = min(max(first, place.hold_tick, place.skip_tick, place.busy_tick + 1), latest + 1)
        place.next_tick = min(begin, latest) + 1
        place.behind = begin < latest
        most = max(1, min(MAX_MISSED, MAX_MISSED_IN_ALL // len(self._places)))
        if begin - first > most:
            together = begin - first - most
            first += together
            yield Missed(location, place.due_ns(first - 1), LATE, together)
        for tick in range(first, min(begin, latest + 1)):
            yield Missed(location, place.due_ns(tick), self._reason(place, tick) or LATE)
        if begin > latest:
            return
        reason = self._reason(place, begin)
        if reason:
            yield Missed(location, place.due_ns(begin), reason)
        else:
            place.running_tick = begin
            yield Start(location, place.due_ns(begin))

    @staticmethod
    def _reason(place: _Place, tick: int) -> str:
        if tick <= place.busy_tick:
            return RUNNING
        if tick < place.skip_tick:
            return LATE
        return BACKING_OFF if tick < place.hold_tick else ""

    def finished(self, location: str, fetched: Fetched, now_ns: int) -> int:
        """The run of a location has ended; returns its failures in a row."""
        place = self._places.get(location)
        if place is None:
            return 0
        schedule = place.schedule
        tick = place.latest(now_ns) if place.running_tick is None else place.running_tick
        place.running_tick = None
        if place.is_alive and place.next_tick is not None:
            passed = place.latest(now_ns - 1)
            if place.next_tick <= passed or place.missed_ns:
                if not place.behind:
                    place.busy_tick = passed
                self._wake(location, place, now_ns)
                self.has_woken = True
        if fetched.net in (Net.OK, Net.NOT_MODIFIED):
            place.failures = place.hold_tick = 0
            return 0
        place.failures += 1
        place.hold_tick = tick + self.back_off.ticks(place.failures, schedule.period_s)
        if fetched.retry_after_s > 0:
            wait_ns = round(min(fetched.retry_after_s, self.back_off.retry_cap_s) * NS)
            # first tick that begins no earlier than asked for
            earliest = (now_ns + wait_ns - place.spread_ns - place.zero_ns - 1) // place.period_ns + 1
            place.hold_tick = max(place.hold_tick, earliest)
        return place.failures

    def _enter(self, now_ns: int) -> None:
        for place in self._places.values():
            if not self._now_ns:
                self._skip(place, now_ns)
            upcoming = place.latest(now_ns) + 1
            if place.next_tick is not None and place.next_tick > upcoming:
                place.next_tick = upcoming
                place.hold_tick = place.skip_tick = 0
                place.busy_tick = -1
                place.behind = False
                if place.running_tick is not None:
                    place.running_tick = upcoming - 1
        self._fill()

    @staticmethod
    def _skip(place: _Place, now_ns: int) -> None:
        """Whoever is not to be caught up begins with the next tick."""
        if place.schedule.catch_up == "none":
            place.skip_tick = place.latest(now_ns - 1) + 1
