"""Whatever spans come: the graph has each once, and the path tiles the request."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.model import Kind, Span
from vagus.traces.critical import critical_path, exclusive
from vagus.traces.graph import build

NAMES = [str(i) for i in range(12)]


@st.composite
def spans(draw: st.DrawFn) -> list[Span]:
    made = []
    for _ in range(draw(st.integers(1, 25))):
        begin = draw(st.integers(0, 200))
        made.append(
            Span(
                "t",
                draw(st.sampled_from(NAMES)),
                draw(st.sampled_from(["", *NAMES, "lost"])),
                "s",
                draw(st.sampled_from("abc")),
                "op",
                begin,
                begin + draw(st.integers(0, 100)),
                draw(st.sampled_from(list(Kind))),
                follows=draw(st.booleans()),
            )
        )
    return made


@given(spans(), st.randoms())
@settings(deadline=None, max_examples=100)
def test_the_graph_has_each_span_once_and_the_path_tiles_the_request(given_spans: list[Span], random: object) -> None:
    (graph,) = build(given_spans)
    assert {s.span_id for s in graph.spans} == {s.span_id for s in given_spans}
    assert all(p < i for i, p in enumerate(graph.parents))
    shuffled = list(given_spans)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert build(shuffled) == [graph]
    path = critical_path(graph)
    root = graph.spans[graph.root]
    assert sum(s.end_ns - s.begin_ns for s in path) == root.duration_ns
    assert all(a.end_ns == b.begin_ns for a, b in itertools.pairwise(path))
    assert not path or (path[0].begin_ns, path[-1].end_ns) == (root.start_ns, root.end_ns)
    assert sum(exclusive(graph, path).values()) == root.duration_ns
