"""Declared feeds as one pure core: ticks and what was fetched in, directives out. The shell fetches, archives, emits.

`all`: for each tick and location exactly one item. `any`: one item for each tick, failing over in order. A failure
or a missed tick is an item too, its value None. Raw bytes are archived before they are parsed: `fetched` yields
`Archive` first and parses only when asked for the next directive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vagus.errors import NoData
from vagus.feeds.directives import Archive, Directive, Emit, Fetch, Recall
from vagus.feeds.feed import Base, Feed
from vagus.feeds.graph import Graph
from vagus.feeds.item import Data, Descriptor, Fetched, Meta, Net, Raw
from vagus.feeds.location import scheme
from vagus.feeds.operators.batch import MAX_NOTE, Batch
from vagus.feeds.recalls import recalls_of
from vagus.feeds.replaying import Replaying
from vagus.feeds.schedule import BackOff
from vagus.feeds.scheduler import Missed, Start
from vagus.feeds.sharing import Share, Sharing
from vagus.feeds.units import Targets, Unit, Units


class Engine:
    """The core of several feeds, by name; what is not named in them is not emitted.

    now_ns: what "now" means in schedules. last_due_ns: the last tick before a restart of each base feed and location,
    as items name it. share: which part of the work is this engine's, where several share it: locations of a plain
    feed, elements of a foreach, else whole feeds. What drives a foreach runs in each of them.
    dropped: items that gave way because too much waited for its counterpart.
    Raises ConfigError when the feeds contradict each other.
    """

    def __init__(
        self,
        feeds: Mapping[str, Feed[Any]],
        *,
        now_ns: int,
        last_due_ns: Mapping[tuple[str, str], int] | None = None,
        back_off: BackOff | None = None,
        share: Share | None = None,
    ) -> None:
        self.feeds = dict(feeds)
        self._sharing = Sharing(self.feeds, share)
        self._units = Units(now_ns, last_due_ns or {}, back_off or BackOff())
        self._graph = Graph(self.feeds, self._units, gates=self._sharing.gates, driven=self._sharing.driven)
        for port in self._graph.ports.values():
            self._units.add_static(port, self._sharing.wanted(port.base))
        run = {name: feed for name, feed in self.feeds.items() if name in self._graph.roots}
        self._recalls = recalls_of(run, self._graph.names, now_ns, (last_due_ns or {}).keys())
        self._going = 0

    # --- time -------------------------------------------------------------------------------------------------------

    def next_due(self) -> int | None:
        """When to call `tick` next, in ns of wall time."""
        return self._units.next_due()

    def tick(self, now_ns: int) -> list[Directive]:
        """What is due: fetches to start, and items for the ticks that are missed."""
        self._units.wall_ns = now_ns
        told: list[Directive] = []
        while True:
            if self._tell(self._units.due(now_ns), now_ns, told):
                told += self._settled(now_ns)
            if not self._units.born:
                return told

    def _tell(self, starts: Iterable[tuple[Unit, Start | Missed]], now_ns: int, told: list[Directive]) -> bool:
        """Fetches to start, and items for what is missed; whether there are such."""
        missed: list[tuple[Unit, Missed]] = []
        for unit, start in starts:
            if isinstance(start, Missed):
                missed.append((unit, start))
                unit.dues.append(start.due_ns)
                continue
            self._going += 1
            unit.begin(start.due_ns, now_ns)
            told.append(unit.fetch(start.due_ns))
        for unit, one in missed:
            note = one.reason + (f"; {one.ticks} ticks" if one.ticks > 1 else "")
            targets, provenance = unit.targets()
            meta = Meta(unit.name, unit.shown[0], one.due_ns, now_ns, Net.MISSED, note=note, provenance=provenance)
            raw = Raw(meta, b"")
            told.append(Archive(raw))
            for port, chain in targets:
                port.push(raw, chain, one.ticks)
            self._units.delivered(unit, one.due_ns)
            told += self._graph.taken()
        return bool(missed)

    # --- what came --------------------------------------------------------------------------------------------------

    def fetched(self, fetch: Fetch, fetched: Fetched, now_ns: int) -> Iterator[Directive]:
        """A fetch has ended: archive, then parse and emit; or try the next location of an `any` feed.

        Iterate to the end; the parse happens on the way to the directive after the first.
        """
        unit = self._units.of(fetch)
        if unit is None:
            return iter(())
        net = fetched.net
        note = fetched.note
        count = 0
        if len(unit.locations) > 1:
            tried = fetch.tried
            count = len(tried)
            if net is not Net.OK and net is not Net.NOT_MODIFIED and count + 1 < len(unit.locations):
                tried = (*tried, f"{unit.shown[count]}: {net.value} {note}".strip()[:MAX_NOTE])
                return iter((unit.fetch(fetch.due_ns, tried),))
            note = "; ".join((*tried, note) if note else tried)
        self._units.wall_ns = now_ns
        self._units.finished(unit, fetched, now_ns)
        targets, provenance, started_ns = unit.ended()
        if net is Net.OK:
            unit.had = fetch.location if targets is unit.targets()[0] else ""
        meta = Meta(
            unit.name,
            unit.shown[count],
            fetch.due_ns,
            now_ns,
            net,
            Data.NONE,
            0,
            len(fetched.body),
            note[: 4 * MAX_NOTE],
            started_ns,
            "",
            provenance,
        )
        return self._deliver(unit, targets, Raw(meta, fetched.body), now_ns)

    def _deliver(self, unit: Unit, targets: Targets, raw: Raw, now_ns: int) -> Iterator[Directive]:
        yield Archive(raw)
        self._going -= 1
        if len(targets) == 1 and targets[0][0].direct:  # by far the most frequent
            port, chain = targets[0]
            item, descriptor = port.parse(raw, chain)
            self._units.delivered(unit, raw.meta.due_ns)
            yield Emit(port.direct, item, 1, raw, descriptor)
        else:
            for port, chain in targets:
                port.push(raw, chain)
            self._units.delivered(unit, raw.meta.due_ns)
            told: list[Directive] = []
            self._tell(self._units.woken(unit), now_ns, told)  # what it held up is of the same moment
            yield from self._graph.taken()
            yield from told
            yield from self._settled(now_ns)
        if self._units.born:
            yield from self.tick(max(self._units.wall_ns, now_ns))

    def _settled(self, now_ns: int) -> list[Emit]:
        self._units.now_ns = self._graph.now_ns = now_ns
        self._graph.settle()
        return self._graph.taken()

    @property
    def ended(self) -> bool:
        """Whether nothing is under way, and nothing will be due."""
        return not self._going and self._units.next_due() is None

    # --- the archive ------------------------------------------------------------------------------------------------

    def recalls(self) -> tuple[Recall, ...]:
        """What to ask the archive for before the first tick, and to hand to `recalled`, one after the other.

        Without that, a foreach begins with its next list, and a refeed has no items.
        """
        return tuple(self._recalls)

    def recalled(self, recall: Recall, raws: Iterable[Raw], now_ns: int) -> Iterator[Directive]:
        """The archive's answer, in the order of arrival."""
        units, graph = self._units, self._graph
        units.wall_ns = now_ns
        refeed = self._recalls.get(recall)
        if refeed is not None:
            node = graph.refeeds[id(refeed)]
            for emit in self._replay({recall.refeed: refeed.source}, raws):
                item = emit.item
                place = (recall.refeed, item.meta.feed, item.meta.location)
                found: list[Descriptor | None] | None = [emit.descriptor] if emit.descriptor else None
                node.send(Batch(place, item.meta.due_ns, [item], item.value is None, "", emit.raw, found, emit.ticks))
                yield from graph.taken()
        else:
            graph.muted = units.resuming = True
            for raw in raws:
                units.now_ns = raw.meta.arrived_ns
                graph.replay(raw)
            graph.replayed()
            graph.muted = units.resuming = False
        yield from self._settled(now_ns)

    def replay(self, raws: Iterable[Raw]) -> Iterator[Emit]:
        """The items of archived raws, which come in the order of their arrival: the same as there were.

        Of what foreach made, the raws of the list must be among them. Where a failover gives the list, that may be
        decided at another time than it was, and another list be the newest.
        """
        return self._replay(self.feeds, raws)

    def _replay(self, feeds: Mapping[str, Feed[Any]], raws: Iterable[Raw]) -> Iterator[Emit]:
        owner = Replaying()
        sharing = self._sharing if feeds is self.feeds else Sharing(feeds, None)
        graph = Graph(feeds, owner, names=self._graph.names, gates=sharing.gates, driven=sharing.driven)
        for raw in raws:
            graph.replay(raw, owner.saw)
            yield from graph.taken()
        owner.is_over = True
        graph.replayed()
        yield from graph.taken()

    # --- what there is ----------------------------------------------------------------------------------------------

    def bases(self) -> tuple[str, ...]:
        """The names of the base feeds that there are at present."""
        return tuple(self._units.groups)

    def base(self, name: str) -> Base[Any]:
        """A base feed that there is at present, by name. Raises NoData."""
        group = self._units.groups.get(name)
        if group is None:
            raise NoData(f"there is no base feed {name!r}; there are: {', '.join(self._units.groups) or 'none'}")
        return group.base

    def locations(self) -> dict[str, tuple[str, ...]]:
        """The locations that are fetched at present, by base feed."""
        return {
            name: tuple(dict.fromkeys(place for unit in group.units.values() for place in unit.locations))
            for name, group in self._units.groups.items()
        }

    def next_dues(self) -> dict[str, int | None]:
        """When each base feed has its next tick; None: it has none any more."""
        return {name: group.scheduler.next_due() for name, group in self._units.groups.items()}

    def schemes(self) -> dict[tuple[str, str], Mapping[str, Any]]:
        """The sources that are needed at present, as base feed and scheme, with their options."""
        return {
            (name, scheme(place)): self.base(name).options.get(scheme(place), {})
            for name, places in self.locations().items()
            for place in places
        }

    @property
    def dropped(self) -> int:
        """Items that gave way because too much waited for its counterpart."""
        return self._graph.dropped
