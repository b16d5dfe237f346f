"""Feeds of data from elsewhere, declared: where it is, when it is there, what it looks like, what failure means.

Pure: time is an argument, and what is to be fetched, archived and told are directives. A fetch gives an `Item`: value
and meta. Failures are items too: value None, a network code. Raw bytes are archived before they are parsed. What is
held by name, and how to add to it: contracts.py.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vagus.feeds.contracts import FORMATS, SOURCES, STEPS, TOOLS, Format, Notice, Shape, Source, Step, Tool, ToolContext
from vagus.feeds.item import Data, Descriptor, Fetched, Item, Meta, Net, Origin, Raw, State

if TYPE_CHECKING:
    from vagus.feeds.feed import Feed, all_, any_, base, dict_, failover, list_, pair, proc, refeed, union
    from vagus.feeds.formats.annotated import F32, F64, I8, I16, I32, I64, U8, U16, U32, U64, Word
    from vagus.feeds.formats.compiled import as_format, lines, one_of
    from vagus.feeds.formats.compounds import Constrained, Optional, Union
    from vagus.feeds.formats.keyed import Map
    from vagus.feeds.formats.lists import List
    from vagus.feeds.formats.record import Record, entries, entry, field
    from vagus.feeds.formats.timestamps import Time
    from vagus.feeds.formats.types import Binary, Bool, Bytes, Choice, Float, Int, Str
    from vagus.feeds.stream import Stream, later_than
    from vagus.feeds.when import every, once

__all__ = [
    "F32",
    "F64",
    "FORMATS",
    "I8",
    "I16",
    "I32",
    "I64",
    "SOURCES",
    "STEPS",
    "TOOLS",
    "U8",
    "U16",
    "U32",
    "U64",
    "Binary",
    "Bool",
    "Bytes",
    "Choice",
    "Constrained",
    "Data",
    "Descriptor",
    "Feed",
    "Fetched",
    "Float",
    "Format",
    "Int",
    "Item",
    "List",
    "Map",
    "Meta",
    "Net",
    "Notice",
    "Optional",
    "Origin",
    "Raw",
    "Record",
    "Shape",
    "Source",
    "State",
    "Step",
    "Str",
    "Stream",
    "Time",
    "Tool",
    "ToolContext",
    "Union",
    "Word",
    "all_",
    "any_",
    "as_format",
    "base",
    "dict_",
    "entries",
    "entry",
    "every",
    "failover",
    "field",
    "later_than",
    "lines",
    "list_",
    "once",
    "one_of",
    "pair",
    "proc",
    "refeed",
    "union",
]

_LAZY = {
    **dict.fromkeys(
        (
            "Feed",
            "all_",
            "any_",
            "base",
            "dict_",
            "failover",
            "list_",
            "pair",
            "proc",
            "refeed",
            "union",
        ),
        "vagus.feeds.feed",
    ),
    **dict.fromkeys(
        (
            "F32",
            "F64",
            "I8",
            "I16",
            "I32",
            "I64",
            "U8",
            "U16",
            "U32",
            "U64",
            "Word",
        ),
        "vagus.feeds.formats.annotated",
    ),
    **dict.fromkeys(
        (
            "as_format",
            "lines",
            "one_of",
        ),
        "vagus.feeds.formats.compiled",
    ),
    **dict.fromkeys(
        (
            "Constrained",
            "Optional",
            "Union",
        ),
        "vagus.feeds.formats.compounds",
    ),
    **dict.fromkeys(("Map",), "vagus.feeds.formats.keyed"),
    **dict.fromkeys(("List",), "vagus.feeds.formats.lists"),
    **dict.fromkeys(
        (
            "Record",
            "entries",
            "entry",
            "field",
        ),
        "vagus.feeds.formats.record",
    ),
    **dict.fromkeys(("Time",), "vagus.feeds.formats.timestamps"),
    **dict.fromkeys(
        (
            "Binary",
            "Bool",
            "Bytes",
            "Choice",
            "Float",
            "Int",
            "Str",
        ),
        "vagus.feeds.formats.types",
    ),
    **dict.fromkeys(
        (
            "Stream",
            "later_than",
        ),
        "vagus.feeds.stream",
    ),
    **dict.fromkeys(
        (
            "every",
            "once",
        ),
        "vagus.feeds.when",
    ),
}
"""What authors of feeds import; a process that only carries items stays without it."""


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'vagus.feeds' has no attribute {name!r}")
