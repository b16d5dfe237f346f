"""Declared feeds as a graph of operators: bytes go in at ports, items come out by the name of the feed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from vagus.clock import NS
from vagus.feeds.building import Builder
from vagus.feeds.directives import Emit
from vagus.feeds.feed import Feed
from vagus.feeds.item import Raw
from vagus.feeds.naming import Names, names_of
from vagus.feeds.operators.batch import Batch, Node
from vagus.feeds.operators.failover import Failing
from vagus.feeds.operators.foreach import Driving
from vagus.feeds.port import Port, Provenance

MAX_ASTRAY = 10_000  # raws that came before what they belong to
MAX_CHAINS = 200_000  # remembered: which element made what
MIN_CHAINS = 1000
LATE_NS = 600 * NS  # how long after a list bytes may come that one before it asked for


class Owner(Protocol):
    """Who fetches for the ports that come and go."""

    def subscribe(self, port: Port) -> None: ...

    def unsubscribe(self, port: Port) -> None: ...

    def settled(self, port: Port, due_ns: int) -> bool: ...


class Graph:
    """The operators of several named feeds. emits: what came out since it was last looked at.

    gates: of a named feed which units of work it emits (none: all). dropped: items that gave way to others because too
    much waited; orphans: raws of which it is not known what they belong to.
    """

    def __init__(
        self,
        feeds: Mapping[str, Feed[Any]],
        owner: Owner,
        *,
        names: Names | None = None,
        gates: Mapping[str, Callable[[str], bool]] | None = None,
        driven: Mapping[int, Callable[[str], bool]] | None = None,
    ) -> None:
        self.owner = owner
        self.names = names_of(feeds) if names is None else names
        self.ports: dict[str, Port] = {}  # of the feeds as declared, by base name
        self.roots: set[str] = set()  # the feeds that are run here
        self.refeeds: dict[int, Node] = {}
        self.emits: list[Emit] = []
        self.muted = False
        self.dropped = 0
        self.orphans = 0
        self.made = 0  # instances so far
        self.now_ns = 0  # the time of the event that is looked at
        self._astray: list[Raw] = []
        self._chains: dict[tuple[str, Provenance], list[Port]] = {}  # by base feed and what made it
        self._most_chains = MIN_CHAINS  # until those that are over are forgotten
        self._driving: list[Driving] = []
        self._waiting: dict[Failing, None] = {}
        self.driven = driven or {}
        built: dict[int, Node] = {}
        for name, feed in feeds.items():
            if gates is None or name in gates:
                node = Builder(self, self.names, built, None, 0).node(feed)
                self.roots.add(name)
                self._sink(node, name, gates[name] if gates else None)
        for port in self.ports.values():
            if len(port.outs) > 1:  # a feed that was named later is made of it
                port.direct = ""

    # --- out --------------------------------------------------------------------------------------------------------

    def _sink(self, node: Node, name: str, gate: Callable[[str], bool] | None) -> None:
        if isinstance(node, Port) and gate is None and not node.outs:
            node.direct = name
        elif isinstance(node, Port):
            node.direct = ""

        def out(batch: Batch) -> None:
            if self.muted or (gate is not None and batch.items and not gate(batch.key)):
                return
            for index, item in enumerate(batch.items):
                descriptor = batch.descriptors[index] if batch.descriptors else None
                self.emits.append(Emit(name, item, batch.ticks, batch.raw, descriptor))

        node.outs.append(out)

    # --- in ---------------------------------------------------------------------------------------------------------

    def replay(self, raw: Raw, gone: Callable[[Raw], None] | None = None) -> None:
        """Archived bytes go their way, as they did when they arrived. gone: called when they have, all but decisions."""
        made = self.made
        if not self._replayed(raw):
            self._astray.append(raw)
            if len(self._astray) > MAX_ASTRAY:
                del self._astray[0]
                self.orphans += 1
        if gone is not None:
            gone(raw)
        self.settle()
        self._find_astray(made)

    def _find_astray(self, made: int) -> None:
        """What came before it was known what it belongs to: that was decided only now."""
        while made != self.made and self._astray:
            made = self.made
            astray, self._astray = self._astray, []
            self._astray += [raw for raw in astray if not self._replayed(raw)]
            self.settle()

    def replayed(self) -> None:
        """There are no more raws."""
        made = self.made
        self.settle()
        self._find_astray(made)
        self.orphans += len(self._astray)
        self._astray.clear()

    def _replayed(self, raw: Raw) -> bool:
        """Whether anything in the graph is of these bytes."""
        name, provenance = raw.meta.feed, raw.meta.provenance
        self.now_ns = raw.meta.arrived_ns
        static = self.ports.get(name)
        if static is not None:
            static.push(raw, ())
        chains = self._chains
        found = static is not None
        while provenance:
            # several elements may have asked for the same bytes: what made each stands one after the other
            for length in range(len(provenance), 0, -1):
                ports = chains.get((name, provenance[:length]))
                if ports:
                    for port in _there(ports, raw):
                        port.push(raw, provenance[:length])
                    found = True
                    break
            else:
                length = 1
            provenance = provenance[length:]
        return found

    def settle(self) -> None:
        """At the end of an event: lists are looked at, and what waited for others is decided."""
        while True:
            while self._driving:
                self._driving.pop(0).apply()
            decided = False
            for failing in list(self._waiting):
                decided = failing.review() or decided  # which may let another one decide
                if not failing.is_waiting:
                    self._waiting.pop(failing, None)
            if not self._driving and not decided:
                return

    def taken(self) -> list[Emit]:
        """What came out."""
        emits, self.emits = self.emits, []
        return emits

    # --- what foreach makes -----------------------------------------------------------------------------------------

    def remember(self, port: Port) -> None:
        """From now on bytes with this provenance are the port's too."""
        port.since_ns = port.since_ns or self.now_ns
        self._chains.setdefault((port.name, port.chain), []).append(port)
        if len(self._chains) > self._most_chains:
            self._forget_old()

    def _forget_old(self) -> None:
        late_ns = self.now_ns - LATE_NS
        kept = {
            (name, chain): ports
            for (name, chain), ports in self._chains.items()
            if chain[0].due_ns >= late_ns
            or any(port.until_ns >= late_ns and chain in (port.chain, port.chain_before) for port in ports)
        }
        for place in list(kept)[: max(0, len(kept) - MAX_CHAINS)]:
            del kept[place]
        self._chains = kept
        self._most_chains = max(MIN_CHAINS, 2 * len(kept))

    def wait_for_list(self, driving: Driving) -> None:
        self._driving.append(driving)

    def wait_for_sides(self, failing: Failing) -> None:
        self._waiting[failing] = None

    def drop(self, count: int) -> None:
        self.dropped += count


def _there(ports: list[Port], raw: Raw) -> list[Port]:
    """Of those that one item made: whose location it is, and who was there when the fetch began."""
    if len(ports) == 1:
        return ports
    ports = [port for port in ports if raw.meta.location in port.places]
    began_ns = raw.meta.started_ns or raw.meta.arrived_ns
    return [port for port in ports if port.since_ns <= began_ns < port.until_ns] or ports
