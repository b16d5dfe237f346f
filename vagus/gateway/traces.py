"""What is asked about traces, and what is shown of one: its graph, its critical path, in a line or whole. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from vagus.model import Span
from vagus.traces import Graph, Segment
from vagus.traces.critical import critical_path, exclusive
from vagus.traces.graph import build


class TraceQuestion(msgspec.Struct, frozen=True, array_like=True):
    """Which traces: with a span that begins in [start_ns, end_ns), of this service and operation where one is given.

    least_ns: traces whose first span is here and shorter are left out.
    """

    start_ns: int
    end_ns: int
    limit: int
    service: str = ""
    operation: str = ""
    least_ns: int = 0


class Found(msgspec.Struct, frozen=True, array_like=True):
    """Trace ids, newest first, each with the time of the span that it was found by; whole: nothing was left out."""

    traces: tuple[tuple[int, str], ...]
    whole: bool = True


class TraceSummary(msgspec.Struct, frozen=True):
    """A trace in a line. service, operation, t_ns, latency_ns: of its first span.

    slowest: the component that held it up the longest on the critical path, and for how long. lost: parents that are
    named and did not come. nodes: whose gateways took its spans.
    """

    trace_id: str
    t_ns: int
    service: str
    operation: str
    latency_ns: int
    spans: int
    services: int
    errors: int
    lost: int
    slowest: str
    slowest_ns: int
    nodes: list[str]


class TraceView(msgspec.Struct, frozen=True):
    """A trace whole: its spans, parents before children, of each the place of its parent (-1: none), and the path.

    critical: stretches in order, without gap or overlap, each with the place of the span that held the request up then;
    critical_ns: of each component how long it did.
    """

    trace_id: str
    latency_ns: int
    root: int
    spans: list[Span]
    parents: list[int]
    critical: list[CriticalStretch]
    critical_ns: dict[str, int]
    lost: list[str]


class CriticalStretch(msgspec.Struct, frozen=True):
    """A stretch of the critical path."""

    span: int
    begin_ns: int
    end_ns: int


def summaries(spans: Iterable[Span]) -> list[TraceSummary]:
    """Each trace of these spans in a line, newest first."""
    found = [_summary(graph) for graph in build(spans)]
    return sorted(found, key=lambda summary: (-summary.t_ns, summary.trace_id))


def views(spans: Iterable[Span]) -> list[TraceView]:
    """Each trace of these spans whole."""
    return [view_of(graph) for graph in build(spans)]


def view_of(graph: Graph) -> TraceView:
    """A graph with its critical path."""
    path: Sequence[Segment] = critical_path(graph)
    stretches = [CriticalStretch(s.span, s.begin_ns, s.end_ns) for s in path]
    return TraceView(
        *(graph.trace_id, graph.latency_ns, graph.root, list(graph.spans), list(graph.parents), stretches),
        *(exclusive(graph, path), list(graph.lost)),
    )


def _summary(graph: Graph) -> TraceSummary:
    root = graph.spans[graph.root]
    took = exclusive(graph, critical_path(graph))
    slowest = max(took, key=lambda name: (took[name], name), default="")
    return TraceSummary(
        *(graph.trace_id, root.start_ns, root.service, root.operation, graph.latency_ns, len(graph.spans)),
        *(len({span.service for span in graph.spans}), sum(span.error for span in graph.spans), len(graph.lost)),
        *(slowest, took.get(slowest, 0), sorted({span.node for span in graph.spans if span.node})),
    )
