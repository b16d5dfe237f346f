"""`vagus experiment slo`: results as they are kept, what controllers did, the table and the bars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.fixtures.slo_results_made import hog, over_from, plan, quiet, results, run_of, sampled
from vagus.cli.experiment import slo_results
from vagus.cli.experiment.slo_measure import (
    judged,
)
from vagus.cli.experiment.slo_results import Results, Run, Steps
from vagus.cli.experiment.slo_steps import steps_of, troubles
from vagus.cli.experiment.slo_table import best, summary
from vagus.cli.experiment.slo_variants import KNOWN
from vagus.errors import ConfigError
from vagus.model import ActorStatus, Event, Receipt, Target

# --- results ---------------------------------------------------------------------------------------------------------


def test_results_come_back_as_they_were_saved(tmp_path: Path) -> None:
    run = Run(
        variant="aimd",
        seed=1,
        begun="2026-01-01T00:00:00Z",
        requests=100,
        violations=7,
        sampled=sampled({"a": (1.0, None, 2.0)}),
        injected=(judged(hog(), over_from((11.0, 12.5)), quiet()),),
        steps=Steps(actions=3, held=1, changed=2, shielded=4, steered=10, own=6, notes={"held: N": 1}),
    )
    slo_results.save(tmp_path, results(run))
    assert slo_results.load(tmp_path) == results(run)
    assert run.violation_ratio == 0.07
    assert run.steps.interventions == 7
    assert run.steps.own_ratio == 0.6
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="vagus experiment slo -o"):
        slo_results.load(tmp_path)
    (tmp_path / "results.json").write_text('{"plan": 3}')
    with pytest.raises(ConfigError, match="not the results of an experiment"):
        slo_results.load(tmp_path)
    slo_results.save(tmp_path, msgspec.structs.replace(results(), version=99))
    with pytest.raises(ConfigError, match="of version 99; this vagus reads version 1"):
        slo_results.load(tmp_path)
    uneven = msgspec.structs.replace(sampled({"a": (1.0, 2.0)}), t_s=(0.0,))
    slo_results.save(tmp_path, results(Run(variant="a", seed=1, begun="", sampled=uneven)))
    with pytest.raises(ConfigError, match="a, seed 1: uneven columns"):
        slo_results.load(tmp_path)
    slo_results.save(tmp_path, msgspec.structs.replace(results(), plan=plan(slo_s=0.0)))
    with pytest.raises(ConfigError, match="is not positive"):
        slo_results.load(tmp_path)


# --- what a controller did -------------------------------------------------------------------------------------------


def receipt(note: str = "", error: str = "") -> Receipt:
    target = Target("cgroup", "a")
    return Receipt(5, "n1", "slo-a-1", "cgroup1", target, "cpu_cores", 0.2, 0.3, 0.3, False, "", note, error)


def test_steps_are_of_the_measured_part_alone() -> None:
    before = {"actions": 10.0, "held": 2.0, "steered_steps": 100.0, "own_steps": 90.0, "shielded_steps": 3.0}
    after = {"actions": 25.0, "held": 6.0, "steered_steps": 200.0, "own_steps": 150.0, "shielded_steps": 8.0}
    notes = ("", "at most 50% at once, towards 0.81", "at most 50% at once, towards 0.2", "held: cool-down, 0.2 s left")
    receipts = [*map(receipt, notes), receipt(error="the kernel keeps '1'")]
    found = steps_of(before, after, receipts, [Event(9, "controller.rung", "n1", fields={"rung": "hold"})])
    assert found == Steps(
        actions=15,
        held=4,
        changed=2,
        shielded=5,
        steered=100,
        own=60,
        errors=1,
        notes={"at most N at once, towards N": 2, "held: cool-down, N s left": 1},
        rung="hold",
    )


def test_a_controller_that_fell_back_to_trust_is_on_no_rung() -> None:
    events = [Event(t, "controller.rung", "n1", fields={"rung": rung}) for t, rung in ((9, "trust"), (8, "hold"))]
    assert steps_of({}, {}, (), events).rung == ""


def test_what_a_reader_should_know_of_a_controller() -> None:
    before = ActorStatus("vagus:controller:x@n1", "controller", "n1", "HEALTHY", figures={"steps": 10.0})
    after = msgspec.structs.replace(before, figures={"steps": 100.0})
    assert troubles(before, after, 100.0) == []
    failed = msgspec.structs.replace(after, errors=3, last_error="no", restarts=2)
    restarted = ["its controller failed 3 times, at last: no", "its controller was restarted 2 times"]
    assert troubles(before, failed, 100.0) == restarted
    assert troubles(before, failed, 1000.0) == ["its controller took 90 steps of 1000", *restarted]
    assert troubles(before, None, 10.0) == ["its controller told no figures"]


# --- table and bars --------------------------------------------------------------------------------------------------


def compared() -> Results:
    names = ("none", "hpa", "aimd", "throttle", "ddpg")
    hits = (
        msgspec.structs.replace(hog(), detected_s=11.0, detected_by="window", mitigated_s=12.5, raised_s=11.5),
        msgspec.structs.replace(hog(), detected_s=11.0, detected_by="throttled", mitigated_s=11.0),
        msgspec.structs.replace(hog(), detected_s=11.0, detected_by="window"),
        hog(),
    )
    runs = [
        *(run_of("none", seed, 5, None) for seed in (1, 2)),
        *(run_of("hpa", seed, 100 * seed, 2.0) for seed in (1, 2)),
        *(run_of("aimd", seed, 40, 1.5) for seed in (1, 2)),
        *(run_of("throttle", seed, 30, 1.5, injected=hits) for seed in (1, 2)),
        *(run_of("ddpg", seed, 50, 1.0, steps=Steps(steered=10, own=6)) for seed in (1, 2)),
        run_of("ddpg", 3, 999, 9.0, error="it broke"),
    ]
    variants = tuple(KNOWN[name] for name in names)
    return Results(plan=plan(variants=variants), seeds=(1, 2, 3), runs=tuple(runs))


def test_the_table_is_of_valid_runs_over_seeds() -> None:
    table = {row["variant"]: row for row in summary(compared())}
    assert table["hpa"]["violation_ratio"] == pytest.approx(0.15)
    assert table["none"]["requested_cores"] is None
    assert table["ddpg"]["violation_ratio"] == pytest.approx(0.05)
    assert table["ddpg"]["failed_runs"] == 1
    assert table["ddpg"]["own_ratio"] == pytest.approx(0.6)
    assert [one["seed"] for one in table["hpa"]["by_seed"]] == [1, 2]
    assert table["throttle"]["hogs"] == {
        "happened": 8,
        "detected": 6,
        "broke_slo": 4,
        "censored": 2,
        "mitigation_s": 5.25,
        "raise_s": 1.5,
    }


def test_the_best_keeps_the_objective_with_the_least_cpu_and_else_has_the_fewest_late() -> None:
    def row(name: str, policy: str, late: float, cores: float) -> dict[str, Any]:
        return {"variant": name, "policy": policy, "violation_ratio": late, "requested_cores": cores}

    table = [
        row("a1", "a", 0.001, 2.0),
        row("a2", "a", 0.009, 1.5),
        row("a3", "a", 0.011, 1.0),
        row("b1", "b", 0.05, 1.0),
        row("b2", "b", 0.03, 2.0),
    ]
    assert {policy: found["variant"] for policy, found in best(table).items()} == {"a": "a2", "b": "b2"}


def test_bars_compare_late_requests_and_cpu_with_each_baseline() -> None:
    from benchmarks.control_experiment import bars

    met = {row["what"]: row["met"] for row in bars(summary(compared()))}
    assert met == {
        "throttle: late requests ÷ hpa's": True,
        "throttle: requested CPU ÷ hpa's": True,
        "throttle: late requests ÷ aimd's": True,
        "throttle: requested CPU ÷ aimd's": True,
        "ddpg: late requests ÷ hpa's": True,
        "ddpg: requested CPU ÷ hpa's": True,
        "ddpg: late requests ÷ aimd's": False,
        "ddpg: requested CPU ÷ aimd's": True,
        "ddpg: own wishes in force": True,
    }
    nothing = bars([])
    assert {row["met"] for row in nothing} == {None}
