"""CoMon's slice dump: for each node a block with its slices, what uses most first, or `(null)` when it gave none."""

from __future__ import annotations

from typing import Annotated

from vagus.feeds.formats.annotated import Word, node_of
from vagus.feeds.formats.compiled import Compiled
from vagus.feeds.formats.compounds import Optional
from vagus.feeds.formats.lists import Lines, List
from vagus.feeds.formats.record import Record, field
from vagus.feeds.formats.types import Str

Rest = Annotated[str, Str(until="\n")]


class Slice(Record, sep=" ", blanks=True):
    """A slice on a node. The dump does not name its columns; these names are after Slicestat's.

    sent, received: kbit/s over 1 and 15 minutes. Memory in MB, cpu and memory in percent of the node.
    """

    context: int
    sent1: int
    sent15: int
    received1: int
    received15: int
    processes: int
    resident: float = field(unit="MB")
    virtual: float = field(unit="MB")
    cpu: float = field(unit="percent", min=0)
    memory: float = field(unit="percent", min=0)
    connections: int = field()
    most_connections: int = field()
    name: Word = field()


class SliceDump(Record, layout="Start: {start} {started}\nNode: {node}\n{slices}"):
    """A node's block. start: seconds since 1970; started: the same in words; slices: None for `(null)`."""

    start: int = field(unit="s", min=0)
    started: Rest = field()
    node: Rest = field()
    slices: Annotated[list[Slice] | None, Optional(List(node_of(Slice), sep="\n"), none="(null)")] = field()


def comon_slices() -> Compiled[list[SliceDump]]:
    """A body as the list of its blocks."""
    return Compiled(Lines(node_of(SliceDump), sep="\n\n"), "comon_slices")
