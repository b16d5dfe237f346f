"""What the pure core of feeds tells its shell to do: fetch, archive, hand on."""

from __future__ import annotations

from typing import Any

import msgspec

from vagus.feeds.item import Descriptor, Item, Raw


class Fetch(msgspec.Struct, frozen=True):
    """Fetch this location and hand the result back. tried: what failed before it in an `any` feed.

    unit: what the engine knows this work as, where that is not its location. fresh: nobody has what this location had
    last, so that "not modified" would be no answer.
    """

    feed: str
    location: str
    due_ns: int
    timeout_s: float
    max_bytes: int
    tried: tuple[str, ...] = ()
    unit: str = ""
    fresh: bool = False


class Archive(msgspec.Struct, frozen=True):
    """Store these raw bytes."""

    raw: Raw


class Emit(msgspec.Struct, frozen=True):
    """Hand this item of the named feed on; ticks: for how many it stands (more than 1: misses of a long silence).

    raw: the bytes that the item was parsed from, for tools that want them; every item of a base feed has them, those
    of flatten, where and map too (all parts the same object); None for what is made of several feeds.
    descriptor: of the value, where its errors are, for tools that want it; not stored. The engine has it from the
    parse: it is set where there are errors, of an element of flatten that element's (`descriptor.part(index)`), after
    where the same, after map None.
    """

    feed: str
    item: Item[Any]
    ticks: int = 1
    raw: Raw | None = None
    descriptor: Descriptor | None = None


class Recall(msgspec.Struct, frozen=True):
    """What an engine needs from an archive when it begins: `recalled` takes the raws, in the order of their arrival.

    feeds: of these base feeds, none: of all; since_ns: that arrived then or later. folder: of the store in this folder,
    empty: of this archive. refeed: what emits them once more; empty: they only tell the engine where it was.
    """

    feeds: tuple[str, ...]
    since_ns: int = 0
    folder: str = ""
    refeed: str = ""


Directive = Fetch | Archive | Emit
