"""What flows from node to node, and what every node has."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import msgspec

from vagus.feeds.item import Data, Descriptor, Item, Raw

MAX_NOTE = 300


class Batch:
    """The items that one fetch gave, or what was made of them: some, none, one for each element.

    place, due_ns: what names it: where the items are from, and their tick. key: the unit of work that it belongs to,
    which says who emits it where the work is shared. failed: there is nothing to go by, not even that there are no
    elements. descriptors: of each item's value, where known; raw: what they were parsed from. ended: no items,
    but word that something in front is over.
    """

    __slots__ = ("descriptors", "due_ns", "ended", "failed", "items", "key", "place", "raw", "ticks")

    def __init__(
        self,
        place: Hashable,
        due_ns: int,
        items: list[Item[Any]],
        failed: bool,
        key: str = "",
        raw: Raw | None = None,
        descriptors: list[Descriptor | None] | None = None,
        ticks: int = 1,
        ended: bool = False,
    ) -> None:
        self.place = place
        self.due_ns = due_ns
        self.items = items
        self.failed = failed
        self.key = key
        self.raw = raw
        self.descriptors = descriptors
        self.ticks = ticks
        self.ended = ended

    def made(self, items: list[Item[Any]], descriptors: list[Descriptor | None] | None = None) -> Batch:
        """The same batch with what was made of its items."""
        failed = self.failed or (bool(items) and all(item.value is None for item in items))
        return Batch(self.place, self.due_ns, items, failed, self.key, self.raw, descriptors, self.ticks, self.ended)


Take = Callable[[Batch], None]


class Node:
    """Sends batches to `outs`, each a node's `take`, a side of it, or a sink.

    arity: how many batches there are for each due time that has any; None: unknown.
    """

    arity: int | None = None

    def __init__(self) -> None:
        self.outs: list[Take] = []

    def send(self, batch: Batch) -> None:
        for out in self.outs:
            out(batch)

    def settled(self, due_ns: int) -> bool:
        """Whether no more batch of this due time comes."""
        return False


class Through(Node):
    """A node that makes one batch of each of its source's."""

    def __init__(self, source: Node) -> None:
        super().__init__()
        self._source = source
        self.arity = source.arity
        source.outs.append(self.take)

    def take(self, batch: Batch) -> None:
        raise NotImplementedError

    def settled(self, due_ns: int) -> bool:
        return self._source.settled(due_ns)


def broken(item: Item[Any], note: str) -> Item[Any]:
    """The item without its value, since what was to be done with that could not be."""
    meta = item.meta
    told = f"{meta.note}; {note}" if meta.note else note
    return Item(
        msgspec.structs.replace(meta, data=Data.SEMANTIC, errors=meta.errors + 1, note=told[: 4 * MAX_NOTE]), None
    )


def raised(what: str, error: Exception) -> str:
    """A note that what a user gave raised an error."""
    return f"{what} raised {type(error).__name__}: {error}"[:MAX_NOTE]
