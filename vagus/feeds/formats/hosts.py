"""Node lists, as the talk's `Nodelist.pml`: on each line a comment (`#…`) or the name or address of a host."""

from __future__ import annotations

from typing import Annotated

from vagus.feeds.formats.annotated import node_of
from vagus.feeds.formats.compiled import Compiled
from vagus.feeds.formats.lists import Lines
from vagus.feeds.formats.record import Record, field
from vagus.feeds.formats.types import Str

MAX_HOSTS = 100_000
HostName = Annotated[str, Str(matching=r"[A-Za-z0-9_\[:][A-Za-z0-9_.:%\[\]-]{0,253}")]
"""A name or an address; never one that a command would take for an option."""


class Comment(Record):
    """A line that is no host."""

    text: str = field(before="#")


class Data(Record, blanks=True):
    """A host."""

    host: HostName


def hosts() -> Compiled[list[Comment | Data]]:
    """A body as a list of comments and hosts; empty lines are neither. `.flatten().where(Data)` gives the hosts."""
    return Compiled(Lines(node_of(Comment | Data), max_length=MAX_HOSTS), "hosts")
