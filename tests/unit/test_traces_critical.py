"""The critical path: sequential, parallel and background children, gaps, clocks that disagree."""

from __future__ import annotations

from vagus.model import Kind, Span
from vagus.traces import Graph
from vagus.traces.critical import callee, critical_path, exclusive, on_path, relation
from vagus.traces.graph import build

MS = 10**6
BASE = 10**12


def span(
    name: str,
    parent: str,
    begin: int,
    end: int,
    component: str = "",
    kind: Kind = Kind.INTERNAL,
    follows: bool = False,
) -> Span:
    where = component or name
    return Span("t", name, parent, where, where, name, BASE + begin * MS, BASE + end * MS, kind, follows=follows)


def graph(*spans: Span) -> Graph:
    (found,) = build(spans)
    return found


def told(of: Graph) -> list[tuple[str, int, int]]:
    return [(of.spans[s.span].span_id, (s.begin_ns - BASE) // MS, (s.end_ns - BASE) // MS) for s in critical_path(of)]


def test_sequential_children_are_all_on_the_path() -> None:
    of = graph(span("r", "", 0, 100), span("a", "r", 10, 40), span("b", "r", 50, 90), span("b1", "b", 60, 70))
    assert told(of) == [
        ("r", 0, 10), ("a", 10, 40), ("r", 40, 50), ("b", 50, 60), ("b1", 60, 70), ("b", 70, 90), ("r", 90, 100),
    ]  # fmt: skip


def test_of_parallel_children_the_last_to_return_is() -> None:
    of = graph(span("r", "", 0, 100), span("a", "r", 10, 60), span("b", "r", 12, 90), span("c", "r", 12, 50))
    assert told(of) == [("r", 0, 12), ("b", 12, 90), ("r", 90, 100)]


def test_what_happens_before_the_last_returned_is_on_the_path_too() -> None:
    of = graph(span("r", "", 0, 100), span("a", "r", 5, 30), span("b", "r", 5, 20), span("c", "r", 30, 95))
    assert told(of) == [("r", 0, 5), ("a", 5, 30), ("c", 30, 95), ("r", 95, 100)]
    assert [of.spans[i].span_id for i in on_path(of, critical_path(of))] == ["r", "a", "c"]


def test_background_children_are_not() -> None:
    of = graph(
        span("r", "", 0, 100),
        span("a", "r", 10, 40),
        span("outlives", "r", 20, 180),
        span("follows", "r", 50, 90, follows=True),
        span("queue", "r", 60, 62, kind=Kind.PRODUCER),
        span("worker", "queue", 61, 99, kind=Kind.CONSUMER),
    )
    assert told(of) == [("r", 0, 10), ("a", 10, 40), ("r", 40, 60), ("queue", 60, 62), ("r", 62, 100)]


def test_an_overlap_that_clocks_make_does_not_hide_a_child() -> None:
    of = graph(span("r", "", 0, 100), span("a", "r", 10, 51), span("b", "r", 50, 90))
    assert told(of) == [("r", 0, 10), ("a", 10, 50), ("b", 50, 90), ("r", 90, 100)]


def test_a_server_with_another_clock_is_shifted_into_its_client() -> None:
    client, server = Kind.CLIENT, Kind.SERVER
    of = graph(
        span("r", "", 0, 100, "web"),
        span("call", "r", 10, 60, "web", client),
        span("serve", "call", 500, 530, "db", server),
        span("query", "serve", 505, 515, "db"),
    )
    assert told(of) == [
        ("r", 0, 10), ("call", 10, 20), ("serve", 20, 25), ("query", 25, 35), ("serve", 35, 50), ("call", 50, 60),
        ("r", 60, 100),
    ]  # fmt: skip
    early = graph(span("r", "", 0, 100), span("a", "r", -20, 30))  # cannot begin before it is called
    assert told(early) == [("r", 0, 25), ("a", 25, 75), ("r", 75, 100)]
    longer = graph(span("r", "", 0, 100, "x"), span("a", "r", -20, 110, "x"))
    assert told(longer) == [("a", 0, 100)]


def test_which_child_returned_last_is_told_by_the_clock_of_its_parent() -> None:
    here = graph(span("r", "", 0, 100), span("a", "r", 25, 75), span("b", "r", 40, 60))
    behind = graph(span("r", "", 0, 100), span("a", "r", -20, 30), span("b", "r", 40, 60))
    assert told(behind) == told(here) == [("r", 0, 25), ("a", 25, 75), ("r", 75, 100)]


def test_the_gap_of_a_call_is_the_callees() -> None:
    of = graph(
        span("r", "", 0, 100, "web"),
        span("call", "r", 10, 90, "web", Kind.CLIENT),
        span("serve", "call", 40, 60, "db", Kind.SERVER),
    )
    assert exclusive(of, critical_path(of)) == {"web": 20 * MS, "db": 80 * MS}
    untold = graph(span("r", "", 0, 100, "web"), span("call", "r", 10, 90, "web"), span("serve", "call", 40, 60, "db"))
    assert callee(untold) == [-1, 2, -1]
    assert exclusive(untold, critical_path(untold)) == {"web": 20 * MS, "db": 80 * MS}


def test_a_server_that_calls_one_other_is_no_client() -> None:
    of = graph(
        span("r", "", 0, 100, "web"), span("a", "r", 10, 90, "shop"), span("b", "a", 40, 60, "db")
    )  # only servers' spans
    assert callee(of) == [-1, -1, -1]
    assert exclusive(of, critical_path(of)) == {"web": 20 * MS, "shop": 60 * MS, "db": 20 * MS}


def test_relations() -> None:
    r, a, b = span("r", "", 0, 100), span("a", "r", 10, 40), span("b", "r", 30, 60)
    assert relation(a, b) == relation(b, a) == "parallel"
    assert relation(a, span("c", "r", 40, 60)) == "sequential"
    assert relation(r, a) == "sequential"
    assert relation(r, span("late", "r", 50, 300)) == "background"
    assert relation(a, span("f", "r", 50, 60, follows=True)) == "background"


def test_an_instant_has_no_path() -> None:
    assert critical_path(graph(span("r", "", 5, 5), span("a", "r", 5, 5))) == ()
