"""The table of an experiment: a row a variant, over its seeds; and the best of a grid. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from vagus.cli.experiment.slo_measure import mitigation_s
from vagus.cli.experiment.slo_results import Results, Run

ALLOWED_RATIO = 0.01
"""Of the requests may be late: the objective is a P99."""


def mean(runs: Sequence[Run], figure: Callable[[Run], float | None]) -> float | None:
    """The mean of a figure over runs; None when one of them has none."""
    found = [value for run in runs if (value := figure(run)) is not None]
    return math.fsum(found) / len(found) if found and len(found) == len(runs) else None


def summary(results: Results) -> list[dict[str, Any]]:
    """A row for each variant that has runs, in the plan's order; means over its seeds, ratios of sums where they are.

    mitigation_s, raise_s: medians over all CPU hogs; censored: hogs that ended before the SLO was kept again.
    """
    return [
        _row(variant.name, variant.policy, runs)
        for variant in results.plan.variants
        if (runs := results.of(variant.name))
    ]


def _row(name: str, policy: str, runs: Sequence[Run]) -> dict[str, Any]:
    requests = sum(run.requests for run in runs)
    hogs = [one for run in runs for one in run.injected if one.type == "cpu" and one.end_s > one.begin_s]
    detected = [one for one in hogs if one.detected_s is not None]
    took = [taken for one in detected if (taken := mitigation_s(one)) is not None]
    hurt = [taken for one in detected if one.detected_by == "window" and (taken := mitigation_s(one)) is not None]
    raised = [one.raised_s - one.begin_s for one in hogs if one.raised_s is not None]
    steered = sum(run.steps.steered for run in runs)
    return {
        "variant": name,
        "policy": policy,
        "seeds": [run.seed for run in runs],
        "requests": requests,
        "violation_ratio": sum(run.violations for run in runs) / requests if requests else None,
        "violation_ratio_by_seed": [run.violation_ratio for run in runs],
        "failed": sum(run.failed for run in runs),
        "windows_over_ratio": mean(runs, lambda run: run.windows_over_ratio),
        "p50_s": mean(runs, lambda run: run.p50_s),
        "p99_s": mean(runs, lambda run: run.p99_s),
        "p999_s": mean(runs, lambda run: run.p999_s),
        "requested_cores": mean(runs, lambda run: run.requested_cores),
        "requested_cores_by_seed": [run.requested_cores for run in runs],
        "used_cores": mean(runs, lambda run: run.used_cores),
        "machine_ratio": mean(runs, lambda run: run.machine_ratio),
        "hogs": len(hogs),
        "detected": len(detected),
        "censored": sum(one.mitigated_s is None for one in detected),
        "mitigation_s": median(took) if took else None,
        "mitigation_slo_s": median(hurt) if hurt else None,
        "slo_broken": len(hurt),
        "raise_s": median(raised) if raised else None,
        "actions": sum(run.steps.actions for run in runs),
        "interventions": sum(run.steps.interventions for run in runs),
        "own_ratio": sum(run.steps.own for run in runs) / steered if steered else None,
    }


def best(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of each policy the best of its variants: the least requested CPU among those that keep the objective (1 % of the
    requests late at most), as Autothrottle's baselines were tuned; where none does, the fewest violations."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["violation_ratio"] is None:
            continue
        present = found.get(row["policy"])
        if present is None or _rank(row) < _rank(present):
            found[row["policy"]] = row
    return found


def _rank(row: dict[str, Any]) -> tuple[int, float, float]:
    cores = math.inf if row["requested_cores"] is None else row["requested_cores"]
    late = row["violation_ratio"]
    return (0, cores, late) if late <= ALLOWED_RATIO else (1, late, cores)
