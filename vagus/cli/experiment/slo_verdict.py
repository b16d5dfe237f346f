"""Who beats whom in `vagus experiment slo`, in plain words made from the figures, losses included. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from vagus.cli.experiment.slo_results import Results, Run
from vagus.cli.experiment.slo_summary import BY_KEY, Measure, Row, cores, percent, rows
from vagus.config import VariantSettings

BASELINES = ("hpa", "aimd")
"""Policies that people run today; others that limit anything are contenders."""
CALIBRATED = ("throttle", "tower")
"""Contenders that are rules with a few numbers to set; the others have learned a model."""
SAME_RATIO = 0.02  # figures that differ by less are called the same
FEW_SEEDS = 3
LATE_S = 0.010  # a load that sends later than that is not what it says
BUSY_RATIO = 0.97


class Versus(NamedTuple):
    """A variant against another, over the seeds that both have. less: by measure, in how many seeds it has less."""

    ours: Row
    theirs: Row
    seeds: int
    violations: tuple[float, float]
    requested: tuple[float, float] | None
    fewer: int  # seeds with fewer violations
    cheaper: int  # seeds with no more requested CPU

    @property
    def fewer_violations(self) -> bool:
        return self.violations[0] < self.violations[1]

    @property
    def no_more_cpu(self) -> bool:
        return self.requested is not None and self.requested[0] <= self.requested[1] * (1 + 1e-9)

    @property
    def wins(self) -> bool:
        """Fewer violations at no more requested CPU."""
        return self.fewer_violations and self.no_more_cpu

    @property
    def loses(self) -> bool:
        """No fewer violations, and no less CPU for it."""
        return not self.fewer_violations and self.requested is not None and self.requested[0] >= self.requested[1]


def versus(ours: Row, theirs: Row) -> Versus | None:
    """None where they have no seed in common."""
    mine = {run.seed: run for run in ours.runs}
    pairs = [(mine[run.seed], run) for run in theirs.runs if run.seed in mine]
    if not pairs or not all(run.requests for pair in pairs for run in pair):
        return None
    late = [(one.violations / one.requests, other.violations / other.requests) for one, other in pairs]
    cpu = [
        (one.requested_cores, other.requested_cores)
        for one, other in pairs
        if one.requested_cores is not None and other.requested_cores is not None
    ]
    return Versus(
        ours,
        theirs,
        len(pairs),
        (_late([one for one, _ in pairs]), _late([other for _, other in pairs])),
        (_mean([a for a, _ in cpu]), _mean([b for _, b in cpu])) if len(cpu) == len(pairs) else None,
        sum(a < b for a, b in late),
        sum(a <= b for a, b in cpu),
    )


def _late(runs: Sequence[Run]) -> float:
    return sum(run.violations for run in runs) / sum(run.requests for run in runs)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def sentence(pair: Versus) -> str:
    """One variant against another, in words."""
    a, b = pair.violations
    percents = f"{percent(a)} % against {percent(b)} %"
    if _same(a, b):
        late = f"as many SLO violations as {pair.theirs.name} ({percents})"
    else:
        word, count = ("fewer", pair.fewer) if a < b else ("more", pair.seeds - pair.fewer)
        late = f"{word} SLO violations than {pair.theirs.name} ({percents}{_in_seeds(count, pair.seeds)})"
    if pair.requested is None:
        return f"{pair.ours.name} has {late}."
    c, d = pair.requested
    amounts = f"{cores(c)} against {cores(d)} cores"
    if _same(c, d):
        cpu = f"the same requested CPU ({amounts})"
    else:
        word, count = ("less", pair.cheaper) if c < d else ("more", pair.seeds - pair.cheaper)
        cpu = f"{word} requested CPU ({amounts}{_in_seeds(count, pair.seeds)})"
    verdict = "better in both" if pair.wins and not (_same(a, b) or _same(c, d)) else ""
    if not _same(a, b) and not _same(c, d) and pair.fewer_violations != pair.no_more_cpu:
        verdict = "a trade, no win"
    if pair.loses and not _same(a, b):
        verdict = "it loses"
    return f"{pair.ours.name} has {late} at {cpu}{': ' + verdict if verdict else ''}."


def _same(a: float, b: float) -> bool:
    return abs(a - b) <= SAME_RATIO * max(abs(a), abs(b))


def _in_seeds(count: int, seeds: int) -> str:
    if seeds == 1:
        return ""
    return f", in all {seeds} seeds" if count == seeds else f", but only in {count} of {seeds} seeds"


class Verdict(NamedTuple):
    """headline: one sentence; aims: (variant, whether it has fewer violations at no more CPU than every baseline);
    points: sentences; losses: where contenders lose; doubts: what speaks against the figures."""

    headline: str
    aims: tuple[tuple[str, bool], ...]
    points: tuple[str, ...]
    losses: tuple[str, ...]
    doubts: tuple[str, ...]


def verdict(results: Results) -> Verdict:
    """What the figures say, in plain words."""
    table = [row for row in rows(results) if row.runs]
    limited = [row for row in table if row.variant.policy]
    baselines = [row for row in limited if row.variant.policy in BASELINES]
    contenders = [row for row in limited if row not in baselines]
    aims, points, losses = [], [], []
    for row in contenders:
        pairs = [pair for other in baselines if (pair := versus(row, other)) is not None]
        points += [sentence(pair) for pair in pairs]
        if pairs:
            aims.append((row.name, all(pair.wins for pair in pairs)))
        own = row.values["own"].mean
        if own is not None and learned(row.variant) and row.variant.guarded:
            points.append(
                f"{row.name}: {100 * own:.0f} % of the limits that were in force were its own, as it wished them."
            )
    losses = _losses(contenders, baselines)
    points += _unlimited(table, limited)
    return Verdict(_headline(limited, aims), tuple(aims), tuple(points), tuple(losses), tuple(_doubts(results, table)))


def learned(variant: VariantSettings) -> bool:
    """Whether its policy has a learned model."""
    return bool(variant.policy) and variant.policy not in (*BASELINES, *CALIBRATED)


def _headline(limited: Sequence[Row], aims: Sequence[tuple[str, bool]]) -> str:
    late = {row.name: mean for row in limited if (mean := row.values["violations"].mean) is not None}
    if not late:
        return "There is no valid run of a policy that limits anything: nothing can be said yet."
    cpu = {row.name: mean for row in limited if (mean := row.values["requested"].mean) is not None}
    first = min(late, key=lambda name: late[name])
    words = f"{first} has the fewest SLO violations, {percent(late[first])} %"
    words += f", with {cores(cpu[first])} cores requested" if first in cpu else ""
    cheapest = min(cpu, key=lambda name: cpu[name]) if cpu else first
    if cheapest != first:
        words += f"; {cheapest} requests the least CPU, {cores(cpu[cheapest])} cores, with {percent(late[cheapest])} %"
    elif len(cpu) > 1:
        words += ", which is also the least"
    winners = [name for name, won in aims if won]
    if aims:
        others = "the baselines"
        words += (
            f". Fewer violations than {others} at no more requested CPU: {', '.join(winners)}"
            if winners
            else f". No policy has fewer violations than {others} at no more requested CPU"
        )
    return words + "."


def _losses(contenders: Sequence[Row], baselines: Sequence[Row]) -> list[str]:
    """Where contenders lose: to baselines, and learned ones to calibrated ones and to none in need of a guard."""
    found = []
    for row in contenders:
        rivals = list(baselines)
        if learned(row.variant):
            rivals += [other for other in contenders if not learned(other.variant)]
        for other in rivals:
            pair = versus(row, other)
            if pair is None or pair.wins:
                continue
            what = []
            if pair.violations[0] > pair.violations[1]:
                what.append(
                    f"more SLO violations ({percent(pair.violations[0])} % against {percent(pair.violations[1])} %)"
                )
            if pair.requested is not None and pair.requested[0] > pair.requested[1]:
                what.append(f"more requested CPU ({cores(pair.requested[0])} against {cores(pair.requested[1])} cores)")
            if what:
                found.append(f"{row.name} has {' and '.join(what)} than {other.name}.")
        for key in ("p99", "mitigation"):
            found += _slower(row, rivals, BY_KEY[key])
    return found


def _slower(row: Row, rivals: Sequence[Row], measure: Measure) -> list[str]:
    mine = row.values[measure.key].mean
    theirs = {r.name: mean for r in rivals if (mean := r.values[measure.key].mean) is not None}
    if mine is None or not theirs:
        return []
    name = min(theirs, key=lambda n: theirs[n])
    if mine <= theirs[name] * (1 + SAME_RATIO):
        return []
    values = f"{measure.form(mine)} against {measure.form(theirs[name])} {measure.unit}"
    return [
        f"{row.name} is behind {name} in {measure.title if measure.key == 'p99' else 'detection to mitigation'} ({values})."
    ]


def _unlimited(table: Sequence[Row], limited: Sequence[Row]) -> list[str]:
    found = []
    for row in table:
        if not row.variant.policy and (mean := row.values["violations"].mean) is not None:
            used = row.values["used"].mean
            words = f" and {cores(used)} cores used" if used is not None else ""
            found.append(f"Without any limit ({row.name}) there are {percent(mean)} % SLO violations{words}.")
    for row in limited:
        if row.variant.guarded or not learned(row.variant):
            continue
        for other in limited:
            if other.variant.guarded and other.variant.policy == row.variant.policy:
                pair = versus(other, row)
                found += [f"What the guard does: {sentence(pair)}"] if pair else []
    return found


def _doubts(results: Results, table: Sequence[Row]) -> list[str]:
    found = []
    failed = [run for run in results.runs if run.error]
    if failed:
        found.append(f"{len(failed)} of {len(results.runs)} runs are not valid and left out: {failed[0].error[:200]}")
    missing = [v.name for v in results.plan.variants if v.name not in {row.name for row in table}]
    if missing:
        found.append(f"Nothing is known of {', '.join(missing)}: no valid run.")
    n = min((len(row.runs) for row in table), default=0)
    if 0 < n < FEW_SEEDS:
        found.append(f"With {n} seed{'s' if n > 1 else ''} a difference may be chance; {FEW_SEEDS} or more tell more.")
    late = [run for row in table for run in row.runs if run.late_s is not None and run.late_s > LATE_S]
    if late:
        worst = max(run.late_s or 0.0 for run in late)
        found.append(
            f"In {len(late)} runs the load itself sent late (99th percentile up to {1000 * worst:.0f} ms): latencies hold, "
            "since they count from when a request was due, but part of them is the load's."
        )
    busy = [run for row in table for run in row.runs if (run.machine_ratio or 0) > BUSY_RATIO]
    if busy:
        found.append(
            f"In {len(busy)} runs the machine was busy altogether: who waited for a limit, and who for a processor?"
        )
    notes = {note for row in table for run in row.runs for note in run.notes}
    return found + sorted(notes)[:10]
