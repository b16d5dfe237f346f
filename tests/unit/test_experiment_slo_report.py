"""The report of `vagus experiment slo`: its figures, its verdict in words, the page and the command."""

from __future__ import annotations

import html.parser
import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from slo_made import make

from vagus.cli import cli
from vagus.cli.experiment.slo_report import REPORT, made, write_report
from vagus.cli.experiment.slo_results import Injected, Plan, Results, Run, Steps, save
from vagus.cli.experiment.slo_summary import BY_KEY, best, rows, shown, spread
from vagus.cli.experiment.slo_verdict import verdict
from vagus.cli.experiment.svg import Axis, nice, thin
from vagus.config import VariantSettings

HOSTILE = "<img src=x onerror=alert(1)>&"


def results(figures: dict[str, list[tuple[float, float | None]]], policies: dict[str, str] | None = None) -> Results:
    """figures: of each variant its seeds' (violations ÷ requests, requested cores)."""
    policies = {"none": "", "throttle": "tower", "ddpg-unguarded": "ddpg", **(policies or {})}
    plan = Plan(
        application="shop",
        services=("web", "db"),
        fixed=("db",),
        requests=("read",),
        slo_s=0.2,
        rate_hz=50,
        trace="t.txt",
        offset_s=0,
        inject="",
        warm_s=10,
        run_s=60,
        given_up_s=10,
        window_s=2,
        variants=tuple(
            VariantSettings(name=n, policy=policies.get(n, n), guarded=not n.endswith("unguarded")) for n in figures
        ),
    )
    runs = tuple(
        Run(variant=name, seed=seed, begun="", requests=10_000, violations=round(ratio * 10_000), requested_cores=cores)
        for name, every in figures.items()
        for seed, (ratio, cores) in enumerate(every, 1)
    )
    seeds = tuple(range(1, 1 + max(len(every) for every in figures.values())))
    return Results(plan=plan, seeds=seeds, runs=runs)


def changed(found: Results, number: int, **more: Any) -> Results:
    runs = list(found.runs)
    runs[number] = msgspec.structs.replace(runs[number], **more)
    return msgspec.structs.replace(found, runs=tuple(runs))


def words(found: Results) -> dict[tuple[str, str], str]:
    return {(pair.ours.name, pair.theirs.name): pair.word for pair in verdict(found).duels}


# --- who beats whom --------------------------------------------------------------------------------------------------------


def test_a_winner_has_fewer_violations_at_no_more_cpu_than_every_baseline():
    found = results({"none": [(0.001, None)], "hpa": [(0.05, 2.0)], "aimd": [(0.03, 1.0)], "throttle": [(0.01, 1.0)]})
    said = verdict(found)
    assert said.aims == (("throttle", True),)
    assert words(found) == {
        ("throttle", "hpa"): "better in both",
        ("throttle", "aimd"): "better: fewer violations, as much CPU",
    }
    assert said.losses == ()
    assert "throttle has the fewest SLO violations, 1.00 %, with 1.00 cores requested" in said.headline
    assert said.headline.endswith("throttle has fewer than every baseline at no more requested CPU.")
    assert "Without any limit (none) there are 0.10 % SLO violations." in said.points


def test_where_the_learned_policy_loses_is_said_plainly():
    found = results(
        {
            "hpa": [(0.02, 1.0)] * 3,
            "aimd": [(0.04, 3.0)] * 3,
            "throttle": [(0.01, 0.9)] * 3,
            "ddpg": [(0.03, 1.5)] * 3,
            "ddpg-unguarded": [(0.5, 0.4)] * 3,
        }
    )
    said = verdict(found)
    assert said.aims == (("throttle", True), ("ddpg", False), ("ddpg-unguarded", False))
    told = words(found)
    assert told["ddpg", "hpa"] == "loses in both"
    assert told["ddpg", "aimd"] == "better in both"
    assert told["ddpg", "throttle"] == "loses in both"
    assert told["ddpg", "ddpg-unguarded"] == "a trade: fewer violations for more CPU"
    assert told["ddpg-unguarded", "hpa"] == "a trade: less CPU for more violations"
    (mine,) = [line for line in said.losses if line.startswith("ddpg:")]
    assert "more SLO violations (3.00 against 2.00 %) and more requested CPU (1.50 against 1.00 cores) than hpa" in mine
    assert "than throttle" in mine
    assert "aimd" not in mine
    assert said.headline.endswith("throttle has fewer than every baseline at no more requested CPU.")
    assert "ddpg-unguarded requests the least CPU, 0.40 cores, with 50.0 %" in said.headline


def test_no_winner_is_said_too():
    said = verdict(results({"hpa": [(0.01, 1.0)], "throttle": [(0.02, 0.5)], "ddpg": [(0.03, 2.0)]}))
    assert "No contender has fewer than every baseline at no more requested CPU." in said.headline
    assert len(said.losses) == 2


def test_comparisons_are_of_seeds_that_both_have_and_say_in_how_many():
    found = results({"hpa": [(0.02, 1.0), (0.02, 1.0), (0.02, 1.0)], "throttle": [(0.01, 0.9), (0.03, 0.9)]})
    (pair,) = verdict(found).duels
    assert (pair.seeds, pair.fewer, pair.cheaper) == (2, 1, 2)
    assert pair.violations == pytest.approx((0.02, 0.02))
    assert pair.word == "better: less CPU, as many violations"
    assert not pair.wins


def test_runs_that_are_not_valid_are_left_out_and_told():
    found = results({"hpa": [(0.02, 1.0)], "throttle": [(0.01, 0.9)], "ddpg": [(0.01, 0.9)]})
    found = changed(found, 2, error="the service web died")
    found = changed(found, 1, late_s=0.2, machine_ratio=0.99, notes=("its controller came 3 s late",))
    said = verdict(found)
    assert [name for name, _ in said.aims] == ["throttle"]
    doubts = " ".join(said.doubts)
    for told in (
        "the service web died",
        "Nothing is known of ddpg",
        "With 1 seed",
        "200 ms",
        "busy altogether",
        "3 s late",
    ):
        assert told in doubts
    nothing = results({"hpa": []})
    assert "nothing can be said yet" in verdict(nothing).headline


# --- the table -----------------------------------------------------------------------------------------------------------


def test_figures_are_means_over_seeds_with_their_range():
    found = results({"none": [(0.0, None)] * 2, "hpa": [(0.02, 1.0), (0.04, 2.0)], "aimd": [(0.02, 3.0)] * 2})
    none, hpa, aimd = rows(found)
    assert (shown(hpa, BY_KEY["violations"]), spread(hpa, BY_KEY["violations"])) == ("3.00", "2.00–4.00")
    assert (shown(hpa, BY_KEY["requested"]), spread(hpa, BY_KEY["requested"])) == ("1.50", "1.00–2.00")
    assert (shown(none, BY_KEY["requested"]), spread(none, BY_KEY["requested"])) == ("no limit", "")
    assert (shown(aimd, BY_KEY["violations"]), spread(aimd, BY_KEY["violations"])) == ("2.00", "")
    assert best([none, hpa, aimd], BY_KEY["violations"]) == {"aimd"}, "of those that limit anything"
    assert best([none, hpa], BY_KEY["violations"]) == set()
    assert best([hpa, aimd], BY_KEY["actions"]) == set()


def test_a_share_of_requests_is_of_all_of_them_and_a_median_of_all_injections():
    found = results({"ddpg": [(0.1, 1.0), (0.2, 1.0)]})

    def hit(took: float | None, detected: float | None = 1.0) -> Injected:
        mitigated = None if took is None or detected is None else detected + took
        return Injected(
            type="cpu",
            service="web",
            intensity="90%",
            begin_s=0.5,
            end_s=20.5,
            why="done",
            detected_s=detected,
            mitigated_s=mitigated,
        )

    found = changed(
        found,
        0,
        requests=1000,
        violations=500,
        injected=(hit(1.0), hit(2.0), hit(None, None)),
        steps=Steps(steered=10, own=5),
    )
    found = changed(found, 1, injected=(hit(None), hit(3.0)), steps=Steps(steered=90, own=90))
    (row,) = rows(found)
    assert shown(row, BY_KEY["violations"]) == "22.7", "of 11000 requests"
    assert shown(row, BY_KEY["mitigation"]) == "2.5", "1, 2, 3, and one until its end"
    assert shown(row, BY_KEY["own"]) == "95"


# --- figures -------------------------------------------------------------------------------------------------------------


def test_axes_have_round_marks():
    axis = Axis(0.0, 4.2, str)
    assert axis.marks(5) == [0.0, 1.0, 2.0, 3.0, 4.0]
    ratios = Axis(0.01, 10.0, str, log=True)
    assert [round(mark, 3) for mark in ratios.marks(4)] == [0.01, 0.1, 1.0, 10.0]
    assert (ratios.at(0.01), ratios.at(10.0)) == (0.0, 1.0)
    assert ratios.at(0.316227766) == pytest.approx(0.5)
    assert ratios.at(0.0) == 0.0, "what is beyond stays at the end"
    assert [nice(step) for step in (0.013, 0.9, 3.0, 7.0)] == pytest.approx([0.02, 1.0, 5.0, 10.0])


def test_thinning_loses_no_peak_and_no_gap():
    ys: list[float | None] = [1.0] * 5000
    ys[1234], ys[4000] = 9.0, 0.5
    ys[2000:2500] = [None] * 500
    few = thin(list(range(5000)), ys, 400)
    assert len(few) <= 401
    assert {(1234, 9.0), (4000, 0.5)} <= set(few)
    assert [x for x, _ in few] == sorted(x for x, _ in few)
    assert any(y is None for _, y in few)


# --- the page ------------------------------------------------------------------------------------------------------------


class Page(html.parser.HTMLParser):
    """What a page is made of: checks that what is opened is closed."""

    VOID = frozenset(("meta", "br", "path", "rect"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID or (tag in ("path", "rect") and not self.get_starttag_text().endswith("/>")):  # type: ignore[union-attr]
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slo")
    make(folder, variants=("none", "hpa", "throttle", "ddpg"), seeds=(1, 2), run_s=100.0)
    return folder


def test_a_page_that_loads_nothing_and_describes_its_figures(folder: Path):
    text = write_report(folder).read_text()
    page = Page(text)
    assert not re.search(r"(?:src|href)\s*=|url\(|@import|<script", text)
    figures = [attributes for tag, attributes in page.tags if tag == "svg" and "aria-hidden" not in attributes]
    assert len(figures) >= 3 + 2 * 5 + 8 * 4
    assert all(attributes["role"] == "img" and len(attributes["aria-label"] or "") > 20 for attributes in figures)
    assert "nan" not in re.sub(r"<style>.*?</style>|aria-label", "", text, flags=re.S).lower().replace("nano", "")
    for told in (
        "SLO 250 ms",
        "diurnal-noisy.txt",
        "Made again by",
        "vagus experiment slo --policies",
        "Intel Xeon",
        "cpu 80%",
    ):
        assert told in text, told
    assert len(text) < 2_000_000


def test_names_from_outside_are_text(tmp_path: Path):
    found = results({HOSTILE: [(0.1, 1.0)], "hpa": [(0.2, 2.0)]})
    found = changed(found, 0, notes=(HOSTILE,), error=HOSTILE)
    found = msgspec.structs.replace(found, command=HOSTILE, machine={HOSTILE: HOSTILE})
    page = made(found, tmp_path)
    Page(page)
    assert "<img" not in page
    assert "&lt;img" in page


def test_logs_that_are_missing_or_elsewhere_are_told(folder: Path, tmp_path: Path):
    found = results({"hpa": [(0.1, 1.0)], "throttle": [(0.05, 0.5)]})
    found = changed(changed(found, 0, log="../../etc/passwd"), 1, log="logs/none.npz")
    page = made(found, tmp_path)
    assert "no log within the folder" in page
    assert "cannot read" in page
    assert "Share of requests answered" not in page


def test_results_without_a_valid_run_still_make_a_report(tmp_path: Path):
    found = changed(results({"hpa": [(0.1, 1.0)]}), 0, error="Ray did not start")
    page = made(found, tmp_path)
    Page(page)
    assert "nothing can be said yet" in page
    assert "Ray did not start" in page


# --- the command ---------------------------------------------------------------------------------------------------------


def test_the_command_writes_it_and_shows_the_table(folder: Path):
    (folder / REPORT).unlink(missing_ok=True)
    result = CliRunner().invoke(cli, ["experiment", "report", str(folder), "--no-open"])
    assert result.exit_code == 0, result.output
    assert (folder / REPORT).stat().st_size > 100_000
    lines = result.stdout.splitlines()
    assert lines[0].split()[:3] == ["policy", "SLO", "violations"]
    assert [line.split()[0] for line in lines[1:5]] == ["none", "hpa", "throttle", "ddpg"]
    assert any("throttle has the fewest SLO violations" in line for line in lines)
    told = json.loads(CliRunner().invoke(cli, ["experiment", "report", str(folder), "--json"]).stdout)
    assert {(d["policy"], d["against"]) for d in told["duels"]} == {
        ("throttle", "hpa"),
        ("ddpg", "hpa"),
        ("ddpg", "throttle"),
    }
    assert told["rows"][1]["violations"]["n"] == 2


def test_the_command_refuses_what_are_no_results(tmp_path: Path):
    result = CliRunner().invoke(cli, ["experiment", "report", str(tmp_path)])
    assert result.exit_code == 1
    assert "vagus experiment slo" in result.output
    save(tmp_path, results({"hpa": [(0.1, 1.0)]}))
    (tmp_path / REPORT).mkdir()
    result = CliRunner().invoke(cli, ["experiment", "report", str(tmp_path)])
    assert "cannot write" in result.output
