"""What the feeds inside a declared feed are called, in the archive and in what says where an item comes from.

A feed inside that has a name of its own has that. Of the others a feed NAME calls a single one NAME; several are
called NAME.0, NAME.1 … in the order in which they are declared, and a pair, list or dict that comes first is NAME.
What `foreach` makes has one place in that order, and is named within it in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vagus.errors import ConfigError
from vagus.feeds.feed import Base, Failover, Feed, Flattened, Foreach, Joined, Mapped, Refeed, Union, Where
from vagus.model import check_name

Names = dict[int, str]
"""By the identity of a declared feed."""

MAX_FEEDS = 10_000  # within one


def names_of(feeds: Mapping[str, Feed[Any]]) -> Names:
    """The names of all bases, joins and foreach templates. Raises ConfigError when two would have the same."""
    roots = {id(feed): name for name, feed in reversed(list(feeds.items()))}  # of a feed declared twice the first name
    named: Names = {}
    for name, feed in feeds.items():
        check_name("a feed's name", name)
        if roots[id(feed)] == name:
            _name(feed, feed.name or name, named, roots)
    _check(feeds, named)
    return named


def names_within(feed: Feed[Any], slot: str, known: Names) -> Names:
    """The names of a feed that foreach made, beside those known."""
    named = dict(known)
    _name(feed, feed.name or slot, named, {})
    return named


def parts_of(feed: Feed[Any]) -> tuple[Feed[Any], ...]:
    """The feeds that a feed is made of, in order."""
    if isinstance(feed, (Mapped, Where, Flattened, Foreach, Refeed)):
        return (feed.source,)
    return feed.sides if isinstance(feed, (Joined, Union, Failover)) else ()


def tree(feed: Feed[Any], into_refeeds: bool = True) -> Iterator[Feed[Any]]:
    """A feed and all that stand in it, each once, parts after what they are part of."""
    seen = {id(feed)}
    waiting = [feed]
    while waiting:
        one = waiting.pop()
        yield one
        parts = () if isinstance(one, Refeed) and not into_refeeds else parts_of(one)
        fresh = [part for part in parts if id(part) not in seen]
        seen.update(map(id, fresh))
        waiting += reversed(fresh)


def _name(feed: Feed[Any], scope: str, named: Names, roots: Mapping[int, str]) -> None:
    found: dict[int, Feed[Any]] = {}
    within: list[tuple[Feed[Any], str]] = []
    visited = 0
    waiting = [feed]
    while waiting:
        one = waiting.pop()
        visited += 1
        if visited > MAX_FEEDS:
            raise ConfigError(f"feed {scope!r} is made of more than {MAX_FEEDS} feeds")
        if id(one) in named or id(one) in found:
            continue
        own = one.name or roots.get(id(one), "")
        if own and one is not feed:
            within.append((one, own))
            continue
        if isinstance(one, Foreach):
            waiting += (_Slot(one), one.source)
        elif isinstance(one, _Slot):
            found[id(one.made_by)] = one.made_by
        else:
            if isinstance(one, (Base, Joined)):
                found[id(one)] = one
            waiting += reversed(parts_of(one))
    named.update(_numbered(scope, list(found.values())))
    for one, own in within:
        if id(one) not in named:
            _name(one, own, named, roots)


class _Slot(Feed[Any]):
    """Stands for what a foreach makes, behind what drives it."""

    def __init__(self, made_by: Feed[Any]) -> None:
        object.__setattr__(self, "made_by", made_by)

    made_by: Feed[Any]


def _numbered(scope: str, found: list[Feed[Any]]) -> Names:
    if len(found) == 1:
        return {id(found[0]): scope}
    named = {}
    if found and isinstance(found[0], Joined):
        named[id(found.pop(0))] = scope
    named.update({id(one): f"{scope}.{number}" for number, one in enumerate(found)})
    return named


def _check(feeds: Mapping[str, Feed[Any]], named: Names) -> None:
    owners: dict[str, Feed[Any]] = {}
    slots = []
    for root in feeds.values():
        for one in tree(root):
            name = named.get(id(one))
            if name is None:
                continue
            if owners.setdefault(name, one) is not one:
                raise ConfigError(f"two feeds are called {name!r}; give one of them another name")
            if isinstance(one, Foreach):
                slots.append(name)
    for slot in slots:
        for name in owners:
            if name.startswith(f"{slot}."):
                raise ConfigError(f"the feed {name!r} could be one that foreach makes in {slot!r}; name it otherwise")
