"""Items for the tests of feeds' tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vagus.clock import NS
from vagus.feeds import Data, Item, Meta, Net, ToolContext
from vagus.feeds.contracts import ANY_SHAPE, Shape

T0 = 1_700_000_000
HERE = "http://a.example:3121/"


def item(value: Any, t_s: float = 0.0, location: str = HERE, part: str = "", feed: str = "comon") -> Item[Any]:
    """A good item at T0 + t_s; one that failed when the value is None."""
    t_ns = T0 * NS + round(t_s * NS)
    net, data = (Net.TIMEOUT, Data.NONE) if value is None else (Net.OK, Data.GOOD)
    return Item(Meta(feed, location, t_ns, t_ns, net, data, part=part, note="" if value else "it took too long"), value)


def at(t_s: float) -> int:
    return T0 * NS + round(t_s * NS)


def context(folder: Path, shape: Shape = ANY_SHAPE, feed: str = "comon", period_s: float = 0.0) -> ToolContext:
    return ToolContext(feed, folder, shape, "n1", period_s)
