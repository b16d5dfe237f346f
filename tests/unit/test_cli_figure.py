"""Which lines a figure shows, and how numbers, names and gaps are drawn."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from vagus.cli.figure import (
    LETTERS,
    MOST_LINES,
    MOST_PANELS,
    Line,
    axis_text,
    break_gaps,
    choose,
    draw_terminal,
    nice_ticks,
    short_names,
    thin,
)
from vagus.cli.output import age, byte_size, quantity, span

NAN = math.nan


def line(name: str, size: float, unit: str = "", count: int = 50) -> Line:
    return Line(name, unit, [float(i) for i in range(count)], [size * math.sin(i) for i in range(count)])


def test_the_most_varying_are_chosen_and_the_title_says_so() -> None:
    choice = choose([line(f"s{size:02}", float(size)) for size in range(30)])
    assert [chosen.name for chosen in choice.lines] == [f"s{size:02}" for size in range(18, 30)]
    assert choice.remark == " (the 12 most varying of 30 series)"
    assert choose([line("a", 1.0)]).remark == ""


def test_units_take_turns() -> None:
    large = [line(f"b{n}", 1e9 * n, "bytes") for n in range(1, 20)]
    choice = choose([*large, line("r", 0.01, "ratio"), line("r2", 0.02, "ratio")])
    assert {unit: len(panel) for unit, panel in choice.panels.items()} == {"bytes": 10, "ratio": 2}
    many = choose([line(f"u{n}", 1.0, f"unit{n}") for n in range(9)])
    assert len(many.panels) == MOST_PANELS
    assert "4 most varying of 9" in many.remark


def test_lines_that_never_change_give_way() -> None:
    flat = [line(f"flat{n}", 0.0, "count") for n in range(11)]
    choice = choose([*flat, line("a", 1.0), line("b", 1.0)])
    assert [chosen.name for chosen in choice.lines] == ["a", "b"]
    assert len(choose(flat).lines) == 11
    assert len(choose(flat * 2).lines) == MOST_LINES


def test_lines_without_numbers_are_harmless() -> None:
    empty = Line("n", "", [0.0, 1.0], [NAN, NAN])
    assert choose([empty]).lines == [empty]
    draw_terminal(choose([empty]), "t", Console(file=io.StringIO(), width=80))


def test_thin_keeps_peaks_and_gaps() -> None:
    values = [0.0] * 10_000
    values[5_001], values[7_777] = 9.0, -9.0
    values[2_000:3_000] = [NAN] * 1_000
    thinned = thin(Line("x", "", [float(i) for i in range(10_000)], values), 200)
    assert len(thinned.values) <= 220
    assert (max(v for v in thinned.values if v == v), min(v for v in thinned.values if v == v)) == (9.0, -9.0)
    assert any(v != v for v in thinned.values)
    assert thinned.t_s == sorted(thinned.t_s)
    assert thinned.t_s[thinned.values.index(9.0)] == 5_001


def test_a_pause_breaks_the_line() -> None:
    times = [*map(float, range(10)), *map(float, range(60, 70))]
    broken = break_gaps(Line("x", "", times, [1.0] * 20))
    assert len(broken.values) == 21
    assert math.isnan(broken.values[10])
    assert 9 < broken.t_s[10] < 60
    steady = Line("x", "", times[:10], [1.0] * 10)
    assert break_gaps(steady) == steady


@pytest.mark.parametrize(
    ("low", "high", "unit", "ticks"),
    [
        (0, 10, "", [0, 2, 4, 6, 8, 10]),
        (0.013, 0.047, "", [0.02, 0.03, 0.04]),
        (0, 6 * 2**30, "bytes", [n * 2**30 for n in range(7)]),
        (5, 5, "", [5]),
        (-3e9, 3e9, "", [-3e9, -2e9, -1e9, 0, 1e9, 2e9, 3e9]),
    ],
)
def test_nice_ticks(low: float, high: float, unit: str, ticks: list[float]) -> None:
    assert nice_ticks(low, high, unit) == pytest.approx(ticks)


def test_short_names_leave_out_what_is_common() -> None:
    names = ['a.b{cpu="0",node="x"}', 'a.b{cpu="1",node="x"}', 'a.c{node="x"}']
    assert short_names(names) == ['a.b{cpu="0"}', 'a.b{cpu="1"}', "a.c"]
    assert short_names(['a{node="x"}']) == ['a{node="x"}']
    assert short_names(['a{p="u,v"}', 'a{p="w"}']) == ['a{p="u,v"}', 'a{p="w"}']


def test_a_terminal_gets_colours_and_the_width_it_has() -> None:
    out = io.StringIO()
    choice = choose([line("one", 1.0, "ratio"), line("two", 2**40, "bytes", 400)])
    draw_terminal(choice, "title", Console(file=out, width=90, height=40, force_terminal=True, color_system="256"))
    from rich.text import Text

    lines = [Text.from_ansi(text).plain for text in out.getvalue().splitlines()]
    assert "\x1b[" in out.getvalue()
    assert max(map(len, lines)) == 90
    assert any("one" in text for text in lines)


@pytest.mark.parametrize("values", [[5.0], [5.0, 5.0], [0.0, 0.0], [1e18, 1e18 + 1024], [-1e-9, 1e-9]])
def test_odd_ranges_can_be_drawn(values: list[float]) -> None:
    out = io.StringIO()
    times = [1.79e9 + i for i in range(len(values))]
    draw_terminal(choose([Line("x", "", times, values)]), "t", Console(file=out, width=80))
    assert any(LETTERS[0] in text for text in out.getvalue().splitlines()[2:-1])


def test_as_many_letters_and_colours_as_lines() -> None:
    from vagus.cli.figure import COLOURS

    assert len(set(LETTERS)) == len(set(COLOURS)) == MOST_LINES


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.123456, "ratio", "0.1235"), (15_000, "", "15k"), (2.5e9, "1/s", "2.5G"), (2**21, "bytes/s", "2 MiB")],
)
def test_axis_text(value: float, unit: str, text: str) -> None:
    assert axis_text(value, unit) == text


def test_quantities_for_people() -> None:
    assert [quantity(v) for v in (None, NAN, 3, 3.0, 0.123456, 1.5e-7, 2**63)] == [
        "",
        "",
        "3",
        "3",
        "0.1235",
        "1.500e-07",
        str(2**63),
    ]
    assert [byte_size(n) for n in (0, 1023, 1536, 1020 * 1024, -2048, 2**50)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "1020 KiB",
        "-2 KiB",
        "1024 TiB",
    ]
    assert [span(s) for s in (0, 9.94, 10, 59.7, 95, 3600, 90061, -5)] == [
        "0.0s",
        "9.9s",
        "10s",
        "1m",
        "1m35s",
        "1h",
        "1d1h",
        "-5.0s",
    ]
    assert age(0) == "–"
