"""What is done to each item alone: map, where, flatten. A function that raises costs only its item's value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from vagus.feeds.item import GOOD, Descriptor, Item
from vagus.feeds.operators.batch import Batch, Node, Through, broken, raised

ABSENT = object()


class Mapping(Through):
    """Items with other values; what has none passes."""

    def __init__(self, source: Node, change: Callable[[Any], Any]) -> None:
        super().__init__(source)
        self._change = change

    def take(self, batch: Batch) -> None:
        self.send(batch.made([self._changed(item) for item in batch.items]))

    def _changed(self, item: Item[Any]) -> Item[Any]:
        if item.value is None:
            return item
        try:
            return Item(item.meta, self._change(item.value))
        except Exception as error:
            return broken(item, raised("map", error))


class Filter(Through):
    """The items whose value fulfils a condition; those that have none pass, or not."""

    def __init__(self, source: Node, condition: Callable[[Any], object], keeps_failed: bool) -> None:
        super().__init__(source)
        self._condition = condition
        self._keeps_failed = keeps_failed

    def take(self, batch: Batch) -> None:
        items: list[Item[Any]] = []
        descriptors: list[Descriptor | None] = []
        for index, item in enumerate(batch.items):
            kept = item
            if item.value is not None:
                try:
                    if not self._condition(item.value):
                        continue
                except Exception as error:
                    kept = broken(item, raised("where", error))
            if kept.value is None and not self._keeps_failed:
                continue
            items.append(kept)
            descriptors.append(batch.descriptors[index] if batch.descriptors and kept is item else None)
        self.send(batch.made(items, descriptors if batch.descriptors else None))


class Flattening(Through):
    """An item for each element of a list, its index in `part`; what has no value passes, a list that is null is empty."""

    def __init__(self, source: Node, path: str) -> None:
        super().__init__(source)
        self._path = tuple(path.split(".")) if path else ()

    def take(self, batch: Batch) -> None:
        items: list[Item[Any]] = []
        descriptors: list[Descriptor | None] = []
        for index, item in enumerate(batch.items):
            descriptor = batch.descriptors[index] if batch.descriptors else None
            if item.value is None:
                items.append(item)
                descriptors.append(descriptor)
                continue
            elements = item.value
            for name in self._path:
                elements = _part(elements, name)
                descriptor = descriptor and (descriptor.part(name) or GOOD)
            if elements is None and self._path and not item.meta.errors:
                continue  # it was read well, and says that there is no list
            if not isinstance(elements, (list, tuple)):
                where = f" at {'.'.join(self._path)}" if self._path else ""
                items.append(broken(item, f"flatten: there is {_named(elements)}{where}, not a list"))
                descriptors.append(None)
                continue
            self._flatten(item, elements, descriptor, items, descriptors)
        self.send(batch.made(items, descriptors if batch.descriptors else None))

    @staticmethod
    def _flatten(
        item: Item[Any],
        elements: Any,
        descriptor: Descriptor | None,
        items: list[Item[Any]],
        descriptors: list[Descriptor | None],
    ) -> None:
        meta = item.meta
        before = f"{meta.part}." if meta.part else ""
        inside = dict(descriptor.inside) if descriptor else {}
        for index, element in enumerate(elements):
            own = None
            if descriptor:
                own = inside.get(index, GOOD)
                meta = msgspec.structs.replace(meta, data=own.code, errors=own.errors, part=f"{before}{index}")
            else:
                meta = msgspec.structs.replace(meta, part=f"{before}{index}")
            items.append(Item(meta, element))
            descriptors.append(own if own and own.errors else None)


def _named(value: Any) -> str:
    return "nothing" if value is ABSENT else type(value).__name__


def _part(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return value.get(name, ABSENT)
    if isinstance(value, msgspec.Struct) and name in value.__struct_fields__:
        return getattr(value, name)
    return ABSENT
