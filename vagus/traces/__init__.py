"""Spans of a request → its execution graph → its critical path. Pure: time is an argument.

`graph` joins spans, `critical` extracts the path (FIRM, section 3.2), `joining` holds back what is not complete yet.
"""

from __future__ import annotations

import msgspec

from vagus.model import Span


class Graph(msgspec.Struct, frozen=True, array_like=True):
    """The execution graph of one request.

    spans: parents before their children, children by start; parents: of each span the index of its parent, -1 for
    roots. root: the index of the first span of the request (its longest root, where the first was lost). lost: ids of
    parents that are named and did not come. late: spans that came after the graph was first made.
    """

    trace_id: str
    spans: tuple[Span, ...]
    parents: tuple[int, ...]
    root: int
    lost: tuple[str, ...] = ()
    late: int = 0

    @property
    def latency_ns(self) -> int:
        """End to end: the root's duration."""
        return self.spans[self.root].duration_ns


class Segment(msgspec.Struct, frozen=True, array_like=True):
    """A stretch of the critical path in which one span, and no child of it, held the request up."""

    span: int
    begin_ns: int
    end_ns: int
