"""Units of work: one location of a base feed (all locations of an `any`), its schedule, and who wants its items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from vagus.feeds.directives import Fetch
from vagus.feeds.feed import Base
from vagus.feeds.location import shown
from vagus.feeds.port import Port, Provenance
from vagus.feeds.schedule import BackOff
from vagus.feeds.scheduler import Missed, Scheduler, Start
from vagus.feeds.when import When

Targets = tuple[tuple[Port, Provenance], ...]
ANY = "any"  # the unit of an `any` feed

_Spec = tuple[tuple[str, ...], When, int]


class Unit:
    """One of them. key: its name among those of its base feed; ports: who wants its items."""

    __slots__ = (
        "_run",
        "_targets",
        "dues",
        "had",
        "in_fetch",
        "key",
        "locations",
        "max_bytes",
        "name",
        "ports",
        "shown",
        "spec",
        "timeout_s",
    )

    def __init__(self, name: str, key: str, spec: _Spec) -> None:
        self.name = name
        self.key = key
        self.spec = spec
        self.locations = spec[0]
        self.shown = tuple(map(shown, spec[0]))
        self.timeout_s = spec[1].timeout_s
        self.max_bytes = spec[2]
        self.in_fetch = "" if key == self.locations[0] else key
        self.ports: dict[Port, None] = {}
        self.had = ""  # the location whose bytes all ports had last
        self.dues: list[int] = []  # under way, or not yet delivered
        self._targets: tuple[Targets, Provenance] | None = None
        self._run: tuple[Targets, Provenance, int] | None = None

    def changed(self) -> None:
        """Who wants its items, or what those come from, is another."""
        self._targets = None

    def targets(self) -> tuple[Targets, Provenance]:
        """Who gets an item of now, each with what it then comes from, and all of that."""
        if self._targets is None:
            targets = tuple((port, port.chain) for port in self.ports)
            chains = dict.fromkeys(chain for _, chain in targets)
            self._targets = targets, sum(chains, ())
        return self._targets

    def fetch(self, due_ns: int, tried: tuple[str, ...] = ()) -> Fetch:
        """The fetch of a tick, of an `any` after those that failed."""
        location = self.locations[len(tried)]
        fresh = location != self.had
        return Fetch(self.name, location, due_ns, self.timeout_s, self.max_bytes, tried, self.in_fetch, fresh)

    def begin(self, due_ns: int, now_ns: int) -> None:
        """A fetch starts."""
        self.dues.append(due_ns)
        targets, provenance = self._targets or self.targets()
        self._run = (targets, provenance, now_ns)

    def ended(self) -> tuple[Targets, Provenance, int]:
        """The fetch has ended: who gets its item, what that comes from, and when it began."""
        run, self._run = self._run, None
        return run or (*self.targets(), 0)


class _Group:
    """The units of one base feed, and their scheduler."""

    __slots__ = ("base", "is_made", "scheduler", "units")

    def __init__(self, base: Base[Any], scheduler: Scheduler, is_made: bool) -> None:
        self.base = base
        self.is_made = is_made  # by foreach
        self.scheduler = scheduler
        self.units: dict[str, Unit] = {}


class Units:
    """All units of an engine; those of what foreach made come and go.

    now_ns: the time of the event that is looked at; wall_ns: the time. resuming: what comes was there before a restart.
    born: there are new ones, which may be due at once.
    """

    def __init__(self, now_ns: int, last_due_ns: Mapping[tuple[str, str], int], back_off: BackOff) -> None:
        self.now_ns = self.wall_ns = now_ns
        self.resuming = False
        self.born = False
        self.groups: dict[str, _Group] = {}
        self._last = last_due_ns
        self._back_off = back_off

    # --- who wants what ---------------------------------------------------------------------------------------------

    def add_static(self, port: Port, wanted: frozenset[str] | None) -> None:
        """The units of a declared base feed: of the wanted locations, as they are shown (None: of all)."""
        base, name = port.base, port.name
        units = [Unit(name, key, (locations, base.when, base.max_bytes)) for key, locations in _places(base, ANY)]
        if wanted is not None:
            units = [unit for unit in units if base.any or unit.shown[0] in wanted]
        last = {unit.key: due_ns for unit in units if (due_ns := self._last_due(unit)) is not None}
        begun_ns = min(last.values(), default=self.wall_ns)
        schedule = base.when.schedule(begun_ns)
        if base.when.start_ns is None and (base.any or len(base.locations) == 1):
            schedule = msgspec.structs.replace(schedule, spread_s=0.0)  # there is nothing to spread: now is now
        scheduler = Scheduler(
            schedule,
            [unit.key for unit in units],
            salt=name,
            back_off=self._back_off,
            last_due_ns=last,
        )
        group = self.groups[name] = _Group(base, scheduler, False)
        for unit in units:
            unit.ports[port] = None
            port.units.append(unit)
            group.units[unit.key] = unit

    def subscribe(self, port: Port) -> None:
        """The port wants the items of its base feed from now on; if it did already, its schedule is renewed."""
        base, name = port.base, port.name
        schedule = base.when.schedule(self.now_ns)
        group = self.groups.get(name)
        if group is None:
            scheduler = Scheduler(schedule, (), salt=name, back_off=self._back_off)
            group = self.groups[name] = _Group(base, scheduler, True)
        for key, locations in _places(base, "\n".join(base.locations)):
            spec = (locations, base.when, base.max_bytes)
            unit = group.units.get(key)
            if unit is not None and unit.spec != spec:  # the same place at other times is other work
                key = f"{key}\n{base.when}{base.max_bytes}"
                unit = group.units.get(key)
            if unit is None:
                unit = group.units[key] = Unit(name, key, spec)
            if port not in unit.ports:
                unit.ports[port] = None
                unit.had = ""
            unit.changed()
            if unit not in port.units:
                port.units.append(unit)
            last_ns = self._last_due(unit)
            own = schedule
            if base.when.start_ns is None and last_ns is not None and self.resuming and schedule.last_tick:
                own = base.when.schedule(last_ns)  # its grid goes on
            group.scheduler.add(key, own, self.wall_ns, last_due_ns=last_ns, resumed=self.resuming)
        self.born = True

    def unsubscribe(self, port: Port) -> None:
        """The port wants nothing more; what is under way still comes to it."""
        group = self.groups[port.name]
        for unit in port.units:
            if port not in unit.ports:
                continue
            del unit.ports[port]
            unit.changed()
            if not unit.ports:
                group.scheduler.remove(unit.key)
                self._tidy(group, unit)

    def settled(self, port: Port, due_ns: int) -> bool:
        """Whether nothing due at this time comes to the port any more."""
        for unit in port.units:
            if due_ns in unit.dues:
                return False
            if port in unit.ports and not self.groups[port.name].scheduler.settled(unit.key, due_ns):
                return False
        return True

    def _last_due(self, unit: Unit) -> int | None:
        dues = [due for place in unit.shown if (due := self._last.get((unit.name, place))) is not None]
        return max(dues, default=None)

    @staticmethod
    def _tidy(group: _Group, unit: Unit) -> None:
        if not unit.ports and not unit.dues and group.units.get(unit.key) is unit:
            del group.units[unit.key]

    # --- what is due ------------------------------------------------------------------------------------------------

    def next_due(self) -> int | None:
        """When something is due next."""
        dues = [due for group in self.groups.values() if (due := group.scheduler.next_due()) is not None]
        return min(dues, default=None)

    def due(self, now_ns: int) -> Iterator[tuple[Unit, Start | Missed]]:
        """What begins now, and what is missed."""
        self.born = False
        for name, group in list(self.groups.items()):
            for start in group.scheduler.due(now_ns):
                yield group.units[start.location], start
            if group.is_made and not group.units and not group.scheduler.has_places:
                del self.groups[name]  # elements may give the bases that they make names of their own

    def woken(self, unit: Unit) -> Iterator[tuple[Unit, Start | Missed]]:
        """What begins or is missed of a base because a run of it has ended."""
        group = self.groups[unit.name]
        if group.scheduler.has_woken:
            for start in group.scheduler.due(self.wall_ns):
                yield group.units[start.location], start

    def of(self, fetch: Fetch) -> Unit | None:
        """The unit that a fetch is of."""
        group = self.groups.get(fetch.feed)
        return group.units.get(fetch.unit or fetch.location) if group is not None else None

    def finished(self, unit: Unit, fetched: Any, now_ns: int) -> None:
        """Its fetch has ended, in time for its next tick; `delivered` is when its item is out."""
        self.groups[unit.name].scheduler.finished(unit.key, fetched, now_ns)

    def delivered(self, unit: Unit, due_ns: int) -> None:
        """Its item is out. Ticks that it held up are due now."""
        if due_ns in unit.dues:
            unit.dues.remove(due_ns)
        if not unit.ports:
            self._tidy(self.groups[unit.name], unit)
        self.born = self.born or self.groups[unit.name].scheduler.has_woken


def _places(base: Base[Any], key_of_any: str) -> list[tuple[str, tuple[str, ...]]]:
    if base.any:
        return [(key_of_any, base.locations)]
    return [(location, (location,)) for location in base.locations]
