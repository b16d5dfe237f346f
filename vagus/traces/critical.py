"""The critical path of an execution graph: FIRM (OSDI'20), section 3.2. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from vagus.model import Kind, Span
from vagus.traces import Graph, Segment

SLACK = 0.1  # of the shorter one: two spans that overlap by less are one after the other, with clocks that disagree

Relation = Literal["sequential", "parallel", "background"]


def relation(a: Span, b: Span) -> Relation:
    """How two children of one span, or a parent `a` and its child `b`, run: one after the other, at once, or `b` on its own."""
    if a.span_id == b.parent_id and a.trace_id == b.trace_id:
        return "background" if background(a, b) else "sequential"
    if a.follows or b.follows or Kind.CONSUMER in (a.kind, b.kind):
        return "background"
    return "sequential" if happens_before(a, b) or happens_before(b, a) else "parallel"


def happens_before(a: Span, b: Span) -> bool:
    """Whether `a` returned before `b` began (an overlap that clocks may have made is none)."""
    return a.end_ns <= b.start_ns + SLACK * min(a.duration_ns, b.duration_ns) and a.end_ns <= b.end_ns


def background(parent: Span, child: Span) -> bool:
    """Whether the parent does not wait for this child: it only follows, comes out of a queue, or ends after the parent.

    The answer to a call is waited for, so a server that seems to end after its client has another clock.
    """
    if child.follows or child.kind is Kind.CONSUMER or parent.kind is Kind.PRODUCER:
        return True
    late = child.end_ns - parent.end_ns
    if late <= 0 or (child.kind is Kind.SERVER and parent.kind is Kind.CLIENT):
        return False
    if child.start_ns < parent.start_ns and child.component != parent.component:
        return False  # it cannot begin before it is called: another clock
    return late > SLACK * min(child.duration_ns, parent.duration_ns)


def critical_path(graph: Graph) -> tuple[Segment, ...]:
    """What held the request up, from its begin to its end: segments in order that neither overlap nor leave a gap.

    Longest path of n = n + path(child that returned last) + path of the children that happen before it, recursively:
    of those the last to return is again the next, so that of parallel children the one waited for is on the path.
    Background children are not. A child of another clock that lies outside of its parent is shifted into it, and
    clipped where it is too long. A segment belongs to the span that ran while none of its children on the path did.
    """
    spans, parents = graph.spans, graph.parents
    children: dict[
        int, list[tuple[int, int, int, int]]
    ] = {}  # parent → (end, -start, child, by how much it is shifted)
    for i, parent in enumerate(parents):
        if parent >= 0:
            above, span = spans[parent], spans[i]
            start, end = span.start_ns, span.end_ns
            if (
                end > above.end_ns or span.follows or span.kind is Kind.CONSUMER or above.kind is Kind.PRODUCER
            ) and background(above, span):
                continue
            shift = 0
            if (start < above.start_ns or end > above.end_ns) and span.component != above.component:
                shift = _shift(above, start, end)
            if parent in children:
                children[parent].append((end + shift, -start - shift, i, shift))
            else:
                children[parent] = [(end + shift, -start - shift, i, shift)]
    found: list[Segment] = []  # from the last to the first
    here, offset = graph.root, 0  # which span; what to add to its clock
    begin, cursor = spans[here].start_ns, spans[here].end_ns  # its time on the path that is not told yet
    ahead = -1  # how long the child was that follows at the cursor; -1: none yet
    waiting = sorted(children.get(here, ()))
    stack: list[tuple[int, int, int, int, int, list[tuple[int, int, int, int]]]] = []
    while True:
        while waiting:
            end, start, child, shift = waiting.pop()
            length = end + start
            start = offset - start
            end += offset
            shift += offset
            if end > cursor:
                if ahead >= 0 and end - cursor > SLACK * min(length, ahead):
                    continue  # parallel to what is on the path already
                end = cursor
            if start < begin:
                start = begin
            if end <= start:
                continue
            if end < cursor:
                found.append(Segment(here, end, cursor))
            below = children.get(child)
            if below is None:
                found.append(Segment(child, start, end))
                cursor, ahead = start, length
                continue
            stack.append((here, begin, start, offset, length, waiting))
            here, begin, cursor, offset, ahead, waiting = child, start, end, shift, -1, sorted(below)
        if begin < cursor:
            found.append(Segment(here, begin, cursor))
        if not stack:
            break
        here, begin, cursor, offset, ahead, waiting = stack.pop()
    found.reverse()
    return tuple(found)


def _shift(parent: Span, start: int, end: int) -> int:
    """By how much to shift a child of another clock: into the middle of its parent, or 0 where it is longer."""
    spare = parent.duration_ns - (end - start)
    return parent.start_ns + spare // 2 - start if spare >= 0 else 0


def callee(graph: Graph) -> list[int]:
    """Of each span that only waits for an answer (a client's), the index of the server's span; -1 for all others.

    A client's span is one of that kind with a child in another component; where kinds are not told (CSV), one with a
    single child, which is in another component, below a span of its own component. What hangs there only because its
    own parent is lost is no answer.
    """
    spans, parents = graph.spans, graph.parents
    only = [-1] * len(spans)
    for i, parent in enumerate(parents):
        if parent >= 0 and spans[i].component != spans[parent].component:
            child = spans[i]
            told = spans[parent].span_id in (child.parent_id, child.span_id)
            only[parent] = i if only[parent] == -1 and told else -2
        elif parent >= 0 and spans[parent].kind is not Kind.CLIENT:
            only[parent] = -2
    for i, answer in enumerate(only):
        kind, parent = spans[i].kind, parents[i]
        seems = kind is Kind.INTERNAL and parent >= 0 and spans[parent].component == spans[i].component
        if answer < 0 or not (seems or kind is Kind.CLIENT):
            only[i] = -1
    return only


def exclusive(graph: Graph, segments: Iterable[Segment]) -> dict[str, int]:
    """Nanoseconds of the path for each component; what passes between a client's span and its server's is the callee's."""
    answering = callee(graph)
    spans = graph.spans
    took: dict[str, int] = {}
    for segment in segments:
        at = answering[segment.span]
        name = spans[segment.span if at < 0 else at].component
        took[name] = took.get(name, 0) + segment.end_ns - segment.begin_ns
    return took


def on_path(graph: Graph, segments: Sequence[Segment]) -> list[int]:
    """Indices of the spans on the path, in order of the graph: those with a segment, and those that enclose them."""
    held: set[int] = set()
    for segment in segments:
        i = segment.span
        while i >= 0 and i not in held:
            held.add(i)
            i = graph.parents[i]
    return sorted(held)
