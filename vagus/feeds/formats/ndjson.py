"""JSON lines: one JSON value on each line; a broken line is counted and does not lose the rest."""

from __future__ import annotations

from typing import Any

from vagus.errors import NoData
from vagus.feeds.contracts import ANY_SHAPE, Shape
from vagus.feeds.formats.faults import Faults
from vagus.feeds.formats.inverse import inverse
from vagus.feeds.formats.json import check_depth, parse_json, print_json
from vagus.feeds.item import Descriptor


class NdJson:
    """A body as the list of its lines' values, None for a broken line; blank lines are none. max_depth: of nesting."""

    name = "ndjson"
    shape = Shape("list", parts=(("", ANY_SHAPE),))
    by_lines = True  # no line tells of another: a long file can be parsed in parts

    def __init__(self, max_depth: int = 64) -> None:
        check_depth(self.name, max_depth)
        self._max_depth = max_depth

    def parse(self, body: bytes) -> tuple[list[Any], Descriptor]:
        """The values; the descriptor of a broken one stands below its index, with the bytes of its line as span."""
        values: list[Any] = []
        faults = Faults()
        start = 0
        for line in body.split(b"\n"):
            end = start + len(line)
            if line.strip():
                value, found = parse_json(line, self._max_depth, start)
                faults.part(len(values), found)
                values.append(value)
            start = end + 1
        return values, faults.descriptor(0, len(body))

    def print(self, value: list[Any]) -> bytes:
        """A line for each value. Raises NoData for what is no list of JSON values."""
        if not isinstance(value, list):
            raise NoData(f"format ndjson prints lists of JSON values, not {type(value).__name__}")
        return inverse(self, value, b"".join(print_json(self.name, each) + b"\n" for each in value))
