"""Execution graphs: joined in any order, mended where spans are missing or wrong."""

from __future__ import annotations

import random

from vagus.model import Kind, Span
from vagus.traces import Graph
from vagus.traces.graph import build

MS = 10**6


def span(name: str, parent: str, begin: int, end: int, component: str = "a", kind: Kind = Kind.INTERNAL) -> Span:
    return Span("t", name, parent, component, component, f"op-{name}", begin * MS, end * MS, kind)


def shape(graph: Graph) -> dict[str, str]:
    """Span → its parent in the graph."""
    return {
        s.span_id: graph.spans[p].span_id if p >= 0 else "" for s, p in zip(graph.spans, graph.parents, strict=True)
    }


def test_parents_come_before_children_and_children_by_start() -> None:
    spans = [span("r", "", 0, 100), span("b", "r", 50, 90), span("a", "r", 10, 40), span("a1", "a", 11, 20)]
    graph = build(spans)[0]
    assert [s.span_id for s in graph.spans] == ["r", "a", "a1", "b"]
    assert graph.parents == (-1, 0, 1, 0)
    assert graph.root == 0
    assert graph.latency_ns == 100 * MS
    assert graph.lost == ()


def test_any_order_gives_the_same_graph() -> None:
    spans = [span("r", "", 0, 100), span("a", "r", 10, 40), span("b", "gone", 12, 30), span("c", "c", 12, 30)]
    spans += [span("x", "y", 60, 70), span("y", "x", 60, 80), span("b", "gone", 12, 30)]
    expected = build(spans)[0]
    for seed in range(20):
        shuffled = list(spans)
        random.Random(seed).shuffle(shuffled)
        assert build(shuffled)[0] == expected


def test_each_trace_has_its_graph() -> None:
    other = Span("u", "r", "", "a", "a", "op", 0, 5)
    assert [g.trace_id for g in build([span("r", "", 0, 9), other, span("a", "r", 1, 2)])] == ["t", "u"]


def test_what_comes_twice_counts_once_and_the_fuller_one_stays() -> None:
    graph = build([span("r", "", 0, 100), span("a", "r", 10, 20), span("a", "r", 10, 40)])[0]
    assert [s.end_ns // MS for s in graph.spans] == [100, 40]


def test_a_server_that_shares_its_clients_id_is_its_child() -> None:
    client = span("c", "r", 10, 50, "web", Kind.CLIENT)
    server = span("c", "r", 15, 45, "db", Kind.SERVER)
    below = span("q", "c", 20, 30, "db")
    for spans in ([client, server, below], [below, server, client]):
        graph = build([span("r", "", 0, 100, "web"), *spans])[0]
        assert [(s.component, s.kind) for s in graph.spans[1:3]] == [("web", Kind.CLIENT), ("db", Kind.SERVER)]
        assert graph.parents == (-1, 0, 1, 2)


def test_orphans_hang_from_the_deepest_span_that_encloses_them() -> None:
    spans = [span("r", "", 0, 100), span("a", "r", 10, 60), span("a1", "a", 15, 50), span("b", "r", 10, 90)]
    graph = build([*spans, span("o", "lost", 20, 30), span("o1", "o", 21, 22)])[0]
    assert shape(graph)["o"] == "a1"
    assert shape(graph)["o1"] == "o"
    assert graph.lost == ("lost",)


def test_an_orphan_that_nothing_encloses_is_a_root_but_not_the_first() -> None:
    graph = build([span("r", "", 0, 100), span("o", "lost", 90, 300)])[0]
    assert shape(graph) == {"r": "", "o": ""}
    assert graph.spans[graph.root].span_id == "r"


def test_where_the_first_span_is_lost_the_longest_stands_for_it() -> None:
    graph = build([span("a", "r", 0, 10), span("b", "r", 20, 90)])[0]
    assert graph.spans[graph.root].span_id == "b"
    assert graph.lost == ("r",)


def test_cycles_and_own_parents_are_cut() -> None:
    graph = build([span("r", "", 0, 100), span("x", "y", 10, 50), span("y", "x", 5, 60), span("s", "s", 70, 80)])[0]
    assert shape(graph) == {"r": "", "y": "r", "x": "y", "s": "r"}
    only = build([span("x", "z", 10, 50), span("y", "x", 5, 60), span("z", "y", 7, 20), span("w", "z", 8, 9)])[0]
    assert shape(only) == {"y": "", "z": "y", "x": "z", "w": "z"}
    assert len(only.spans) == 4


def test_ten_thousand_deep_is_no_recursion() -> None:
    spans = [span(str(i), str(i - 1) if i else "", i, 20_000 - i) for i in range(10_000)]
    graph = build(spans)[0]
    assert graph.parents == tuple(range(-1, 9_999))


def test_orphans_by_the_thousand_take_bounded_time() -> None:
    spans = [span("r", "", 0, 100_000), *(span(f"o{i}", f"p{i}", i, i + 1) for i in range(5_000))]
    graph = build(spans)[0]
    assert len(graph.lost) == 5_000
    assert all(p >= 0 for p in graph.parents[1:])
