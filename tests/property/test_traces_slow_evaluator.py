"""The critical path of random trees is that of a slow evaluator, which asks of each moment whose it is."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.model import Span
from vagus.traces import critical
from vagus.traces.graph import build

Made = tuple[int, int, int, int]  # number, parent, start, end


@st.composite
def trees(draw: st.DrawFn) -> list[Made]:
    """Every child lies within its parent; siblings follow each other, overlap, are instants, begin or end at once."""
    made: list[Made] = [(0, -1, 0, 60)]
    for _ in range(draw(st.integers(0, 11))):
        _, _, low, high = made[parent := draw(st.integers(0, len(made) - 1))]
        siblings = [one for one in made if one[1] == parent]
        begin, end = sorted((draw(st.integers(low, high)), draw(st.integers(low, high))))
        if siblings and draw(st.booleans()):  # after one of them, or over the same time but for its end
            _, _, left, right = draw(st.sampled_from(siblings))
            begin, end = (right, max(right, end)) if draw(st.booleans()) else (left, max(left, end))
        if not any(one[2:] == (begin, end) for one in siblings):  # which of twins it is nobody knows
            made.append((len(made), parent, begin, end))
    return made


def moments(made: list[Made]) -> list[int]:
    """Whose each moment is: FIRM, section 3.2: n, path(last-returned child), path(each child that happens before it)."""
    whose = [0] * (made[0][3] - made[0][2])

    def walk(parent: int, begin: int, end: int) -> None:
        whose[begin:end] = [parent] * (end - begin)
        before = end
        for _, number, start, stop in sorted(
            ((-one[3], one[0], one[2], one[3]) for one in made if one[1] == parent and one[2] < one[3]),
            key=lambda child: (child[0], child[2]),
        ):
            if stop <= before:
                walk(number, start, stop)
                before = start

    walk(0, made[0][2], made[0][3])
    return whose


@given(trees())
@settings(deadline=None, max_examples=100)
def test_every_moment_is_whose_a_slow_evaluator_says(made: list[Made]) -> None:
    spans = [Span("t", str(n), str(p) if p >= 0 else "", "s", "c", "op", start, end) for n, p, start, end in made]
    (graph,) = build(reversed(spans))
    slack, critical.SLACK = critical.SLACK, 0.0  # the paper knows no clocks that disagree
    try:
        path = critical.critical_path(graph)
    finally:
        critical.SLACK = slack
    told = [int(graph.spans[s.span].span_id) for s in path for _ in range(s.begin_ns, s.end_ns)]
    assert told == moments(made)
