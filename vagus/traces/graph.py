"""Spans in any order → the execution graph of each request. Pure."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence
from operator import attrgetter

from vagus.model import Kind, Span
from vagus.traces import Graph

MOST_COMPARED = 1_000_000  # of one trace: orphans times spans that are looked at for a place
FIRST, LOST = -1, -2  # instead of a parent: there is none; it is not among the spans, or must not be followed

_by_start = attrgetter("start_ns", "span_id")


def build(spans: Iterable[Span]) -> list[Graph]:
    """One graph for each trace id, in the order in which the traces first appear.

    A span that comes twice counts once, the one that ends last; a server's span under the id of its client's (Zipkin's
    shared ids) becomes the client's child. Cycles are cut at the span that starts first. What hangs from a lost parent,
    or was cut, is attached to the deepest span of the trace that encloses it in time, or stands as a root of its own.
    """
    traces: dict[str, list[Span]] = {}
    for span in spans:
        known = traces.get(span.trace_id)
        if known is None:
            traces[span.trace_id] = [span]
        else:
            known.append(span)
    return [graph_of(trace_id, group) for trace_id, group in traces.items()]


def graph_of(trace_id: str, spans: Sequence[Span]) -> Graph:
    """The graph of the spans of one trace, which are at least one; see `build`."""
    ordered = sorted(spans, key=_by_start)
    clients: dict[int, int] = {}
    ids = {span.span_id: i for i, span in enumerate(ordered)}
    if len(ids) < len(ordered):
        ordered, ids, clients = _without_twins(ordered)
    parents: list[int] = []
    children: list[list[int]] = [[] for _ in ordered]
    tops: list[int] = []
    lost: dict[str, None] = {}
    for i, span in enumerate(ordered):
        named = span.parent_id
        if i in clients:
            parent = clients[i]
        elif not named:
            parent = FIRST
        else:
            parent = ids.get(named, LOST)
            if parent == LOST:
                lost[named] = None
        parents.append(parent)
        if parent >= 0:
            children[parent].append(i)
        else:
            tops.append(i)
    root = tops[0] if tops else 0
    order, above, place = _preorder(children, tops)
    if len(tops) != 1 or len(order) < len(ordered):
        tops, root = _mend(ordered, parents, children)
        order, above, place = _preorder(children, tops)
    return Graph(trace_id, tuple([ordered[i] for i in order]), tuple(above), place[root], tuple(lost))


def _without_twins(spans: Sequence[Span]) -> tuple[list[Span], dict[str, int], dict[int, int]]:
    """Each span once; where each id is; of servers that share their client's id: where that client is."""
    best: dict[tuple[str, Kind | None], Span] = {}
    for span in spans:
        key = (span.span_id, span.kind if span.kind is Kind.SERVER else None)
        held = best.get(key)
        if held is None or _fullness(span) > _fullness(held):
            best[key] = span
    shared = {name for name, kind in best if kind and getattr(best.get((name, None)), "kind", None) is Kind.CLIENT}
    kept: dict[tuple[str, bool], Span] = {}
    for (name, kind), span in best.items():  # anything else under a server's id is that span, told otherwise
        own = (name, kind is not None and name in shared)
        if own not in kept or _fullness(span) > _fullness(kept[own]):
            kept[own] = span
    order = sorted(kept, key=lambda own: (kept[own].start_ns, own))
    at = {own: i for i, own in enumerate(order)}
    # What the server called names the shared id: it hangs from the server.
    ids = {name: at[name, name in shared] for name, _ in order}
    return [kept[own] for own in order], ids, {at[name, True]: at[name, False] for name in shared}


def _fullness(span: Span) -> tuple[int, int, str, str, str, str]:
    return (span.end_ns, -span.start_ns, span.component, span.operation, span.kind.value, span.parent_id)


def _mend(spans: Sequence[Span], parents: list[int], children: list[list[int]]) -> tuple[list[int], int]:
    """Cut cycles and hang orphans where they belong, in `children`; the roots, and which is the request's first."""
    for i in _in_cycles(parents):
        children[parents[i]].remove(i)
        parents[i] = LOST
    roots = [i for i, parent in enumerate(parents) if parent == FIRST]
    firsts = list(roots)
    reached, _, _ = _preorder(children, roots)
    depth = [0] * len(spans)
    for root in roots:
        _deepen(children, root, depth)
    allowed = MOST_COMPARED
    for orphan in (i for i, parent in enumerate(parents) if parent == LOST):
        allowed -= len(reached)
        host = _host(spans, orphan, reached if allowed > 0 else roots[:1], depth)
        if host < 0:
            roots.append(orphan)
        else:
            insort(children[host], orphan)
            depth[orphan] = depth[host] + 1
        reached += _deepen(children, orphan, depth)
    roots.sort()
    return roots, firsts[0] if firsts else max(roots, key=lambda i: (spans[i].duration_ns, -i))


def _in_cycles(parents: Sequence[int]) -> list[int]:
    """The first span of each cycle."""
    found = []
    seen = [-1] * len(parents)  # by the walk from which span
    for start in range(len(parents)):
        i = start
        while i >= 0 and seen[i] < 0:
            seen[i] = start
            i = parents[i]
        if i >= 0 and seen[i] == start:  # this walk came back to where it was
            cycle = [i]
            while parents[cycle[-1]] != i:
                cycle.append(parents[cycle[-1]])
            found.append(min(cycle))
    return found


def _host(spans: Sequence[Span], orphan: int, among: Sequence[int], depth: Sequence[int]) -> int:
    """The deepest that encloses the orphan in time, of these the shortest; -1: none."""
    begin, end = spans[orphan].start_ns, spans[orphan].end_ns
    enclosing = [i for i in among if spans[i].start_ns <= begin and end <= spans[i].end_ns]
    return max(enclosing, key=lambda i: (depth[i], -spans[i].duration_ns, -i), default=-1)


def _deepen(children: list[list[int]], top: int, depth: list[int]) -> list[int]:
    """Sets the depth of all below `top`; which these are, and it."""
    found = [top]
    for i in found:
        for child in children[i]:
            depth[child] = depth[i] + 1
            found.append(child)
    return found


def _preorder(children: list[list[int]], roots: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """Parents before children; the place of each one's parent, -1 for roots; where each index went, -1: not reached."""
    placed: list[int] = []
    above: list[int] = []
    place = [-1] * len(children)
    stack = [(root, -1) for root in reversed(roots)]
    while stack:
        i, parent = stack.pop()
        here = place[i] = len(placed)
        placed.append(i)
        above.append(parent)
        if children[i]:
            stack += [(child, here) for child in reversed(children[i])]
    return placed, above, place
