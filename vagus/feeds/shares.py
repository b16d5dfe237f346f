"""Which node fetches what. Pure: every feed actor computes it for itself, from the same settings and the same news.

Who fetches (`feeds_on`): the head alone, or every node its share; `auto` is every node once the feeds name more than
SPREAD_FROM locations of the web, or make some for each item of another feed (foreach). What is spread is what means
the same at every node, http: and https:. Commands, files and a node's own gateway stay at the head.

A location, or with foreach an element of the list, belongs to the node that wins rendezvous hashing over the nodes
that fetch (Thaler and Ravishankar, 1998): when one comes or goes, only what it gets or had moves. The list itself is
fetched at every node. What must be seen together is at one node, by the name of the feed: the sides of a pair, list,
dict or failover, the locations of an `any`, a refeed, and all items of a feed with a tool, unless the tool's class
says `in_parts = True`: then there is one of it at each node, with the items there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from vagus.config import Config, FeedSettings, hash_text
from vagus.config.feeds import named
from vagus.errors import VagusError
from vagus.feeds.contracts import SOURCES, TOOLS
from vagus.feeds.location import HTTP, scheme

SPREAD_FROM = 1000
MANY = 32
"""Nodes from which on numpy is quicker."""
JOINING = ("pair", "list", "dict", "failover", "refeed")
HOME = ""
"""What belongs to the head."""
_WORD = (1 << 64) - 1


def is_spread(feeds: Iterable[FeedSettings], feeds_on: str) -> bool:
    """Whether every node fetches its share of these feeds."""
    if feeds_on != "auto":
        return feeds_on == "every-node"
    known = {feed.name: feed for feed in feeds}
    locations = 0
    for feed in known.values():
        for part, driven in tree(feed):
            web = sum(map(is_web, _locations(part)))
            if web and driven and not _is_local(feed, known):
                return True
            locations += web
    return locations > SPREAD_FROM


def fetches_here(config: Config, node: str, head: str) -> bool:
    """Whether a node has a feed actor."""
    return bool(config.feeds) and (node == head or is_spread(config.feeds, config.feeds_on))


def is_web(location: str) -> bool:
    """Whether a location, or the template of some, means the same at every node."""
    return scheme(location) in HTTP


def tree(feed: FeedSettings, driven: bool = False) -> Iterator[tuple[FeedSettings, bool]]:
    """The settings of a feed and of all that stand in it; with each whether there are several, one for each item."""
    driven = driven or feed.foreach is not None
    yield feed, driven
    for part in feed.parts():
        if not isinstance(part, str):
            yield from tree(part, driven and part is not feed.foreach)


def _locations(feed: FeedSettings) -> tuple[str, ...]:
    return () if feed.source is None else (*feed.source.all, *feed.source.any)


def works_in_parts(tool: str) -> bool:
    """Whether a tool does as well with a part of a feed's items at each node. One that does not load does not."""
    if ":" in tool or tool not in TOOLS:
        return False
    try:
        return bool(getattr(TOOLS.get(tool), "in_parts", False))
    except VagusError:
        return False


def groups(feeds: Sequence[FeedSettings], in_parts: Callable[[str], bool] = works_in_parts) -> dict[str, str]:
    """What belongs to one node, by the name of the feed: the key that says to which; HOME: the head.

    Feeds that are not named here have each location where its hash says.
    """
    known = {feed.name: feed for feed in feeds}
    parent = {name: name for name in known}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    whole: set[str] = set()
    for feed in feeds:
        if _must_be_whole(feed, in_parts) or _drivers_are_local(feed, known):
            whole.add(feed.name)
    waiting = sorted(whole)
    while waiting:  # what a whole feed is made of is with it, and whole
        name = waiting.pop()
        for other in references(known[name]):
            if other in known:
                first, second = sorted((root(name), root(other)))
                parent[second] = first
                if other not in whole:
                    whole.add(other)
                    waiting.append(other)
    home = {root(name) for name in whole if _is_local(known[name], known)}
    keys = {name: HOME if root(name) in home else root(name) for name in sorted(whole)}
    inside = {part.name: key for name, key in keys.items() for part, _ in tree(known[name]) if part.name}
    return {**inside, **keys}


def _must_be_whole(feed: FeedSettings, in_parts: Callable[[str], bool]) -> bool:
    for part, _ in tree(feed):
        if part.kind in JOINING or (part.source is not None and part.source.any):
            return True
        if not all(in_parts(named(tool)[0]) for tool in part.tools):
            return True
    return False


def references(feed: FeedSettings, drivers_too: bool = False) -> Iterator[str]:
    """Feeds that this one is made of, by name; what drives it (foreach) is fetched everywhere."""
    for part, _ in tree(feed):
        yield from (o for o in part.parts() if isinstance(o, str) and (drivers_too or o is not part.foreach))
        if part.refeed and "/" not in part.refeed:
            yield part.refeed


def _is_local(feed: FeedSettings, known: Mapping[str, FeedSettings]) -> bool:
    """Whether anything that a feed is made of, lists included, is a command, a file or a node's own gateway."""
    seen = {feed.name}
    waiting = [feed]
    while waiting:
        for part, _ in tree(waiting.pop()):
            if not all(map(is_web, _locations(part))):
                return True
            for other in (*part.parts(), part.refeed):
                if isinstance(other, str) and other in known and other not in seen:
                    seen.add(other)
                    waiting.append(known[other])
    return False


def _drivers_are_local(feed: FeedSettings, known: Mapping[str, FeedSettings]) -> bool:
    for part, _ in tree(feed):
        driver = known.get(part.foreach) if isinstance(part.foreach, str) else part.foreach
        if driver is not None and _is_local(driver, known):
            return True
    return False


def drivers(feeds: Sequence[FeedSettings]) -> frozenset[str]:
    """The named feeds whose items say what else is fetched; those in which such a feed stands are their own."""
    known = {feed.name: feed for feed in feeds}
    found: set[str] = set()
    waiting: list[str] = []
    for feed in feeds:
        for part, _ in tree(feed):
            if isinstance(part.foreach, str):
                waiting.append(part.foreach)
            elif part.foreach is not None:  # called after the feed that it stands in, or by a name of its own
                found.add(feed.name)
                found.update(inner.name for inner, _ in tree(part.foreach) if inner.name)
                waiting += references(part.foreach)
    while waiting:
        name = waiting.pop()
        if name in known and name not in found:
            found.add(name)
            waiting += references(known[name])
    return frozenset(found)


class Ring:
    """Rendezvous hashing over nodes. `owner` of a key is one of them; "" while there is none."""

    def __init__(self, nodes: Sequence[str] = ()) -> None:
        self.nodes = tuple(sorted(set(nodes)))
        self._seeds = [(hash_text(node), node) for node in self.nodes]
        self._words: Any = None
        if len(self.nodes) >= MANY:
            import numpy as np

            self._words = np.array([seed for seed, _ in reversed(self._seeds)], np.uint64)

    def owner(self, key: str) -> str:
        """The node that this key belongs to."""
        if len(self._seeds) < 2:
            return self._seeds[0][1] if self._seeds else ""
        hashed = hash_text(key)
        if (
            self._words is not None
        ):  # the same, for all nodes at once; the first of two that are equal is the last by name
            return self._seeds[-1 - int(_mixed(self._words ^ hashed).argmax())][1]
        return max([(_mixed(hashed ^ seed), node) for seed, node in self._seeds])[1]


def _mixed(word: Any) -> Any:
    """The finisher of splitmix64: each bit of the result depends on each of `word`, an int or an array of uint64."""
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & _WORD
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & _WORD
    return word ^ (word >> 31)


def owner_of(feed: str, unit: str, together: Mapping[str, str], ring: Ring, home: str) -> str:
    """The node whose a unit of work of a named feed is: a location, or an element of a list. together: see `groups`."""
    group = together.get(feed)
    if group == HOME or (group is None and scheme(unit) in SOURCES and not is_web(unit)):
        return home
    return ring.owner(f"feed {group}" if group is not None else unit)


def feed_of(base: str, known: Mapping[str, object] | frozenset[str]) -> str:
    """The named feed that a base belongs to: `comon` of `comon.0`, unless there is one of that name."""
    name = base
    while name not in known and "." in name:
        name, _, number = name.rpartition(".")
        if not number.isdigit():
            return base
    return name if name in known else base
