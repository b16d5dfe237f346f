"""Spans as records of the store: how they are indexed, and how traces are found again. Pure, but for the reading."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from vagus.gateway.traces import Found, TraceQuestion
from vagus.model import MAX_T_NS, Span

SPAN = "span"
ENTRY = ("entry", "1")
"""Index pair of what a list of traces goes by: first spans of requests, and the first that came here of a trace."""
MAX_RECENT = 50_000  # traces of which it is known that one came
MAX_LOOKED_AT = 100_000  # spans, for one list


class SpanIndex:
    """The index pairs of spans that come: trace, service, operation; `entry` for those that lists go by."""

    def __init__(self) -> None:
        self._recent: dict[str, None] = {}

    def of(self, span: Span) -> dict[str, str]:
        """The pairs of one span; asked once for each, as they come."""
        pairs = {"trace": span.trace_id, "service": span.service, "operation": span.operation}
        known = span.trace_id in self._recent
        if not known:
            if len(self._recent) >= MAX_RECENT:
                for old in list(self._recent)[: MAX_RECENT // 2]:
                    del self._recent[old]
            self._recent[span.trace_id] = None
        if not known or not span.parent_id:
            pairs[ENTRY[0]] = ENTRY[1]
        return pairs


class Records(Protocol):
    """The part of a store's reader that is needed."""

    def records(
        self,
        kind: str,
        type: type[Any],
        start_ns: int = 0,
        end_ns: int = MAX_T_NS,
        *,
        where: tuple[str, str] | None = None,
        limit: int = 0,
        newest_first: bool = True,
    ) -> Iterator[Any]: ...


def find_traces(reader: Records, asked: TraceQuestion) -> Found:
    """The newest traces that the question means, of one node. At most 100,000 spans are looked at."""
    where = ENTRY
    if asked.service:
        where = ("service", asked.service)
    elif asked.operation:
        where = ("operation", asked.operation)
    found: dict[str, int] = {}
    short: set[str] = set()
    looked = 0
    for span in reader.records(SPAN, Span, asked.start_ns, asked.end_ns, where=where):
        looked += 1
        if looked > MAX_LOOKED_AT:
            return Found(_newest(found, asked.limit), False)
        if asked.operation and span.operation != asked.operation:
            continue
        if not span.parent_id and span.duration_ns < asked.least_ns:
            short.add(span.trace_id)
            found.pop(span.trace_id, None)
            continue
        if span.trace_id not in found and span.trace_id not in short:
            if len(found) >= asked.limit:
                return Found(_newest(found, asked.limit), False)
            found[span.trace_id] = span.start_ns
    return Found(_newest(found, asked.limit))


def _newest(found: dict[str, int], limit: int) -> tuple[tuple[int, str], ...]:
    return tuple(sorted(((t_ns, trace_id) for trace_id, t_ns in found.items()), reverse=True)[:limit])


def spans_of(reader: Records, traces: Sequence[str], most: int) -> list[Span]:
    """The spans of these traces that are stored here, at most `most`, trace by trace."""
    spans: list[Span] = []
    for trace_id in traces:
        if len(spans) >= most:
            break
        spans += reader.records(SPAN, Span, where=("trace", trace_id), limit=most - len(spans), newest_first=False)
    return spans
