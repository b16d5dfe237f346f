"""Archived bytes of feeds, read by whoever does not write them: out of a folder, also while it is written."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator
from pathlib import Path

from vagus.errors import NoData
from vagus.feeds import Raw
from vagus.model import MAX_T_NS
from vagus.store import Store

KIND = "raw"
DATA = "data.mdb"
PLACES = (".", "archive", "store/feed", "nodes/*/store/feed")  # itself, of `vagus feed run`, of a node, of a home


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

    Those of several nodes are merged. Raises NoData, StoreError.
    """
    wanted = frozenset(feeds)
    stores: list[Store] = []
    try:
        for path in stores_in(folder):
            stores.append(Store.open(path, create=False, readonly=True))
        parts = [store.timed_records(KIND, Raw, start_ns, end_ns, newest_first=False) for store in stores]
        for _, _, raw in heapq.merge(*parts, key=lambda found: found[:2]):
            if not wanted or raw.meta.feed in wanted:
                yield raw
    finally:
        for store in stores:
            store.close()
