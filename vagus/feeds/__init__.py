"""Feeds of data from elsewhere, declared: where it is, when it is there, what it looks like, what failure means.

Pure: time is an argument, and what is to be fetched, archived and told are directives. A fetch gives an `Item`: value
and meta. Failures are items too: value None, a network code. Raw bytes are archived before they are parsed. What is
held by name, and how to add to it: contracts.py.
"""

from vagus.feeds.contracts import FORMATS, SOURCES, STEPS, TOOLS, Format, Notice, Shape, Source, Step, Tool, ToolContext
from vagus.feeds.item import Data, Descriptor, Fetched, Item, Meta, Net, Origin, Raw, State

__all__ = [
    "FORMATS",
    "SOURCES",
    "STEPS",
    "TOOLS",
    "Data",
    "Descriptor",
    "Fetched",
    "Format",
    "Item",
    "Meta",
    "Net",
    "Notice",
    "Origin",
    "Raw",
    "Shape",
    "Source",
    "State",
    "Step",
    "Tool",
    "ToolContext",
]
