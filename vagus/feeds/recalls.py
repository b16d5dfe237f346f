"""What an engine asks the archive for when it begins: where it was before a restart, and what is fed once more."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from vagus.clock import NS
from vagus.feeds.directives import Recall
from vagus.feeds.feed import Base, Failover, Feed, Foreach, Joined, Refeed
from vagus.feeds.naming import Names, tree

PERIODS = 3  # how far back, of the slowest feed
MIN_LISTS_S = 3600.0
MIN_SIDES_S = 600.0


def recalls_of(
    feeds: Mapping[str, Feed[Any]], names: Names, now_ns: int, known: Collection[tuple[str, str]]
) -> dict[Recall, Refeed[Any] | None]:
    """Each request with the refeed that it is for; None: it is about where the engine was.

    known: bases and locations of which there was something before. First the lists of foreach, then, of a shorter
    time, whatever may wait for its counterpart.
    """
    found: dict[Recall, Refeed[Any] | None] = {}
    lists: dict[str, float] = {}
    sides: dict[str, float] = {}
    declared = {names[id(base)] for feed in feeds.values() for base in _bases(feed)}
    for root, feed in feeds.items():
        for one in tree(feed, into_refeeds=False):
            if isinstance(one, Refeed):
                key = f"{root}.{len(found)}" if found else root
                found[Recall(_recorded(one.source, names), 0, one.folder, key)] = one
            elif isinstance(one, Foreach):
                lists.update(_periods(one.source, names))
                sides.update({name: 0.0 for name, _ in known if name not in declared})  # it made them
            elif isinstance(one, (Joined, Failover)):
                sides.update(_periods(one, names))
    ran = {name for name, _ in known}
    for least_s, bases in ((MIN_LISTS_S, lists), (MIN_SIDES_S, {n: p for n, p in sides.items() if n not in lists})):
        asked = {name: period_s for name, period_s in bases.items() if name in ran}
        if asked:
            back_s = max(least_s, PERIODS * max(asked.values()))
            found[Recall(tuple(asked), max(0, now_ns - round(back_s * NS)))] = None
    return found


def _periods(feed: Feed[Any], names: Names) -> dict[str, float]:
    return {names[id(base)]: base.when.period_s for base in _bases(feed)}


def _recorded(feed: Feed[Any], names: Names) -> tuple[str, ...]:
    """The bases whose raws a refeed is of; none: nobody knows what foreach made, so all."""
    if any(isinstance(one, Foreach) for one in tree(feed)):
        return ()
    return tuple(names[id(base)] for base in _bases(feed))


def _bases(feed: Feed[Any]) -> Iterator[Base[Any]]:
    return (one for one in tree(feed, into_refeeds=False) if isinstance(one, Base))
