"""Archived bytes of feeds, read by whoever does not write them: out of a folder, also while it is written."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from vagus.clock import NS
from vagus.errors import NoData
from vagus.feeds import Raw
from vagus.feeds.containers import archived, holds_containers
from vagus.feeds.directives import Emit, Recall
from vagus.feeds.engine import Engine
from vagus.feeds.feed import Base, Failover, Feed, Foreach, Joined
from vagus.feeds.naming import names_of, tree
from vagus.model import MAX_T_NS
from vagus.store import Store

KIND = "raw"
DATA = "data.mdb"
PLACES = (".", "archive", "store/feed", "nodes/*/store/feed")  # itself, of `vagus feed run`, of a node, of a home
Read = Callable[[Collection[str], int, int], Iterator[Raw]]
"""Raws of base feeds (none: of all) that arrived in [start_ns, end_ns), in that order."""
LOOK_ITEMS = 10_000  # of an archive, for the names of what is in it
SIDES_NS = 600 * NS  # how much earlier the other side of a pair may have come


class Only:
    """The share of an engine that runs some of its feeds, and all of these: what they are made of keeps its name."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)

    def runs(self, feed: str) -> bool:
        """Whether it is one of them."""
        return feed in self._names

    def owns(self, feed: str, key: str) -> bool:
        """All of what they do."""
        return True


def stores_in(folder: Path) -> list[Path]:
    """The archives at or below a folder: its own, that of `vagus feed run`, those of a node or a state folder.

    Raises NoData when there is none.
    """
    found = {
        path
        for place in PLACES
        for path in ([folder] if place == "." else folder.glob(place))
        if (path / DATA).is_file()
    }
    if not found:
        raise NoData(f"there is no archive of feeds in {folder}; `vagus feed run` makes one, see its --folder")
    return sorted(found)


def read_archive(folder: Path, feeds: Collection[str] = (), start_ns: int = 0, end_ns: int = MAX_T_NS) -> Iterator[Raw]:
    """Raws that arrived in [start_ns, end_ns), of these base feeds (none: of all), in order of arrival.

    Those of several nodes are merged; a folder of the `archive` tool is read in the order in which it was stored. Raises
    NoData, StoreError.
    """
    if holds_containers(folder):
        for raw in archived(folder):
            if start_ns <= raw.meta.arrived_ns < end_ns and (not feeds or raw.meta.feed in feeds):
                yield raw
        return
    with contextlib.ExitStack() as stack:
        stores = [
            stack.enter_context(contextlib.closing(Store.open(path, create=False, readonly=True)))
            for path in stores_in(folder)
        ]
        wheres: list[tuple[str, str] | None] = [("feed", feed) for feed in feeds]
        parts = [
            store.timed_records(KIND, Raw, start_ns, end_ns, where, newest_first=False)
            for store in stores
            for where in wheres or [None]
        ]
        for _, _, raw in heapq.merge(*parts, key=lambda found: found[:2]):
            yield raw


def refed(recall: Recall) -> Iterator[Raw]:
    """What a `refeed` of a folder asks for. Raises NoData, also where the folder has only items of other feeds."""
    folder = Path(recall.folder)
    found = False
    for raw in read_archive(folder, recall.feeds, recall.since_ns):
        found = True
        yield raw
    if not found and recall.feeds:
        others = sorted({raw.meta.feed for raw in islice(read_archive(folder), LOOK_ITEMS)})
        there = f"there are items of {', '.join(others[:20])}" if others else "it is empty"
        raise NoData(
            f"refeed: {folder} has nothing of {' or '.join(map(repr, recall.feeds))}: {there}; call the feed as one of "
            "them, or read it below another name: of: {name: NAME, refeed: FOLDER}"
        )


def replayed(
    feeds: Mapping[str, Feed[Any]], only: Collection[str], folder: Path, start_ns: int = 0, end_ns: int = MAX_T_NS
) -> Iterator[Emit]:
    """The items of some of these feeds that arrived in [start_ns, end_ns), parsed again: the same as there were.

    Raises NoData, StoreError.
    """
    return replayed_from(feeds, only, partial(read_archive, folder), start_ns, end_ns)


def replayed_from(
    feeds: Mapping[str, Feed[Any]], only: Collection[str], read: Read, start_ns: int = 0, end_ns: int = MAX_T_NS
) -> Iterator[Emit]:
    """As `replayed`. Lists that feeds are made of (foreach) are read from the begin."""
    names = names_of(feeds)
    parts = [one for name in only for one in tree(feeds[name])]
    drivers = {
        names[id(base)]
        for one in parts
        if isinstance(one, Foreach)
        for base in tree(one.source)
        if isinstance(base, Base)
    }
    early_ns = SIDES_NS if any(isinstance(one, (Joined, Failover)) for one in parts) else 0
    from_ns = max(0, start_ns - early_ns)
    wanted = () if drivers else {names[id(one)] for one in parts if isinstance(one, Base)}

    def raws() -> Iterator[Raw]:
        if drivers:
            yield from read(drivers, 0, from_ns)
        yield from read(wanted, from_ns, end_ns)

    for emit in Engine(feeds, now_ns=0, share=Only(only)).replay(raws()):
        if start_ns <= emit.item.meta.arrived_ns < end_ns:
            yield emit
