"""Dependent feeds: one for each element of a list, until the next list comes."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Protocol

import msgspec

from vagus.feeds.item import Item, Origin
from vagus.feeds.location import printable
from vagus.feeds.operators.batch import Batch, Node, broken, raised

MAX_ELEMENTS = 100_000  # of one list
MAX_KEY = 4000


class Instance(Protocol):
    """What was made of one element."""

    def renew(self, chain: tuple[Origin, ...]) -> None:
        """A newer list has the element too."""

    def close(self) -> None:
        """No list has it any more: nothing more begins, what is under way still comes."""


class Relay:
    """What one instance sends, marked as of its element. It stands in the place of all that comes of it."""

    __slots__ = ("_key", "_send", "instance", "is_open")

    def __init__(self, key: str, send: Callable[[Batch], None]) -> None:
        self._key = key
        self._send = send
        self.is_open = True
        self.instance: Instance | None = None

    def __call__(self, batch: Batch) -> None:
        marked = batch.made(batch.items, batch.descriptors)
        marked.place = (self, batch.place)
        marked.key = self._key
        self._send(marked)

    def renew(self, chain: tuple[Origin, ...]) -> None:
        """A newer list has the element too."""
        if self.instance is not None:
            self.instance.renew(chain)

    def close(self) -> None:
        """No list has the element any more."""
        self.is_open = False
        if self.instance is not None:
            self.instance.close()
        self._send(Batch(self, 0, [], True, self._key, ended=True))


Make = Callable[[Any, str, tuple[Origin, ...], Relay], Instance]
"""An element's value, its key, what it comes from, and where its batches go. Raises what `make` raises."""


class _List:
    """The newest list of one place; the elements by their identity."""

    __slots__ = ("due_ns", "instances", "told_ns")

    def __init__(self, due_ns: int, told_ns: int) -> None:
        self.due_ns = due_ns
        self.told_ns = told_ns
        self.instances: dict[Hashable, Relay] = {}


class Driving(Node):
    """Keeps, for each place that lists come from, the instances of its newest list.

    A list is all that has one place and due time; one that failed changes nothing, nor does one older than the newest,
    unless the clock was set back in between.
    An element that is in the list before too goes on undisturbed; one that a list has twice counts once. What has no
    value, or of which nothing can be made, is sent on as an item without a value. waits: called when lists have come
    that `apply` is to look at, at the end of the event. owns: which elements are of concern here. now_ns: the time of
    the event.
    """

    def __init__(
        self,
        source: Node,
        make: Make,
        waits: Callable[[Driving], None],
        owns: Callable[[str], bool] | None,
        now_ns: Callable[[], int],
    ) -> None:
        super().__init__()
        self._make = make
        self._waits = waits
        self._owns = owns
        self._now_ns = now_ns
        self._open = True
        self._came: dict[tuple[Hashable, int], list[Batch]] = {}
        self._lists: dict[Hashable, _List] = {}
        source.outs.append(self._take)

    def close(self) -> None:
        """What it stands in is over."""
        self._open = False
        for place in list(self._lists):
            self._end(place)

    def _end(self, place: Hashable) -> None:
        for instance in self._lists.pop(place).instances.values():
            instance.close()

    def _take(self, batch: Batch) -> None:
        if batch.ended:
            for place in [place for place in self._lists if _is_over(place)]:
                self._end(place)
            self.send(batch)
            return
        if not self._came:
            self._waits(self)
        self._came.setdefault((batch.place, batch.due_ns), []).append(batch)

    def _pass(self, batch: Batch) -> None:
        valueless = [item for item in batch.items if item.value is None]
        if valueless:
            self.send(Batch((self, batch.place), batch.due_ns, valueless, True, batch.key, batch.raw))

    def apply(self) -> None:
        """The lists that came since are the newest now."""
        came, self._came = self._came, {}
        for (place, due_ns), batches in came.items():
            for batch in batches:
                self._pass(batch)
            if self._open and not _is_over(place) and not all(batch.failed for batch in batches):
                items = [item for batch in batches for item in batch.items if item.value is not None]
                if len(batches) > 1:  # of what came at one moment the first is not whichever was looked at first
                    items.sort(key=lambda item: (item.meta.feed, item.meta.location))
                self._list(place, due_ns, items)

    def _list(self, place: Hashable, due_ns: int, items: list[Item[Any]]) -> None:
        known = self._lists.get(place)
        now_ns = self._now_ns()
        if known is not None and due_ns < known.due_ns and now_ns >= known.told_ns:
            return
        listed = self._lists[place] = _List(due_ns, now_ns)
        before = known.instances if known is not None else {}
        if known is not None and due_ns == known.due_ns:
            listed.instances.update(before)
        for item in items:
            key = key_of(item.value)
            identity = (type(item.value) is str, key)
            if identity in listed.instances or (self._owns is not None and not self._owns(key)):
                continue
            if len(listed.instances) >= MAX_ELEMENTS:
                note = f"foreach: the list has more than {MAX_ELEMENTS} elements; the rest is left out"
                self._send_broken(item, key, note)
                break
            chain = (item.meta.origin, *item.meta.provenance)
            relay = before.get(identity)
            if relay is not None:
                relay.renew(chain)
            else:
                relay = self._made(item, key, chain)
            if relay is not None:
                listed.instances[identity] = relay
        for gone, relay in before.items():
            if gone not in listed.instances:
                relay.close()

    def _made(self, item: Item[Any], key: str, chain: tuple[Origin, ...]) -> Relay | None:
        relay = Relay(key, self.send)
        try:
            relay.instance = self._make(item.value, key, chain, relay)
        except Exception as error:
            self._send_broken(item, key, raised("foreach", error))
            return None
        return relay

    def _send_broken(self, item: Item[Any], key: str, note: str) -> None:
        self.send(Batch((self, key), item.meta.due_ns, [broken(item, note)], True, key))


def _is_over(place: Hashable) -> bool:
    """Whether something that what is there came of is closed."""
    if isinstance(place, tuple):
        return any(map(_is_over, place))
    return isinstance(place, Relay) and not place.is_open


def key_of(value: Any) -> str:
    """A driving element as text: what its work is known as, and shared by."""
    if isinstance(value, str):
        return printable(value)[:MAX_KEY]
    try:
        return msgspec.json.encode(value).decode()[:MAX_KEY]
    except (TypeError, ValueError):
        return printable(repr(value))[:MAX_KEY]
