"""Who beats whom in `vagus experiment slo`, in plain words made from the figures, losses included. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from vagus.cli.experiment.slo_results import Results, Run
from vagus.cli.experiment.slo_summary import BY_KEY, Row, cores, percent, rows
from vagus.config import VariantSettings

BASELINES = ("hpa", "aimd")
"""Policies that people run today; others that limit anything are contenders."""
CALIBRATED = ("throttle", "tower")
"""Contenders that are rules with a few numbers to set; the others have learned a model."""
FEW_SEEDS = 3
LATE_S = 0.010  # a load that sends later than that is not what it says
BUSY_RATIO = 0.97


class Versus(NamedTuple):
    """A variant against another, over the seeds that both have: what ours and theirs is. Equal is what prints equal."""

    ours: Row
    theirs: Row
    seeds: int
    violations: tuple[float, float]
    requested: tuple[float, float] | None  # None: one of them limits nothing
    fewer: int  # seeds with fewer violations
    cheaper: int  # seeds with less requested CPU

    @property
    def late(self) -> int:
        """-1: fewer violations, 0: as many, 1: more."""
        return _sign(self.violations, percent)

    @property
    def cpu(self) -> int:
        """-1: less requested CPU, 0: as much, 1: more; 0 where it is not known."""
        return _sign(self.requested, cores) if self.requested else 0

    @property
    def wins(self) -> bool:
        """Fewer violations at no more requested CPU."""
        return self.late < 0 and self.cpu <= 0 and self.requested is not None

    @property
    def word(self) -> str:
        """How it comes out."""
        both = {
            (-1, -1): "better in both",
            (-1, 0): "better: fewer violations, as much CPU",
            (0, -1): "better: less CPU, as many violations",
            (0, 0): "no difference",
            (-1, 1): "a trade: fewer violations for more CPU",
            (1, -1): "a trade: less CPU for more violations",
            (0, 1): "loses: more CPU, as many violations",
            (1, 0): "loses: more violations, as much CPU",
            (1, 1): "loses in both",
        }
        if self.requested is None:
            return ("fewer violations", "as many violations", "more violations")[self.late + 1]
        return both[self.late, self.cpu]


def _sign(pair: tuple[float, float], form: Callable[[float], str]) -> int:
    a, b = pair
    return 0 if form(a) == form(b) else -1 if a < b else 1


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
        sum(a < b for a, b in cpu),
    )


def _late(runs: Sequence[Run]) -> float:
    return sum(run.violations for run in runs) / sum(run.requests for run in runs)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


class Verdict(NamedTuple):
    """headline: one sentence; aims: (contender, whether it has fewer violations at no more CPU than every baseline);
    duels: each contender against each baseline, and what else there is to compare; points: what else there is to say;
    losses: where contenders lose; doubts: what speaks against the figures."""

    headline: str
    aims: tuple[tuple[str, bool], ...]
    duels: tuple[Versus, ...]
    points: tuple[str, ...]
    losses: tuple[str, ...]
    doubts: tuple[str, ...]


def verdict(results: Results) -> Verdict:
    """What the figures say, in plain words."""
    table = [row for row in rows(results) if row.runs]
    limited = [row for row in table if row.variant.policy]
    baselines = [row for row in limited if row.variant.policy in BASELINES]
    planned = sum(variant.policy in BASELINES for variant in results.plan.variants)
    contenders = [row for row in limited if row not in baselines]
    aims, duels, losses = [], [], []
    for row in contenders:
        pairs = [pair for other in baselines if (pair := versus(row, other)) is not None]
        if pairs:  # a baseline without a valid run is not beaten
            aims.append((row.name, len(pairs) == planned and all(pair.wins for pair in pairs)))
        if learned(row.variant):  # also whether learning was worth it, and what the guard does to it
            rules = [other for other in contenders if not learned(other.variant)]
            bare = [
                other
                for other in contenders
                if other.variant.policy == row.variant.policy and not other.variant.guarded
            ]
            rivals = rules + (bare if row.variant.guarded else [])
            pairs += [pair for other in rivals if (pair := versus(row, other)) is not None]
        duels += pairs
        losses += _losses(row, pairs)
    points = [*_own(contenders), *_unlimited(table)]
    return Verdict(
        _headline(limited, aims),
        tuple(aims),
        tuple(duels),
        tuple(points),
        tuple(losses),
        tuple(_doubts(results, table)),
    )


def learned(variant: VariantSettings) -> bool:
    """Whether its policy has a learned model."""
    return bool(variant.policy) and variant.policy not in (*BASELINES, *CALIBRATED)


def _headline(limited: Sequence[Row], aims: Sequence[tuple[str, bool]]) -> str:
    late = {row.name: mean for row in limited if (mean := row.values["violations"].mean) is not None}
    if not late:
        return "There is no valid run of a policy that limits anything: nothing can be said yet."
    cpu = {row.name: mean for row in limited if row.name in late and (mean := row.values["requested"].mean) is not None}
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
        words += f". {' and '.join(winners) or 'No contender'} " + ("have" if len(winners) > 1 else "has")
        words += " fewer than every baseline at no more requested CPU"
    return words + "."


def _losses(row: Row, pairs: Sequence[Versus]) -> list[str]:
    """Where a contender is behind those that it is compared with, in one sentence."""
    what = []
    for pair in pairs:
        worse = []
        if pair.late > 0:
            worse.append(f"more SLO violations ({_against(pair.violations, percent)} %)")
        if pair.cpu > 0 and pair.requested is not None:
            worse.append(f"more requested CPU ({_against(pair.requested, cores)} cores)")
        if worse:
            what.append(f"{' and '.join(worse)} than {pair.theirs.name}")
    for measure, words in ((BY_KEY["p99"], "a larger P99"), (BY_KEY["mitigation"], "a slower mitigation")):
        mine = row.values[measure.key].mean
        theirs = [
            (mean, pair.theirs.name) for pair in pairs if (mean := pair.theirs.values[measure.key].mean) is not None
        ]
        if mine is not None and theirs and measure.form(min(theirs)[0]) != measure.form(mine) and mine > min(theirs)[0]:
            what.append(
                f"{words} than {min(theirs)[1]} ({_against((mine, min(theirs)[0]), measure.form)} {measure.unit})"
            )
    return [f"{row.name}: {'; '.join(what)}."] if what else []


def _against(pair: tuple[float, float], form: Callable[[float], str]) -> str:
    return f"{form(pair[0])} against {form(pair[1])}"


def _own(contenders: Sequence[Row]) -> list[str]:
    return [
        f"{row.name}: {100 * own:.0f} % of the limits that it asked for were in force as it wished them."
        for row in contenders
        if learned(row.variant) and row.variant.guarded and (own := row.values["own"].mean) is not None
    ]


def _unlimited(table: Sequence[Row]) -> list[str]:
    found = []
    for row in table:
        if not row.variant.policy and (mean := row.values["violations"].mean) is not None:
            used = row.values["used"].mean
            words = f" and {cores(used)} cores used" if used is not None else ""
            found.append(f"Without any limit ({row.name}) there are {percent(mean)} % SLO violations{words}.")
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
    if len({tuple(run.seed for run in row.runs) for row in table}) > 1:
        found.append(
            "Not every policy has a run of every seed: means are of different loads; pairs are of common seeds."
        )
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
