"""Which part of the feeds an engine runs where several share them: by location, by element of a list, or by feed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from vagus.feeds.feed import Base, Feed, Flattened, Foreach, Mapped, Union, Where
from vagus.feeds.location import shown
from vagus.feeds.naming import tree

Keys = Callable[[str], bool]


class Share(Protocol):
    """What an engine is to do of what several share."""

    def runs(self, feed: str) -> bool:
        """Whether anything of a named feed may be done here. What is of one piece is done where this is true."""
        ...

    def owns(self, feed: str, key: str) -> bool:
        """Whether this unit of its work is done here: a location as it is shown, or an element of a list as text."""
        ...


class Sharing:
    """gates: the feeds that are run here, each with the keys whose items it emits (None: all are run, and emit all).

    driven: for each foreach the elements that are of concern, where that is not all.
    """

    def __init__(self, feeds: Mapping[str, Feed[Any]], share: Share | None) -> None:
        self.gates: dict[str, Keys] | None = None
        self.driven: dict[int, Keys] = {}
        self._wanted: dict[int, set[str]] = {}
        self._whole: set[int] = set()
        self._shared = share is not None
        if share is None:
            return
        self.gates = {}
        whole: list[Feed[Any]] = []
        for name, feed in feeds.items():
            if not share.runs(name):
                continue
            if _by_key(feed):
                self.gates[name] = owns = partial(share.owns, name)
                self._spread(feed, owns, whole)
            else:
                self.gates[name] = _all
                whole.append(feed)
        for feed in whole:
            for one in tree(feed):
                self._whole.add(id(one))
                self.driven.pop(id(one), None)

    def _spread(self, feed: Feed[Any], owns: Keys, whole: list[Feed[Any]]) -> None:
        feed = _inner(feed)
        if isinstance(feed, Base):
            self._wanted.setdefault(id(feed), set()).update(filter(owns, map(shown, feed.locations)))
        elif isinstance(feed, Foreach):
            self.driven[id(feed)] = _either(self.driven.get(id(feed)), owns)
            whole.append(feed.source)
        elif isinstance(feed, Union):
            for side in feed.sides:
                self._spread(side, owns, whole)

    def wanted(self, base: Base[Any]) -> frozenset[str] | None:
        """The locations of a base feed that are fetched here, as they are shown; None: all."""
        if not self._shared or id(base) in self._whole:
            return None
        return frozenset(self._wanted.get(id(base), ()))


def _inner(feed: Feed[Any]) -> Feed[Any]:
    while isinstance(feed, (Mapped, Where, Flattened)):
        feed = feed.source
    return feed


def _by_key(feed: Feed[Any]) -> bool:
    feed = _inner(feed)
    if isinstance(feed, Union):
        return all(map(_by_key, feed.sides))
    return isinstance(feed, Foreach) or (isinstance(feed, Base) and not feed.any)


def _either(one: Keys | None, other: Keys) -> Keys:
    """Of a foreach that stands in several feeds, what any of them wants."""
    return other if one is None else lambda key: one(key) or other(key)


def _all(key: str) -> bool:
    return True
