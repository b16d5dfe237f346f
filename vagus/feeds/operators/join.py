"""Pair, list, dict: items of several feeds that have the same scheduled time, as one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

from vagus.feeds.item import Data, Item, Meta, Net, Origin
from vagus.feeds.operators.batch import MAX_NOTE, Batch, Node

MAX_DUES = 100  # that wait for a side; those that came first give way, also after the clock was set back
MAX_HELD = 100_000  # items of them together
_NET = {net: rank for rank, net in enumerate(Net)}
_DATA = {data: rank for rank, data in enumerate(Data)}


class Join(Node):
    """All combinations of the sides' items of a due time, in whatever order they come.

    dropped: called with the number of items that gave way.
    """

    def __init__(
        self,
        name: str,
        sides: list[Node],
        build: Callable[[tuple[Any, ...]], Any],
        dropped: Callable[[int], None],
    ) -> None:
        super().__init__()
        self._name = name
        self._sides = sides
        self._build = build
        self._dropped = dropped
        self._held: dict[int, tuple[list[Batch], ...]] = {}
        self._count = 0
        self._complete = 0
        if all(side.arity is not None for side in sides):
            self.arity = 1
            for side in sides:
                self.arity *= side.arity or 0
                self._complete += side.arity or 0
        for index, side in enumerate(sides):
            side.outs.append(partial(self._take, index))

    def settled(self, due_ns: int) -> bool:
        return all(side.settled(due_ns) for side in self._sides)

    def _take(self, side: int, batch: Batch) -> None:
        if batch.ended:
            self.send(batch)
            return
        due_ns = batch.due_ns
        held = self._held.get(due_ns)
        if held is None:
            held = self._held[due_ns] = tuple([] for _ in self._sides)
        held[side].append(batch)
        self._count += len(batch.items)
        others = (*held[:side], [batch], *held[side + 1 :])
        for combination in itertools.product(*others):
            self.send(self._joined(combination))
        if self._complete and sum(map(len, held)) >= self._complete:
            self._forget(due_ns)
        while len(self._held) > MAX_DUES or (self._count > MAX_HELD and len(self._held) > 1):
            self._dropped(self._forget(next(iter(self._held))))

    def _forget(self, due_ns: int) -> int:
        count = sum(len(batch.items) for side in self._held.pop(due_ns) for batch in side)
        self._count -= count
        return count

    def _joined(self, batches: tuple[Batch, ...]) -> Batch:
        items = [self._one(items) for items in itertools.product(*(batch.items for batch in batches))]
        place = tuple(batch.place for batch in batches)
        return Batch(place, batches[0].due_ns, items, all(batch.failed for batch in batches))

    def _one(self, items: tuple[Item[Any], ...]) -> Item[Any]:
        values = tuple(item.value for item in items)
        metas = [item.meta for item in items]
        provenance: dict[Origin, None] = {}
        for meta in metas:
            provenance[meta.origin] = None
            provenance.update(dict.fromkeys(meta.provenance))
        parts = [meta.part for meta in metas]
        meta = Meta(
            self._name,
            " + ".join(dict.fromkeys(meta.location for meta in metas)),
            metas[0].due_ns,
            max(meta.arrived_ns for meta in metas),
            max((meta.net for meta in metas), key=_NET.__getitem__),
            max((meta.data for meta in metas), key=_DATA.__getitem__),
            sum(meta.errors for meta in metas),
            sum(meta.size_bytes for meta in metas),
            "; ".join(dict.fromkeys(meta.note for meta in metas if meta.note))[: 4 * MAX_NOTE],
            min((meta.started_ns for meta in metas if meta.started_ns), default=0),
            "+".join(parts) if any(parts) else "",
            tuple(provenance),
        )
        return Item(meta, None if all(value is None for value in values) else self._build(values))
