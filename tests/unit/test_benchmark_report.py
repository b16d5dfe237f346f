"""The report of the benchmarks: rows of any shape, medians and spread, a page that hides nothing."""

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import report, report_rows
from benchmarks.bars import at_most

MISSED = {"what": "slow | thing", "value": 9.0, "unit": "ms", "bar": "<= 3 ms", "met": False, "peer": "other 1.2"}
MET = {"what": "fast", "value": 20.0, "unit": "/s", "bar": ">= 10", "met": True, "peer": None}


def results(*rounds, problem=""):
    one = {"command": "python -m benchmarks.x", "commit": "abc", "date": "2026-01-02", "took_s": 3.0, "quick": False}
    return {"machine": {"processor": "slow"}, "runs": {"x": {**one, "problem": problem, "rounds": list(rounds)}}}


def test_rows_of_each_shape_become_one():
    rows = [{"what": "a", "value": 2, "unit": "s"}, {"what": "not measured", "value": None}]
    assert report_rows.plain(rows) == report_rows.plain({"rows": rows, "cpus": 2})
    assert [row["what"] for row in report_rows.plain(rows)] == ["a"]
    found = report_rows.plain({"a": 1, "b": {"c": 2.5}, "text": "t", "yes": True, "nan": float("nan")})
    assert [(row["what"], row["value"]) for row in found] == [("a", 1), ("b.c", 2.5)]
    assert [row["peer"] for row in report_rows.plain([{**MET, "peer": 10699.4024}])] == ["10,699"]


def test_a_rooms_bars_judge_its_parts():
    (row,) = report_rows.plain({"a": 2}, [at_most("part", "a", 1.0)])
    assert (row["bar"], row["met"]) == ("<= 1", False)
    assert {bar.part for bar in report_rows.bars_of("health_submit")} == {"submit"}
    assert report_rows.bars_of("store") == []


def test_median_spread_and_met_only_if_in_every_round():
    (row,) = report_rows.over([[{**MET, "value": value, "met": value >= 10}] for value in (30, 8, 20)])
    assert (row.value, row.low, row.high, row.n, row.met, row.ratio) == (20, 8, 30, 3, False, 2)


def test_one_name_in_two_units_is_two_measures():
    found = report_rows.over([[{**MET, "value": 1}, {**MET, "value": 2, "unit": "B/s"}]] * 2)
    assert [(row.unit, row.value, row.n) for row in found] == [("/s", 1, 2), ("B/s", 2, 2)]


def test_the_page_says_what_is_missed_what_failed_and_what_was_not_run():
    page = report_rows.page(results([MISSED, MET], problem="did not end within 5 s"), ["x", "y"])
    assert "Of 2 bars, 1 are met and 1 are NOT MET." in page
    assert "| slow \\| thing | 9 |  | 1 | ms | &lt;= 3 ms | 3 | NOT MET | other 1.2 |" in page
    assert "NOT MEASURED in full: did not end within 5 s" in page
    assert page.rstrip().endswith("## Not run in this round\n\n`y`")


def test_the_figure_is_svg_and_tells_the_missed_in_words():
    drawn = ElementTree.fromstring(report_rows.figure(results([MISSED, MET]), ["x"]))
    texts = [text.text or "" for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "NOT MET (<= 3 ms)" in texts
    assert "met (>= 10)" in texts
    assert report_rows.figure(results([]), ["x"]) == ""


def test_a_benchmarks_own_figure_has_also_what_no_bar_judges_with_its_spread():
    alone = {**MET, "bar": None, "met": None}
    made = report_rows.figure_of(results([alone], [{**alone, "value": 40}]), "x")
    assert len(list(ElementTree.fromstring(made).iter("{http://www.w3.org/2000/svg}rect"))) == 1
    assert report_rows.figure_of(results([alone]), "x") == "", "one round, no bar: nothing to draw"


def test_what_fails_or_hangs_is_told_and_ended():
    assert report.once([sys.executable, "-c", "print('x'); print('{\"a\": 1}')"], 60) == ({"a": 1}, "")
    assert report.once([sys.executable, "-c", "print('{\\n\"a\": 1}')"], 60) == ({"a": 1}, "")
    found, problem = report.once([sys.executable, "-c", "raise SystemExit('no peer')"], 60)
    assert found is None
    assert problem == "no figures, exit 1: no peer"
    assert report.once([sys.executable, "-c", "import time; time.sleep(600)"], 1) == (None, "did not end within 1 s")


def test_figures_of_another_machine_are_not_mixed_with_ours(tmp_path):
    path = tmp_path / "results.json"
    here = {"processor": "slow", "cores": "2"}
    assert report.kept(path, here)["runs"] == {}
    path.write_text(json.dumps({"machine": here, "runs": {"x": {}}}))
    assert report.kept(path, here)["runs"] == {"x": {}}
    assert report.kept(path, {**here, "cores": "4"})["runs"] == {}


@pytest.mark.parametrize("name", report.names())
def test_every_benchmark_prints_json(name):
    text = (report.ROOT / "benchmarks" / f"{name}.py").read_text()
    shared = (
        "shown.run(",
        "shown.parser(",
        "from benchmarks.shown import",
        "control_experiment import",
        "import shown",
    )
    assert '"--json"' in text or any(way in text for way in shared)


def test_rooms_and_helpers_are_there():
    for name in (*report.ROOMS, *report.HELPERS):
        assert "__main__" in (report.ROOT / "benchmarks" / f"{name}.py").read_text(), name


def test_the_report_in_docs_is_made_of_the_results_beside_it(tmp_path):
    text = report.RESULTS.read_text()
    assert len(text) < 600_000
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "older.svg").write_text("a figure that nothing is left of")
    report.write(json.loads(text), tmp_path)
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    there = {path.relative_to(report.DOCS) for path in (report.DOCS / "benchmarks").iterdir()}
    assert made == {Path("benchmarks.md"), *there}
    for name in made:
        assert (tmp_path / name).read_text() == (report.DOCS / name).read_text(), (
            f"{name}: python -m benchmarks.report --page"
        )


def test_a_runs_own_bars_judge_what_they_name():
    bars = [
        {"part": "nab", "measure": "ratio", "bar": "≤ 0.6", "met": True},
        {"measure": "ratio", "bar": "<= 1", "met": False},
    ]
    found = report_rows.plain({"ratio": 2, "errors": {"nab": {"ratio": 0.5}, "other": {"ratio": 3}}, "bars": bars})
    assert [(row["what"], row["bar"], row["met"]) for row in found] == [
        ("ratio", "<= 1", False),
        ("errors.nab.ratio", "≤ 0.6", True),
        ("errors.other.ratio", None, None),
    ]
    assert [row.ratio for row in report_rows.over([found])[:2]] == [2, pytest.approx(0.5 / 0.6)]


@pytest.mark.parametrize(
    ("bar", "limit"), [(">= 350,000", 350_000), ("≥ 2e+06 /s", 2e6), ("<= 1e-3", 1e-3), ("≤ .5 ms", 0.5)]
)
def test_a_bar_is_read_as_it_is_written(bar, limit):
    (row,) = report_rows.over([[{**MET, "value": 3 * limit, "bar": bar}]])
    assert row.ratio == pytest.approx(3)


def test_a_run_tells_how_fast_the_machine_was_then():
    found = results([MET])
    assert "added" not in report_rows.page(found, ["x"])
    found["runs"]["x"]["additions_ms"] = round(report.speed())
    assert f"added {found['runs']['x']['additions_ms']:,} numbers a CPU millisecond" in report_rows.page(found, ["x"])


def test_of_very_many_measures_those_with_a_bar_are_shown_and_the_rest_is_counted():
    free = [{**MET, "what": f"free {number}", "bar": None, "met": None} for number in range(100)]
    found = results([*free, MISSED])
    page = report_rows.page(found, ["x"])
    assert "NOT MET" in page
    assert "| free 58 |" in page
    assert "| free 59 |" not in page
    assert "And 41 more, without bars, in the results." in page
    assert "free 59" not in report_rows.figure_of(found, "x")
