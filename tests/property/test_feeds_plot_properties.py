"""Lines of a plot: bounded, in order, made of points that came."""

from __future__ import annotations

import math

from hypothesis import example, given, settings
from hypothesis import strategies as st

from vagus.feeds.tools.plot_lines import Line


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-100, 100) | st.just(math.nan), min_size=1, max_size=400), st.integers(10, 40))
@example([0.0, 1.0] * 8 + [1.0, 0.0, math.nan], 18)  # a number, then a gap, when it is thinned
@example([0.0, 1.0] * 8 + [0.0, math.nan], 17)
def test_feature_11_plot_lines_are_bounded_in_order_and_keep_the_newest(values: list[float], most: int) -> None:
    line = Line(most)
    for n, value in enumerate(values):
        line.add(n, value)
    assert len(line.values) == len(line.t_ns) <= most
    assert line.t_ns == sorted(set(line.t_ns))
    assert all(values[t] == kept or kept != kept for t, kept in zip(line.t_ns, line.values, strict=True))
    newest = [n for n, value in enumerate(values) if value == value]
    if newest:
        assert newest[-1] in line.t_ns
