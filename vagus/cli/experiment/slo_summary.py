"""What the results of `vagus experiment slo` are: the measures, and a row a variant of their means over seeds. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from vagus.cli.experiment.slo_measure import broke, median, mitigation_s
from vagus.cli.experiment.slo_results import Results, Run
from vagus.config import VariantSettings


class Value(NamedTuple):
    """A figure's mean over seeds, with its smallest and largest; n: of how many. None: not known for each of them."""

    mean: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0


class Measure(NamedTuple):
    """A column. form: of a value, in words; better: -1 less is, 1 more is, 0 neither; what: how it is defined."""

    key: str
    title: str
    unit: str
    of: Callable[[Run], float | None]
    form: Callable[[float], str]
    better: int
    what: str


def ms(value: float) -> str:
    return f"{1000 * value:.0f}" if value >= 0.01 else f"{1000 * value:.1f}"


def percent(value: float) -> str:
    return f"{100 * value:.2f}" if value < 0.1 else f"{100 * value:.1f}"


def cores(value: float) -> str:
    return f"{value:.2f}"


def count(value: float) -> str:
    return f"{value:.0f}"


def _mitigated(run: Run) -> float | None:
    return median([took for hit in run.injected if (took := mitigation_s(hit)) is not None])


MEASURES = (
    Measure(
        *("violations", "SLO violations", "%", lambda run: run.violation_ratio, percent, -1),
        "Requests of the measured part that took longer than the SLO, or failed, of all that were due. A request's time "
        "counts from when it was due, not from when it could be sent; one that is not answered in time is given up.",
    ),
    Measure(
        *("windows", "windows over SLO", "%", lambda run: run.windows_over_ratio, percent, -1),
        "Windows (one every half second) whose 99th percentile is over the SLO; who still waits counts with its age.",
    ),
    Measure(
        *("p50", "P50", "ms", lambda run: run.p50_s, ms, -1),
        "Half of the requests took no longer; failed ones count as long as one waits before one gives up.",
    ),
    Measure(*("p99", "P99", "ms", lambda run: run.p99_s, ms, -1), "As P50, of 99 in 100 requests."),
    Measure(*("p999", "P99.9", "ms", lambda run: run.p999_s, ms, -1), "As P50, of 999 in 1000 requests."),
    Measure(
        *("requested", "requested CPU", "cores", lambda run: run.requested_cores, cores, -1),
        "The sum of the limits in force of all services (of replicas of a fixed size: number × size), read from the "
        "control groups twice a second, averaged over time. It is what nobody else can count on. A replica that starts is "
        "not limited, nor counted, until it answers.",
    ),
    Measure(
        *("used", "used CPU", "cores", lambda run: run.used_cores, cores, -1),
        "The CPU time of all services' control groups, divided by the time; that of programs gone wild is in it.",
    ),
    Measure(
        *("mitigation", "mitigation", "s", _mitigated, lambda value: f"{value:.1f}", -1),
        "From when an injection shows (the first half second whose P99 is over the SLO, or excessive throttling of the "
        "service that is hit) to the first half second within the SLO that stays so for two seconds: the median over "
        "the injections that broke the SLO. One that was not mitigated counts until its end, that is with less than it "
        "took.",
    ),
    Measure(
        *("actions", "actions", "", lambda run: float(run.steps.actions), count, 0),
        "Limits that were changed.",
    ),
    Measure(
        *("interventions", "guard", "", lambda run: float(run.steps.interventions), count, 0),
        "Wishes of the policy that the guard did not let through as they came: held, changed, or changed by its shield.",
    ),
    Measure(
        *("own", "own actions", "%", lambda run: run.steps.own_ratio, lambda value: f"{100 * value:.0f}", 0),
        "Of all limits that the policy asked for, step by step, the share that was in force as it wished them.",
    ),
)
BY_KEY = {measure.key: measure for measure in MEASURES}


class Row(NamedTuple):
    """A variant's figures, by key of the measure. runs: the valid ones; failed: how many are not."""

    variant: VariantSettings
    values: dict[str, Value]
    runs: tuple[Run, ...]
    failed: int

    @property
    def name(self) -> str:
        return self.variant.name


def rows(results: Results) -> list[Row]:
    """A row a variant, as planned."""
    found = []
    for variant in results.plan.variants:
        runs = results.of(variant.name)
        values = {measure.key: value(runs, measure) for measure in MEASURES}
        failed = sum(run.variant == variant.name and bool(run.error) for run in results.runs)
        found.append(Row(variant, values, tuple(runs), failed))
    return found


def value(runs: Sequence[Run], measure: Measure) -> Value:
    """A measure over runs. Shares are of all requests, or limits, together; a median of all injections together."""
    known = [number for run in runs if (number := measure.of(run)) is not None]
    if not known or (len(known) < len(runs) and measure.key != "mitigation"):
        return Value(None)
    if measure.key == "violations":
        mean = sum(run.violations for run in runs) / sum(run.requests for run in runs)
    elif measure.key == "own":
        mean = sum(run.steps.own for run in runs) / sum(run.steps.steered for run in runs)
    elif measure.key == "mitigation":
        mean = median([s for run in runs for hit in run.injected if (s := mitigation_s(hit)) is not None]) or 0.0
    else:
        mean = math.fsum(known) / len(known)
    return Value(mean, min(known), max(known), len(known))


class Seen(NamedTuple):
    """Injections that happened, those that showed, those that broke the SLO, and of these those that were mitigated
    before their end."""

    happened: int
    detected: int
    broke: int
    mitigated: int


def seen(runs: Sequence[Run]) -> Seen:
    """Of all runs together."""
    hits = [hit for run in runs for hit in run.injected if hit.end_s > hit.begin_s]
    detected = [hit for hit in hits if hit.detected_s is not None]
    late = [hit for hit in hits if broke(hit)]
    return Seen(len(hits), len(detected), len(late), sum(hit.mitigated_s is not None for hit in late))


def shown(row: Row, measure: Measure) -> str:
    """A figure's mean in words, without its unit; a dash where there is none, and `none` where nothing is limited."""
    mean = row.values[measure.key].mean
    if mean is None or (not row.variant.policy and measure.key in ("actions", "interventions")):
        return "no limit" if measure.key == "requested" and row.runs and not row.variant.policy else "–"
    return measure.form(mean)


def spread(row: Row, measure: Measure) -> str:
    """Smallest to largest over seeds, in words; empty where there is none."""
    low, high, n = row.values[measure.key][1:]
    if low is None or high is None or n < 2 or shown(row, measure) == "–":
        return ""
    words = measure.form(low), measure.form(high)
    return "–".join(words) if words[0] != words[1] else ""


def best(table: Sequence[Row], measure: Measure) -> set[str]:
    """The variants with the best value among those that limit anything; empty where there is no better or worse."""
    known = {
        row.name: mean for row in table if row.variant.policy and (mean := row.values[measure.key].mean) is not None
    }
    if not measure.better or len(known) < 2:
        return set()
    top = min(known.values(), key=lambda mean: -measure.better * mean)
    found = {name for name, mean in known.items() if measure.form(mean) == measure.form(top)}
    return found if len(found) < len(known) else set()
