"""Where the bytes of a base feed come into the graph: preprocessed, parsed, and sent on as an item."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from vagus.feeds.feed import Base
from vagus.feeds.item import Data, Descriptor, Item, Meta, Net, Origin, Raw
from vagus.feeds.location import shown
from vagus.feeds.operators.batch import MAX_NOTE, Batch, Node, raised
from vagus.feeds.preprocess import apply_steps

Provenance = tuple[Origin, ...]


class Port(Node):
    """One base feed: of the graph itself, or of what a foreach made (then `key` is the element that it was made of)."""

    def __init__(self, name: str, base: Base[Any], key: str | None = None) -> None:
        super().__init__()
        self.name = name
        self.base = base
        self.key = key
        self.arity = 1 if base.any else len(base.locations)
        self.direct = ""  # the one feed that its items are of, where nothing else is made of them
        self.chain: Provenance = ()  # what made it: the driving item, and what that was made from
        self.chain_before: Provenance = ()  # until the newest list
        self.since_ns = 0  # when it was made, and when that was over
        self.until_ns = math.inf
        self.places = frozenset(map(shown, base.locations))
        self.units: list[Any] = []  # what is fetched for it
        self.is_settled: Callable[[Port, int], bool] | None = None
        self._format = base.format
        self._steps = base.steps

    def settled(self, due_ns: int) -> bool:
        return self.is_settled is None or self.is_settled(self, due_ns)

    def parse(self, raw: Raw, provenance: Provenance) -> tuple[Item[Any], Descriptor | None]:
        """The item of archived bytes: the same as when they arrived; the descriptor where not all is good.

        Never raises.
        """
        meta = raw.meta
        if meta.net is not Net.OK:
            return Item(
                meta if meta.provenance == provenance else _meta(meta, Data.NONE, 0, meta.note, provenance)
            ), None
        body = raw.body
        try:
            if self._steps:
                body = apply_steps(self._steps, body, self.base.max_bytes)
        except ValueError as error:
            return self._unread(meta, str(error), provenance)
        try:
            value, found = self._format.parse(body)
        except Exception as error:  # a format from outside that breaks its contract stops no feed
            return self._unread(meta, raised(f"format {getattr(self._format, 'name', '?')}", error), provenance)
        item = Item(_meta(meta, found.code, found.errors, meta.note, provenance), value)
        return item, found if found.errors or found.code is not Data.GOOD else None

    @staticmethod
    def _unread(meta: Meta, note: str, provenance: Provenance) -> tuple[Item[Any], None]:
        told = f"{meta.note}; {note}" if meta.note else note
        return Item(_meta(meta, Data.SYNTAX, 1, told[: 4 * MAX_NOTE], provenance)), None

    def push(self, raw: Raw, provenance: Provenance, ticks: int = 1) -> None:
        """An item of these bytes goes its way."""
        item, descriptor = self.parse(raw, provenance)
        place = (self.name, "" if self.base.any else raw.meta.location, id(self) if self.key is not None else 0)
        key = raw.meta.location if self.key is None else self.key
        self.send(
            Batch(
                place,
                raw.meta.due_ns,
                [item],
                item.value is None,
                key,
                raw,
                [descriptor] if descriptor else None,
                ticks,
            )
        )


def _meta(meta: Meta, data: Data, errors: int, note: str, provenance: Provenance) -> Meta:
    return Meta(
        meta.feed,
        meta.location,
        meta.due_ns,
        meta.arrived_ns,
        meta.net,
        data,
        errors,
        meta.size_bytes,
        note,
        meta.started_ns,
        "",
        provenance,
    )
