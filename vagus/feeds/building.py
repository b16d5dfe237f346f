"""Builds the operators of declared feeds: of those that a program declares, and of what foreach makes of an element."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from vagus.errors import ConfigError
from vagus.feeds.feed import Base, Failover, Feed, Flattened, Foreach, Joined, Mapped, Refeed, Union, Where
from vagus.feeds.item import Origin
from vagus.feeds.naming import Names, names_within, tree
from vagus.feeds.operators.batch import Node
from vagus.feeds.operators.each import Filter, Flattening
from vagus.feeds.operators.each import Mapping as Changing
from vagus.feeds.operators.failover import Failing
from vagus.feeds.operators.foreach import Driving, Relay
from vagus.feeds.operators.join import Join
from vagus.feeds.port import Port

if TYPE_CHECKING:
    from vagus.feeds.graph import Graph

MAX_DEPTH = 16  # of foreach within what foreach made


class Made:
    """What foreach made of one element."""

    def __init__(self, graph: Graph, key: str, declared: Feed[Any]) -> None:
        self.key = key
        self.declared = declared  # names are by its parts' identity
        self.ports: list[Port] = []
        self.driving: list[Driving] = []
        self._graph = graph

    def begin(self, chain: tuple[Origin, ...]) -> None:
        for port in self.ports:
            port.chain_before, port.chain = port.chain, chain
            self._graph.remember(port)
            self._graph.owner.subscribe(port)

    renew = begin

    def close(self) -> None:
        for port in self.ports:
            port.until_ns = self._graph.now_ns
            self._graph.owner.unsubscribe(port)
        for driving in self.driving:
            driving.close()


class Builder:
    """Builds the nodes of declared feeds, each once."""

    def __init__(self, graph: Graph, names: Names, built: dict[int, Node], made: Made | None, depth: int) -> None:
        self._graph = graph
        self._names = names
        self._built = built
        self._made = made
        self._depth = depth

    def node(self, feed: Feed[Any]) -> Node:
        """The node of a feed; what it is made of has been built before it."""
        known = self._built.get(id(feed))
        if known is None:
            known = self._built[id(feed)] = _BUILD[type(feed)](self, feed)
        return known

    def base(self, feed: Base[Any]) -> Node:
        port = Port(self._names[id(feed)], feed, self._made.key if self._made else None)
        port.is_settled = self._graph.owner.settled
        if self._made is None:
            self._graph.ports[port.name] = port
        else:
            self._made.ports.append(port)
        return port

    def mapped(self, feed: Mapped[Any]) -> Node:
        return Changing(self.node(feed.source), feed.change)

    def where(self, feed: Where[Any]) -> Node:
        return Filter(self.node(feed.source), feed.condition, feed.keeps_failed)

    def flattened(self, feed: Flattened[Any]) -> Node:
        return Flattening(self.node(feed.source), feed.path)

    def joined(self, feed: Joined[Any]) -> Node:
        sides = [self.node(side) for side in feed.sides]
        return Join(self._names[id(feed)], sides, feed.build, self._graph.drop)

    def union(self, feed: Union[Any]) -> Node:
        return All([self.node(side) for side in feed.sides])

    def failover(self, feed: Failover[Any]) -> Node:
        for inside in tree(feed):
            if isinstance(inside, (Foreach, Refeed)):
                raise ConfigError(
                    "failover: a foreach or refeed cannot stand in it; declare the failover inside foreach"
                )
        sides = [self.node(side) for side in feed.sides]
        return Failing(sides, self._graph.wait_for_sides, self._graph.drop)

    def refeed(self, feed: Refeed[Any]) -> Node:
        if self._made is not None:
            raise ConfigError("refeed cannot stand in what foreach makes")
        node = self._graph.refeeds[id(feed)] = Node()
        return node

    def foreach(self, feed: Foreach[Any]) -> Node:
        source = self.node(feed.source)
        make = partial(self._instance, feed)
        graph = self._graph
        owns = None if self._made else graph.driven.get(id(feed))
        driving = Driving(source, make, graph.wait_for_list, owns, lambda: graph.now_ns)
        if self._made is not None:
            self._made.driving.append(driving)
        return driving

    def _instance(self, foreach: Foreach[Any], value: Any, key: str, chain: tuple[Origin, ...], relay: Relay) -> Made:
        if self._depth >= MAX_DEPTH:
            raise ConfigError(f"foreach stands in what foreach makes more than {MAX_DEPTH} deep")
        feed = foreach.make(value)
        if not isinstance(feed, Feed):
            raise ConfigError(f"it gave {type(feed).__name__}, not a feed")
        made = Made(self._graph, key, feed)
        names = names_within(feed, self._names[id(foreach)], self._names)
        Builder(self._graph, names, {}, made, self._depth + 1).node(feed).outs.append(relay)
        self._graph.made += 1
        made.begin(chain)
        return made


class All(Node):
    """Union: what any side sends."""

    def __init__(self, sides: list[Node]) -> None:
        super().__init__()
        self._sides = sides
        if all(side.arity is not None for side in sides):
            self.arity = sum(side.arity or 0 for side in sides)
        for side in sides:
            side.outs.append(self.send)

    def settled(self, due_ns: int) -> bool:
        return all(side.settled(due_ns) for side in self._sides)


_BUILD: dict[type[Any], Callable[[Builder, Any], Node]] = {
    Base: Builder.base,
    Mapped: Builder.mapped,
    Where: Builder.where,
    Flattened: Builder.flattened,
    Joined: Builder.joined,
    Union: Builder.union,
    Failover: Builder.failover,
    Refeed: Builder.refeed,
    Foreach: Builder.foreach,
}
