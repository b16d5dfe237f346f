"""`vagus experiment slo`, without running anything: order of runs, timetables, measures, contestants, results."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from vagus.cli.experiment import slo_results
from vagus.cli.experiment.slo import command
from vagus.cli.experiment.slo_injections import aimed, timetable
from vagus.cli.experiment.slo_measure import (
    answered,
    judged,
    mitigation_s,
    note_kind,
    over_ratio,
    percentile,
    requested,
    slices,
    used,
    violations,
)
from vagus.cli.experiment.slo_plan import check_same, left, product, turns
from vagus.cli.experiment.slo_results import Injected, Plan, Results, Run, Sampled, Steps, Windows
from vagus.cli.experiment.slo_sampling import throttled_ratio
from vagus.cli.experiment.slo_steps import steps_of, troubles
from vagus.cli.experiment.slo_table import best, summary
from vagus.cli.experiment.slo_variants import KNOWN, chosen, controller, objective_of, with_files
from vagus.config import CampaignSettings, ExperimentSettings, InjectionSettings, VariantSettings, load, seconds
from vagus.controllers.load import load as load_controller
from vagus.errors import ConfigError
from vagus.model import ActorStatus, Event, Receipt, Target

SERVICES = ("front", "users", "posts", "store")


# --- order and slices ------------------------------------------------------------------------------------------------


def test_each_seed_has_a_slice_of_its_own_and_begins_with_another_variant() -> None:
    found = turns(("a", "b", "c"), (1, 2, 3), 600.0, 300.0, 3600.0)
    assert [t.variant for t in found] == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
    assert [t.offset_s for t in found] == [600.0] * 3 + [900.0] * 3 + [1200.0] * 3


def test_slices_go_on_at_the_begin_of_the_trace_behind_its_end() -> None:
    assert [t.offset_s for t in turns(("a",), (1, 2, 3), 700.0, 300.0, 1000.0)] == [700.0, 0.0, 300.0]


def test_what_is_left_is_what_was_not_done_or_went_wrong() -> None:
    every = turns(("a", "b"), (1, 2), 0.0, 10.0, 100.0)
    done = results(Run(variant="a", seed=1, begun=""), Run(variant="b", seed=1, begun="", error="it broke"))
    assert [(t.variant, t.seed) for t in left(every, done)] == [("b", 1), ("b", 2), ("a", 2)]


def test_going_on_with_another_experiment_is_refused_and_a_further_variant_is_not() -> None:
    before = plan()
    check_same(before, plan(variants=(KNOWN["none"], KNOWN["aimd"], KNOWN["captain"])), Path("f"))
    with pytest.raises(ConfigError, match=r"f has results of another experiment: its slo_s is 0\.2, now 0\.1"):
        check_same(before, plan(slo_s=0.1), Path("f"))
    changed = msgspec.structs.replace(KNOWN["aimd"], start_cores=0.3)
    with pytest.raises(ConfigError, match="its variants is"):
        check_same(before, plan(variants=(KNOWN["none"], changed)), Path("f"))


def test_traces_are_multiplied_each_by_its_own_mean() -> None:
    text = product({"a": [1.0, 3.0], "b": [10.0, 10.0, 10.0]})
    assert [float(line) for line in text.split()] == [0.5, 1.5]


def test_traces_of_which_one_has_no_requests_where_the_other_has_are_refused() -> None:
    with pytest.raises(ConfigError, match="b: a trace without requests"):
        product({"a": [1.0, 3.0], "b": [0.0]})
    with pytest.raises(ConfigError, match="the product of a, b is a trace without requests"):
        product({"a": [1.0, 0.0], "b": [0.0, 1.0]})


# --- injections ------------------------------------------------------------------------------------------------------


def campaign(*lines: dict[str, Any], **more: Any) -> CampaignSettings:
    made = tuple(InjectionSettings(type="cpu", intensity="0.3 cores", **line) for line in lines)
    return CampaignSettings(name="c", injections=made, **more)


HOG = {"target": "service:any", "duration": "10s", "jitter": "5s"}


def test_a_seed_is_a_timetable_and_another_seed_another() -> None:
    settings = campaign(HOG, repeat=40, pause="20s")
    first = timetable(settings, SERVICES, 1, 300.0)
    assert first == timetable(settings, SERVICES, 1, 300.0)
    assert first != timetable(settings, SERVICES, 2, 300.0)
    assert len(first) == 9  # one in 35 s, the last one just within
    assert all(due.end_s <= 300.0 for due in first)
    hit = [due.settings.component for due in first]
    assert set(hit) <= set(SERVICES)
    assert all(a != b for a, b in pairwise(hit))
    # a longer run begins as a shorter one
    assert timetable(settings, SERVICES, 1, 900.0)[:9] == first


def test_a_service_becomes_its_group() -> None:
    line = {"target": "service:users", "duration": "5s", "at": "10s"}
    (due,) = aimed(timetable(campaign(line), SERVICES, 0, 60.0), {"users": "vagus-app-x/users/replica-0"})
    assert due.settings.target == "cgroup:vagus-app-x/users/replica-0"
    assert due.settings.component == "users"


@pytest.mark.parametrize("target", ["", "cgroup:web", "service:nobody", "users"])
def test_other_targets_are_refused_with_the_line(target: str) -> None:
    with pytest.raises(ConfigError, match=r"injections\[0\]: target .*service:front"):
        timetable(campaign({"target": target, "duration": "5s"}), SERVICES, 0, 60.0)


# --- measures --------------------------------------------------------------------------------------------------------


def test_violations_are_late_and_failed_requests_of_the_measured_part() -> None:
    due = np.array([-1.0, 3.0, 0.0, 2.0, 10.0])
    took = np.array([9.0, math.inf, 0.1, 0.3, 9.0])
    found = answered(due, took, 10.0)
    assert found.due_s.tolist() == [0.0, 2.0, 3.0]
    assert violations(found.latency_s, 0.2) == 2
    assert violations(found.latency_s, 0.3) == 1  # as long as the SLO is in time


def test_failed_requests_count_as_long_as_one_waits() -> None:
    took = np.array([0.1] * 98 + [math.inf] * 2)
    assert percentile(took, 0.5, 10.0) == 0.1
    assert percentile(took, 0.99, 10.0) == 10.0
    assert percentile(took[:0], 0.5, 10.0) is None


def test_windows_of_the_warm_up_and_empty_ones_are_not_counted() -> None:
    windows = Windows(
        t_s=(-1.0, 0.5, 1.0, 1.5, 2.0, 9.0),
        p50_s=(None,) * 6,
        p99_s=(9.0, 0.1, 0.3, None, 0.2, 9.0),
        rate_hz=(None,) * 6,
        failed_ratio=(None,) * 6,
    )
    assert over_ratio(windows, 0.2, 5.0) == pytest.approx(1 / 3)
    assert over_ratio(windows, 0.2, 0.2) is None


def sampled(
    limits: dict[str, tuple[float | None, ...]], throttled: dict[str, tuple[float, ...]] | None = None
) -> Sampled:
    rows = len(next(iter(limits.values())))
    return Sampled(
        t_s=tuple(0.5 * i - 0.5 for i in range(rows)),
        limit_cores=limits,
        used_cores={name: tuple(0.1 * (i + 1) for i in range(rows)) for name in limits},
        throttled_ratio=throttled or dict.fromkeys(limits, (0.0,) * rows),
        replicas=dict.fromkeys(limits, (1,) * rows),
    )


def test_requested_cores_are_the_limits_weighted_with_how_long_they_were_in_force() -> None:
    found = sampled({"a": (9.0, 1.0, 1.0, 2.0), "b": (9.0, 0.5, 0.5, 0.5)})
    assert requested(found, 2.0) == pytest.approx((1.5 * 0.5 + 1.5 * 0.5 + 2.5 * 1.0) / 2.0)
    assert used(found, 2.0) == pytest.approx(2 * (0.3 + 0.4) / 2)


def test_without_a_limit_there_is_no_sum_of_limits() -> None:
    assert requested(sampled({"a": (1.0, None, 1.0), "b": (1.0, 1.0, 1.0)}), 2.0) is None
    assert requested(sampled({"a": (None, 1.0, 1.0)}), 2.0) == 1.0  # it had none only in the warm-up


def test_half_seconds_over_the_slo() -> None:
    what = answered(np.array([0.1, 0.2, 0.6, 1.2]), np.array([0.1, 0.9, 0.1, math.inf]), 2.0)
    assert slices(what, 0.2, 2.0).tolist() == [True, False, True, False]


def hog(begin_s: float = 10.0, end_s: float = 20.0) -> Injected:
    return Injected(type="cpu", service="a", intensity="1 core", begin_s=begin_s, end_s=end_s, why="done")


def quiet(seconds: float = 30.0) -> Sampled:
    return sampled({"a": (1.0,) * int(seconds * 2)})


def over_from(*spans: tuple[float, float]) -> list[bool]:
    return [any(begin <= i * 0.5 < end for begin, end in spans) for i in range(60)]


def test_mitigated_when_the_slo_is_kept_again() -> None:
    found = judged(hog(), over_from((11.0, 12.5)), quiet())
    assert (found.detected_s, found.detected_by, found.mitigated_s) == (11.5, "window", 13.0)
    assert mitigation_s(found) == 1.5


def test_a_short_pause_is_no_mitigation() -> None:
    found = judged(hog(), over_from((11.0, 12.0), (13.5, 14.0)), quiet())
    assert found.mitigated_s == 14.5


def test_what_lasts_until_the_injection_ends_is_censored() -> None:
    found = judged(hog(), over_from((11.0, 21.0)), quiet())
    assert found.mitigated_s is None
    assert mitigation_s(found) == 8.5
    late = judged(hog(), over_from((11.0, 12.0), (19.0, 21.0)), quiet())
    assert late.mitigated_s == 12.5  # what comes later is another time


def test_what_was_over_the_slo_before_the_injection_is_not_its_detection() -> None:
    found = judged(hog(), over_from((5.0, 9.0), (25.0, 26.0)), quiet())
    assert found.detected_s is None
    assert mitigation_s(found) is None


def test_throttling_tells_before_requests_are_late() -> None:
    rows = 60
    throttled = tuple(0.8 if 10.6 < 0.5 * i - 0.5 < 11.6 else 0.0 for i in range(rows))
    seen = sampled({"a": (1.0,) * 25 + (1.5,) * 35}, {"a": throttled})
    found = judged(hog(), over_from((11.5, 12.0)), seen)
    assert (found.detected_s, found.detected_by) == (11.0, "throttled")
    assert found.mitigated_s == 12.5
    assert found.raised_s == 12.0
    never_late = judged(hog(), [False] * rows, seen)
    assert never_late.mitigated_s == never_late.detected_s == 11.0


def test_what_was_throttled_and_never_late_was_mitigated_at_once() -> None:
    throttled = tuple(0.8 if 10.6 < 0.5 * i - 0.3 < 11.6 else 0.0 for i in range(60))
    seen = sampled({"a": (1.0,) * 60}, {"a": throttled})
    seen = msgspec.structs.replace(seen, t_s=tuple(0.5 * i - 0.3 for i in range(60)))  # between two half seconds
    found = judged(hog(), [False] * 60, seen)
    assert found.detected_s == pytest.approx(10.7)
    assert mitigation_s(found) == 0.0


def test_only_raises_within_the_injection_count() -> None:
    early = sampled({"a": (1.0,) * 10 + (2.0,) * 50})
    falling = sampled({"a": tuple(2.0 - 0.01 * i for i in range(60))})
    assert judged(hog(), [False] * 60, early).raised_s is None
    assert judged(hog(), [False] * 60, falling).raised_s is None


def test_throttled_share_is_of_the_group_or_replica_that_is_throttled_most() -> None:
    assert throttled_ratio({"": 1.0, "r0": 0.0}, {"": 1.1, "r0": 0.4, "r1": 9.0}, 0.5) == pytest.approx(0.8)
    assert throttled_ratio({"": math.nan}, {"": math.nan}, 0.5) == 0.0
    assert throttled_ratio({"": 1.0}, {"": 2.0}, 0.0) == 0.0


def test_notes_are_counted_without_their_numbers() -> None:
    assert note_kind("at most 50% at once, towards 0.8124") == note_kind("at most 50% at once, towards 1.2e-05")


# --- contestants -----------------------------------------------------------------------------------------------------


GROUPS = {service: f"vagus-app-x/{service}" for service in SERVICES}


@pytest.mark.parametrize("name", [name for name in KNOWN if name != "none"])
def test_each_known_variant_is_a_valid_armed_controller(name: str) -> None:
    scales = ("front", "users")
    made = controller(KNOWN[name], f"slo-{name}", GROUPS, scales, objective_of("x", 0.2, ("read",)))
    assert made is not None
    assert made.armed
    wanted = [GROUPS[service] for service in (scales if name == "hpa" else SERVICES)]
    assert made.targets == tuple(f"cgroup:{group}" for group in wanted)
    assert ("replicas" in made.limits) == (name == "hpa")
    assert made.objective.latency == 'ingress.p99_s{app="x"}'


TUNING = Path(__file__).parents[2] / "examples/social_network/tuning.yaml"


@pytest.mark.parametrize("variant", load(TUNING, ExperimentSettings).variants, ids=lambda variant: str(variant.name))
def test_each_variant_of_the_tuning_grid_is_a_controller_that_can_be_made(variant: VariantSettings) -> None:
    (same,) = chosen((), (variant,))
    made = controller(same, "n", GROUPS, ("front", "users"), objective_of("x", 0.2, ("read",)))
    assert made is not None
    assert load_controller(made).period_s == seconds(variant.period)


def test_the_autoscaler_counts_in_the_size_of_its_replicas() -> None:
    made = controller(KNOWN["hpa"], "n", GROUPS, ("front",), objective_of("x", 0.2, ()))
    assert made is not None
    assert made.options["request_cores"] == KNOWN["hpa"].replica_cores
    with pytest.raises(ConfigError, match="no service that may have replicas"):
        controller(KNOWN["hpa"], "n", GROUPS, (), objective_of("x", 0.2, ()))


def test_nothing_is_limited_without_a_policy() -> None:
    assert controller(KNOWN["none"], "n", GROUPS, (), objective_of("x", 0.2, ())) is None


def test_unguarded_means_that_wishes_are_written_as_they_come() -> None:
    made = controller(KNOWN["ddpg-unguarded"], "n", GROUPS, (), objective_of("x", 0.2, ()))
    assert made is not None
    assert (made.guard.shield, made.guard.confidence, made.guard.swings, made.guard.rule) == ("none", 0.0, 0, "none")
    assert made.limits["cpu_cores"].step_ratio == 10.0


def test_variants_of_a_file_replace_and_extend_the_known_ones() -> None:
    mine = VariantSettings(name="aimd", policy="aimd", start_cores=0.2)
    more = VariantSettings(name="captain-02", policy="throttle", options={"target": 0.02})
    assert chosen(("none", "aimd"), (mine, more)) == (KNOWN["none"], mine)
    assert chosen((), (mine, more)) == (mine, more)


@pytest.mark.parametrize(
    ("names", "given", "said"),
    [
        (("nobody",), (), "no variant 'nobody'; there are none, hpa"),
        (("aimd", "aimd"), (), "named twice"),
        ((), (), "there are none"),
        ((), (VariantSettings(name="a", policy="aimd"), VariantSettings(name="a")), "two have one name"),
        (("a",), (VariantSettings(name="a", policy="aimd", start_cores=3.0),), "start_cores 3 is not between"),
        (("a",), (VariantSettings(name="a", replica_cores=0.2),), "nobody would scale"),
    ],
)
def test_wrong_variants_are_refused(names: tuple[str, ...], given: tuple[VariantSettings, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        chosen(names, given)


def test_trained_files_are_found_beside_the_application(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"variant ddpg: checkpoint: there is no file .*ddpg\.npz; `vagus train`"):
        with_files(KNOWN["ddpg"], tmp_path)
    assert with_files(KNOWN["throttle"], tmp_path).options == {}  # it begins with nothing learned
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained/ddpg.npz").write_bytes(b"x")
    assert with_files(KNOWN["ddpg"], tmp_path).options == {"checkpoint": str(tmp_path / "trained/ddpg.npz")}


# --- results ---------------------------------------------------------------------------------------------------------


def plan(**more: Any) -> Plan:
    given: dict[str, Any] = {
        "application": "x",
        "services": SERVICES,
        "fixed": ("store",),
        "requests": ("read",),
        "slo_s": 0.2,
        "rate_hz": 20.0,
        "trace": "t.txt",
        "offset_s": 0.0,
        "inject": "",
        "warm_s": 30.0,
        "run_s": 60.0,
        "given_up_s": 10.0,
        "window_s": 2.0,
        "variants": (KNOWN["none"], KNOWN["aimd"]),
    }
    return Plan(**(given | more))


def results(*runs: Run) -> Results:
    return Results(plan=plan(), seeds=(1, 2), runs=runs)


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


def run_of(variant: str, seed: int, violations: int, cores: float | None, **more: Any) -> Run:
    return Run(
        variant=variant, seed=seed, begun="", requests=1000, violations=violations, requested_cores=cores, **more
    )


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
        "mitigation_s": 1.5,
        "mitigation_slo_s": 5.25,
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


# --- the command -----------------------------------------------------------------------------------------------------


APPLICATION = """
name: x
entry: front
services: [{name: front, command: [a]}, {name: store, command: [a], scales: false}]
requests: [{name: read, path: /}]
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    path = tmp_path / "app.yaml"
    path.write_text(APPLICATION)
    (tmp_path / "trace.txt").write_text("1\n2\n3\n")
    (tmp_path / "inject.yaml").write_text(
        'name: c\ninjections: [{type: cpu, intensity: 1 cores, target: "service:store", duration: 5s}]\n'
    )
    return path


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--policies", "nobody"), "there is no variant 'nobody'"),
        (("--policies", "ddpg"), "variant ddpg: checkpoint: there is no file"),
        (("--policies", "none", "--minutes", "0"), "--minutes: 0 is not between"),
        (("--policies", "none", "--slo", "0.1"), "--slo: 0.1 is not between"),
        (("--policies", "none", "--rate", "0"), "--rate: 0 is not between"),
        (("--policies", "none", "--warm", "1s"), "--warm: 1 is not between"),
        (("--policies", "none", "--trace", "{folder}/no.txt"), "cannot read"),
        (("--policies", "none", "--inject", "{folder}/no.yaml"), "no.yaml"),
        (
            ("--policies", "none", "--inject", "{folder}/inject.yaml", "--minutes", "0.05"),
            "no injection ends within 3 s",
        ),
        (("--variants", "{folder}/app.yaml"), "unknown field"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(
    options: tuple[str, ...], said: str, app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vagus.cli.experiment.slo.run_all", lambda *_: pytest.fail("it started"))
    given = [option.format(folder=tmp_path) for option in options]
    done = CliRunner().invoke(command, ["--app", str(app), "-o", str(tmp_path / "out"), *given])
    assert isinstance(done.exception, ConfigError)
    assert said in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_tuning_needs_a_grid(app: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["--app", str(app), "--tune", "-o", str(tmp_path / "out")])
    assert "--tune runs the grid of --variants FILE" in done.output


def test_a_folder_with_results_is_gone_on_with_only_when_told(
    app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[tuple[str, int]]] = []

    def run_all(output: Path, found: Results, todo: Any, *_: Any) -> Results:
        asked.append([(turn.variant, turn.seed) for turn in todo])
        runs = tuple(run_of(turn.variant, turn.seed, 1, None) for turn in todo)
        done = msgspec.structs.replace(found, runs=(*found.runs, *runs))
        slo_results.save(output, done)
        return done

    monkeypatch.setattr("vagus.cli.experiment.slo.run_all", run_all)
    monkeypatch.setattr("vagus.cli.experiment.slo_report.write_report", lambda folder: folder / "report.html")
    out = tmp_path / "out"
    given = ["--app", str(app), "--trace", str(tmp_path / "trace.txt"), "-o", str(out), "--json"]
    first = CliRunner().invoke(command, [*given, "--policies", "none"])
    assert first.exit_code == 0, first.exception
    assert [row["variant"] for row in json.loads(first.stdout)["rows"]] == ["none"]
    assert (out / "trace.txt").read_text() == "1\n2\n3\n"
    refused = CliRunner().invoke(command, [*given, "--policies", "none"])
    assert "has results already; --resume" in str(refused.exception)
    more = CliRunner().invoke(command, [*given, "--policies", "none,captain", "--seeds", "2", "--resume"])
    assert more.exit_code == 0, more.exception
    assert asked == [[("none", 1)], [("captain", 1), ("captain", 2), ("none", 2)]]
    (tmp_path / "trace.txt").write_text("1\n2\n4\n")
    changed = CliRunner().invoke(command, [*given, "--policies", "none", "--resume"])
    assert "trace.txt is another than the one that is given now" in str(changed.exception)


def test_runs_that_went_wrong_are_named_at_the_end(app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_all(output: Path, found: Results, *_: Any) -> Results:
        done = msgspec.structs.replace(found, runs=(run_of("none", 1, 1, None, error="it broke"),))
        slo_results.save(output, done)
        return done

    monkeypatch.setattr("vagus.cli.experiment.slo.run_all", run_all)
    monkeypatch.setattr("vagus.cli.experiment.slo_report.write_report", lambda folder: folder / "report.html")
    done = CliRunner().invoke(command, ["--app", str(app), "--policies", "none", "-o", str(tmp_path / "out")])
    assert "1 of 1 runs went wrong, such as none, seed 1: it broke; --resume does them again" in str(done.exception)
