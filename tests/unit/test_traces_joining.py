"""Joining: complete when quiet, late spans, bounds."""

from __future__ import annotations

import random

from vagus.config.act import TraceSettings
from vagus.model import Span
from vagus.traces.joining import LONGEST, Joiner

S = 10**9


def span(trace: str, name: str, parent: str = "", begin: int = 0, end: int = 10) -> Span:
    return Span(trace, name, parent, "a", "a", "op", begin, end)


def joiner(**settings: object) -> Joiner:
    return Joiner(TraceSettings(**{"wait": "5s", **settings}))  # type: ignore[arg-type]


def test_a_request_is_complete_once_it_is_quiet() -> None:
    join = joiner()
    join.add([span("t", "b", "a", 2, 3), span("u", "x")], 0)
    join.add([span("t", "a")], 4 * S)
    assert [g.trace_id for g in join.due(5 * S)] == ["u"]
    assert join.due(8 * S) == []
    (graph,) = join.due(9 * S)
    assert graph.parents == (-1, 0)
    assert graph.late == 0
    assert join.figures["traces_waiting"] == join.figures["spans_waiting"] == 0


def test_late_spans_bring_the_graph_again() -> None:
    join = joiner()
    join.add([span("t", "a")], 0)
    assert len(join.due(5 * S)) == 1
    join.add([span("t", "b", "a", 2, 3)], 6 * S)
    (graph,) = join.due(11 * S)
    assert graph.late == 1
    assert len(graph.spans) == 2
    join.add([span("t", "b", "a", 2, 3)], 12 * S)  # sent twice: nothing new
    assert join.due(20 * S) == []
    assert join.figures["duplicates"] == 1
    join.add([span("t", "c", "a", 2, 3)], 21 * S)
    assert [g.late for g in join.due(30 * S)] == [2]
    assert join.figures["graphs"] == 1
    assert join.figures["graphs_again"] == 2


def test_too_many_requests_the_quietest_goes_early_and_keeps_what_comes() -> None:
    join = joiner(max_traces=2)
    join.add([span("t", "a"), span("u", "a"), span("v", "a")], 0)
    join.add([span("t", "b", "a", 1, 2)], 0)
    graphs = join.due(1)
    assert [(g.trace_id, len(g.spans)) for g in graphs] == [("t", 2)]
    assert join.figures["graphs_early"] == 1
    assert [g.trace_id for g in join.due(5 * S)] == ["u", "v"]


def test_memory_is_bounded_where_nobody_asks() -> None:
    join = joiner(max_traces=10, max_spans=100, max_trace_spans=20)
    for i in range(1_000):
        join.add([span(f"t{i}", str(n)) for n in range(30)], i)
    figures = join.figures
    assert figures["spans_waiting"] <= 200
    assert figures["traces_waiting"] <= 10
    assert figures["too_many"] == 10 * 1_000
    assert figures["dropped"] > 0
    assert figures["spans"] == 30_000 == figures["too_many"] + figures["dropped"] + figures["spans_waiting"]
    join.due(10**12)
    assert join.figures["spans_waiting"] == 0
    assert join.figures["spans_recent"] <= 100


def test_spans_of_requests_long_gone_are_counted() -> None:
    join = joiner(max_traces=1)
    for name in "abc":
        join.add([span(name, "x")], 0)
        join.due(100 * S)
    join.add([span("a", "y")], 101 * S)
    assert join.figures["too_late"] == 1
    assert join.due(200 * S) == []


def test_a_request_that_never_goes_quiet_is_handed_out() -> None:
    join = joiner()
    given = []
    for i in range(LONGEST * 5 + 10):
        join.add([span("t", str(i))], i * S)
        given += join.due(i * S)
    assert len(given) == 1
    assert given[0].late == 0


def test_a_clock_that_is_set_back_holds_nobody_up() -> None:
    join = joiner()
    join.add([span("t", "a")], 86_400 * S)
    join.add([span("u", "a")], 0)
    assert [g.trace_id for g in join.due(5 * S)] == ["t", "u"]


def test_what_is_counted_is_what_is_kept_however_spans_come() -> None:
    rng = random.Random(1)
    join = joiner(max_traces=20, max_spans=100, max_trace_spans=10)
    now = 0
    for _ in range(5_000):
        now += rng.choice([0, 1, S, -S, 10 * S])
        join.add([span(f"t{rng.randrange(200)}", str(rng.randrange(30)))], max(now, 0))
        if rng.random() < 0.1:
            join.due(max(now, 0))
        figures = join.figures
        assert 0 <= figures["spans_waiting"] <= 200
        assert 0 <= figures["spans_recent"] <= 100
        assert figures["traces_recent"] <= 20
        assert (figures["spans_recent"] == 0) == (figures["traces_recent"] == 0)
    assert figures["too_late"] > 0
