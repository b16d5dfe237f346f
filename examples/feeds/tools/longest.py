"""A tool for every format: at each place the longest text, the extreme numbers, and how many leaves a value has at most.

In a feed's settings, with this folder on PYTHONPATH:

    tools:
      - longest:Longest: {file: longest.txt}
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vagus.feeds import Descriptor, Notice, ToolContext
from vagus.feeds.tools.files import replace
from vagus.feeds.tools.options import path_of
from vagus.feeds.tools.walk import Place, Visitor, WalkingTool


class Extremes:
    """What is kept of a place."""

    def __init__(self) -> None:
        self.longest = ""
        self.least: float | None = None
        self.most: float | None = None
        self.leaves = 0
        self.broken = 0


class Measure(Visitor):
    """The visitor: five callbacks, none of which knows the format. found: by the place's path."""

    def __init__(self) -> None:
        self.found: dict[str, Extremes] = {}

    def init(self, place: Place) -> Extremes:
        """A place is met for the first time: this is its state."""
        found = self.found[place.path] = Extremes()
        return found

    def start(self, state: Extremes, value: Any, descriptor: Descriptor | None) -> list[Any]:
        """A value begins; what is returned collects its parts: state, and how many leaves they have."""
        state.broken += bool(descriptor is not None and descriptor.errors)
        if isinstance(value, str) and len(value) > len(state.longest):
            state.longest = value
        elif isinstance(value, (int, float)):
            state.least = value if state.least is None else min(state.least, value)
            state.most = value if state.most is None else max(state.most, value)
        return [state, 0]

    def field(self, begun: list[Any], name: str, result: int) -> None:
        """A part of a record, a map or a union is done; result: what `finish` said of it."""
        begun[1] += result

    def element(self, begun: list[Any], index: int, result: int) -> None:
        """An element of a list is done."""
        begun[1] += result

    def finish(self, begun: list[Any], value: Any) -> int:
        """The value is done; the value around it is told how many leaves it has."""
        state, leaves = begun
        leaves = leaves or 1
        state.leaves = max(state.leaves, leaves)
        return int(leaves)


class Longest(WalkingTool):
    """The tool: `Longest(context, file="longest.txt")`."""

    name = "longest"

    def __init__(self, context: ToolContext, file: str = "longest.txt") -> None:
        self.measure = Measure()
        self._path = path_of(context, file)
        super().__init__(context, self.measure)

    def finish(self, now_ns: int) -> Iterable[Notice]:
        """Writes a line for each place. Raises OSError."""
        replace(self._path, "".join(f"{line}\n" for line in self.lines()).encode(errors="backslashreplace"))
        return ()

    def lines(self) -> list[str]:
        """The places in the order in which they were met."""
        return [
            f"{path}: longest {found.longest[:60]!r}, from {found.least} to {found.most}, "
            f"{found.leaves} leaves, {found.broken} broken"
            for path, found in self.measure.found.items()
        ]
