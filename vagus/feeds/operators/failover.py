"""Failover: for each scheduled time the items of the first feed that has one that did not fail."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from vagus.feeds.item import Net
from vagus.feeds.operators.batch import Batch, Node

MAX_DUES = (
    100  # that are not decided, or may get more; those that came first give way, also after the clock was set back
)


class _Due:
    """What came for one due time; chosen: the side whose items are sent."""

    __slots__ = ("chosen", "sides")

    def __init__(self, count: int) -> None:
        self.sides: list[list[Batch]] = [[] for _ in range(count)]
        self.chosen: int | None = None


class Failing(Node):
    """Holds the later sides' items until it is known that all before them failed, or have none.

    Where all fail, the last one's items are sent. No foreach stands in a side: nobody knows when all of those is there.
    waits: called while something is held, so that `review` is, after
    whatever may have settled it.
    """

    def __init__(self, sides: list[Node], waits: Callable[[Failing], None], dropped: Callable[[int], None]) -> None:
        super().__init__()
        self._sides = sides
        self._waits = waits
        self._dropped = dropped
        self._dues: dict[int, _Due] = {}
        self._undecided: set[int] = set()
        self._sending_ns = -1  # what is being sent has not reached everyone
        for index, side in enumerate(sides):
            side.outs.append(partial(self._take, index))

    def settled(self, due_ns: int) -> bool:
        if due_ns in self._undecided or due_ns == self._sending_ns:
            return False
        return all(side.settled(due_ns) for side in self._sides)

    def _take(self, side: int, batch: Batch) -> None:
        if batch.ended:
            return
        for due_ns in sorted(due for due in self._undecided if due < batch.due_ns):  # what is older first
            self._decide(due_ns, self._dues[due_ns])
        due = self._dues.get(batch.due_ns)
        if due is None:
            due = self._dues[batch.due_ns] = _Due(len(self._sides))
            self._undecided.add(batch.due_ns)
            if len(self._dues) > MAX_DUES:
                self._give_way(next(iter(self._dues)))
        due.sides[side].append(batch)
        if due.chosen is None:
            self._decide(batch.due_ns, due)
        elif due.chosen == side:
            self._on(batch)
        if due.chosen is None:
            self._waits(self)
        elif all(len(got) == one.arity for got, one in zip(due.sides, self._sides, strict=True)):
            self._dues.pop(batch.due_ns, None)

    def review(self) -> bool:
        """Decides what can be; whether that was something."""
        before = len(self._undecided)
        for due_ns in sorted(self._undecided):
            self._decide(due_ns, self._dues[due_ns])
        return len(self._undecided) < before

    @property
    def is_waiting(self) -> bool:
        """Whether something is held."""
        return bool(self._undecided)

    def _give_way(self, due_ns: int) -> None:
        oldest = self._dues.pop(due_ns)
        if oldest.chosen is None:
            self._undecided.discard(due_ns)
            self._dropped(sum(len(batch.items) for batches in oldest.sides for batch in batches))

    def _decide(self, due_ns: int, due: _Due) -> None:
        last = 0
        for index, (side, batches) in enumerate(zip(self._sides, due.sides, strict=True)):
            if any(_answered(batch) for batch in batches):
                break
            if len(batches) != side.arity and not side.settled(due_ns):
                return
            if batches:
                last = index
        else:
            index = last
        due.chosen = index
        self._undecided.discard(due_ns)
        for batch in due.sides[index]:
            self._on(batch)

    def _on(self, batch: Batch) -> None:
        """Sent on as from one place, whichever side it came from."""
        self._sending_ns = batch.due_ns
        self.send(Batch(self, batch.due_ns, batch.items, batch.failed, "", batch.raw, batch.descriptors, batch.ticks))
        self._sending_ns = -1


def _answered(batch: Batch) -> bool:
    return any(item.value is not None or item.meta.net is Net.NOT_MODIFIED for item in batch.items) or not (
        batch.items or batch.failed
    )
