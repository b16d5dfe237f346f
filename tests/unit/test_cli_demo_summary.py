"""The demo's summary tells what happened: when it was healthy again, over which seconds, and with which limit."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from vagus.cli.demo.figure import check_writable, figure, limit_line, spans
from vagus.cli.demo.summary import Second, finite, recovery, summarise, table
from vagus.errors import VagusError

NAN = float("nan")


def run(hog: str, after: str, limit: float = NAN) -> list[Second]:
    """Five quiet seconds, then one second for each letter: h HEALTHY, u UNHEALTHY, - missing."""
    found = [Second(t, "healthy", 10, 20, 5, 0, NAN, "HEALTHY", [], "") for t in range(1, 6)]
    for phase, begin, letters in (("hog", 6, hog), ("after", 6 + len(hog), after)):
        for i, letter in enumerate(letters):
            if letter != "-":
                status = "HEALTHY" if letter == "h" else "UNHEALTHY"
                found.append(Second(begin + i, phase, 10, 20, 5, 1, limit, status, [], ""))
    return found


@pytest.mark.parametrize(
    ("hog", "after", "words"),
    [
        ("hhuuuhhhhhh", "hhhhhh", "5 s after the neighbour began"),
        ("hhuuhuhhhhhh", "hhhhhh", "6 s after the neighbour began"),  # one good second is no recovery
        ("huhhhhhhuuu", "uuuuuu", "2 s after the neighbour began, with a relapse of 3 s later"),
        ("huh---hh", "h", "2 s after the neighbour began"),  # missing seconds do not break it
        ("hhuuuuuhhh", "hhhhhhh", "not while the neighbour ran; healthy 0 s after it ended"),
        ("hhuuuuuuuu", "uuuhhhhhh", "not while the neighbour ran; healthy 3 s after it ended"),
        ("hhuuuuuuuu", "uuuuuuhhh", "not while the neighbour ran"),
        ("hhhhhhhhhh", "hhhhhh", "(it never was unhealthy)"),
    ],
)
def test_healthy_again_is_where_it_stays_so_with_the_neighbour_there(hog: str, after: str, words: str) -> None:
    summary = summarise(run(hog, after))
    assert recovery(summary) == words
    written = io.StringIO()
    table(Console(file=written, width=120), summary)
    assert f"healthy again: {words}" in written.getvalue()


def test_verdict_counts_from_the_neighbours_begin_and_only_while_it_is_there() -> None:
    assert summarise(run("hhuhhhhhh", "hhh"))["verdict_after_s"] == 2
    assert summarise(run("hhhhhhhhh", "uuu"))["verdict_after_s"] is None
    assert summarise([])["verdict_after_s"] is None


def test_what_the_gateway_failed_to_say_is_no_receipt() -> None:
    seconds = run("hhuu", "h")
    seconds[6].receipt = "(vagus: no answer)"
    seconds[8].receipt = "set cpu_cores of cgroup:hog"
    assert summarise(seconds)["action_after_s"] == 3
    written = io.StringIO()
    table(Console(file=written, width=120), summarise(seconds, armed=False))
    assert "first receipt (dry): 3 s" in written.getvalue()


def test_spans_have_no_holes_where_a_second_is_missing() -> None:
    seconds = run("huu--uhh", "hh")
    assert spans(seconds, lambda s: s.phase == "hog") == [(6, 14)]
    assert spans(seconds, lambda s: s.status == "UNHEALTHY") == [(7, 12)]
    assert spans(run("uhu", "hu"), lambda s: s.status == "UNHEALTHY") == [(6, 7), (8, 9), (10, 10)]
    assert spans(run("h--hh", "h"), lambda s: s.phase == "hog") == [(6, 11)]


def test_the_limit_ends_with_the_neighbour() -> None:
    t, cores = limit_line(run("uuu", "hh", limit=0.5))
    drawn = [(at, limit) for at, limit in zip(t, cores, strict=True) if limit == limit]
    assert drawn == [(6, 0.5), (7, 0.5), (8, 0.5), (9, 0.5)]  # up to where it ended, no further
    assert cores[-1] != cores[-1]


def test_the_figures_title_says_what_the_summary_says(tmp_path: Path) -> None:
    seconds = run("hhuuuuuuuu", "uuuhhhhhh", limit=0.5)
    path = tmp_path / "x.svg"
    figure(seconds, summarise(seconds, slo_ms=50.0), path)
    text = path.read_text()
    assert "not while the neighbour ran; healthy 3 s after it ended" in text
    assert "its limit" in text


@pytest.mark.parametrize("name", ["nodir/x.png", "x.doc", "x", "folder.png"])
def test_a_figure_that_cannot_be_written_is_refused_before_the_story(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(VagusError, match="cannot write the figure"):
        check_writable(tmp_path / name)
    check_writable(tmp_path / "x.png")
    check_writable(Path("x.png"))


def test_json_has_no_nan() -> None:
    assert finite({"a": [NAN, 1.0], "b": NAN}) == {"a": [None, 1.0], "b": None}
