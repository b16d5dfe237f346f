"""The newest items of a feed, in memory, and how they are shown to who asks."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

import msgspec

from vagus.feeds.directives import Emit
from vagus.feeds.item import Item, Net
from vagus.model import to_builtins

MAX_ITEMS = 10_000  # of one feed, in memory; the archive has them all
MAX_BYTES = 64 << 20  # of the bodies that they came from, of all feeds together
ITEM_BYTES = 500  # what an item counts beside these
ANSWER_BYTES = 16 << 20
MAX_TEXT = 1000


class FeedItems:
    """Those of one feed. codes: how many came since the start, by net and data code, such as `ok/Good`."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.codes: Counter[str] = Counter()
        self._max_bytes = max_bytes
        self._items: deque[Item[Any]] = deque()
        self._bytes = 0

    def take(self, emit: Emit) -> None:
        """Keeps an item; the oldest give way."""
        meta = emit.item.meta
        self.codes[f"{meta.net.value}/{meta.data.value}"] += emit.ticks if meta.net is Net.MISSED else 1
        self._items.append(emit.item)
        self._bytes += _size(emit.item)
        while len(self._items) > MAX_ITEMS or (self._bytes > self._max_bytes and len(self._items) > 1):
            self._bytes -= _size(self._items.popleft())

    def newest(self, limit: int) -> list[Item[Any]]:
        """At most so many, oldest first."""
        return list(self._items)[-limit:] if limit > 0 else []


def _size(item: Item[Any]) -> int:
    return ITEM_BYTES + (0 if item.meta.part else item.meta.size_bytes)


def shown(items: Iterable[Item[Any]]) -> list[tuple[int, bytes]]:
    """When each arrived, and the item as a JSON object of meta and value; of the first so many as fit an answer."""
    found: list[tuple[int, bytes]] = []
    size = 0
    for item in items:
        text = _json(item)
        size += len(text)
        if size > ANSWER_BYTES and found:
            break
        found.append((item.meta.arrived_ns, text))
    return found


def _json(item: Item[Any]) -> bytes:
    meta = to_builtins(item.meta)
    try:
        return msgspec.json.encode({"meta": meta, "value": to_builtins(item.value)})
    except (TypeError, ValueError, OverflowError):  # a function of the user made something that JSON has not
        return msgspec.json.encode({"meta": meta, "value": repr(item.value)[:MAX_TEXT]})
