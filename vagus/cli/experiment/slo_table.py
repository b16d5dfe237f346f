"""The table of an experiment as JSON: a row a variant, over its seeds; and the best of a grid. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from vagus.cli.experiment.slo_measure import broke, median, mitigation_s
from vagus.cli.experiment.slo_results import Injected, Results
from vagus.cli.experiment.slo_summary import Row, rows

ALLOWED_RATIO = 0.01
"""Of the requests may be late: the objective is a P99."""
NAMES = {
    "violations": "violation_ratio",
    "windows": "windows_over_ratio",
    "p50": "p50_s",
    "p99": "p99_s",
    "p999": "p999_s",
    "requested": "requested_cores",
    "used": "used_cores",
    "mitigation": "mitigation_s",
    "actions": "actions",
    "interventions": "interventions",
    "own": "own_ratio",
}
"""By key of the measure (`slo_summary`): with its unit."""


def summary(results: Results) -> list[dict[str, Any]]:
    """A row for each variant that has runs, in the plan's order: means over seeds, `by_seed` the runs' own, and `hogs`."""
    return [_row(row) for row in rows(results) if row.runs]


def _row(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {"variant": row.name, "policy": row.variant.policy}
    found |= {"requests": sum(run.requests for run in row.runs), "failed_runs": row.failed}
    found |= {name: row.values[key].mean for key, name in NAMES.items()}
    found["by_seed"] = [
        {"seed": run.seed, "violation_ratio": run.violation_ratio, "requested_cores": run.requested_cores}
        for run in row.runs
    ]
    found["hogs"] = hogs([hit for run in row.runs for hit in run.injected if hit.type == "cpu"])
    return found


def hogs(hits: Sequence[Injected]) -> dict[str, Any]:
    """Of CPU hogs: how many happened, showed, broke the SLO, of these were not mitigated before they ended (censored);
    medians of the time from detection to mitigation of those that broke it, and from the begin to the first raise."""
    happened = [hit for hit in hits if hit.end_s > hit.begin_s]
    late = [hit for hit in happened if broke(hit)]
    return {
        "happened": len(happened),
        "detected": sum(hit.detected_s is not None for hit in happened),
        "broke_slo": len(late),
        "censored": sum(hit.mitigated_s is None for hit in late),
        "mitigation_s": median([took for hit in late if (took := mitigation_s(hit)) is not None]),
        "raise_s": median([hit.raised_s - hit.begin_s for hit in happened if hit.raised_s is not None]),
    }


def best(table: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of each policy the best of its variants: the least requested CPU among those that keep the objective (1 % of the
    requests late at most), as Autothrottle's baselines were tuned; where none does, the fewest violations."""
    found: dict[str, dict[str, Any]] = {}
    for row in table:
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
