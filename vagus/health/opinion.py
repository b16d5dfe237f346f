"""Every observer's opinion on each context of a subject: what the strategies vote over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from vagus.health.view import mean, walk
from vagus.model import Inference, Metric, Report, Status, Verdict

PENDING_NS = 3_000_000_000
PENDING_REPEATS = 3


class Opinion(NamedTuple):
    """One observer on one context: its metric, and when it last spoke of it."""

    observer: str
    metric: Metric
    t_ns: int


def opinions(
    views: Mapping[str, Sequence[Report]], now_ns: int, pending_ns: int, pending_repeats: int
) -> dict[str, list[Opinion]]:
    """Opinions by context, both in order of name, so that every node computes the same floats.

    A PENDING that the observer repeated more than `pending_repeats` times in a row, or that stands for `pending_ns`,
    counts as UNHEALTHY: the answer that it waited for has not come.
    """
    found: dict[str, list[Opinion]] = {}
    for observer in sorted(views):
        view = views[observer]
        for context, metric in walk(view).items():
            t_ns, repeats, since_ns = _run(view, context)
            if metric.status == Status.PENDING and (repeats > pending_repeats or now_ns - since_ns >= pending_ns):
                metric = Metric(Status.UNHEALTHY, metric.score)
            found.setdefault(context, []).append(Opinion(observer, metric, t_ns))
    return dict(sorted(found.items()))


def _run(view: Sequence[Report], context: str) -> tuple[int, int, int]:
    """The newest time of a context, and the length and first time of the run of equal statuses that it ends."""
    newest_ns = since_ns = repeats = 0
    status = None
    for report in reversed(view):
        metric = report.contexts.get(context)
        if metric is None:
            continue
        if status is None:
            status, newest_ns = metric.status, report.t_ns
        elif metric.status != status:
            break
        repeats += 1
        since_ns = report.t_ns
    return newest_ns, repeats, since_ns


def votes(given: Sequence[Opinion]) -> list[Opinion]:
    """The opinions that say something: not NA, not INVALID."""
    return [opinion for opinion in given if opinion.metric.status >= Status.HEALTHY]


def most_common(statuses: Iterable[Status]) -> Status:
    """The most common of at least one status, ties to the more severe."""
    counted = Counter(statuses)
    return max(counted, key=lambda status: (counted[status], status))


def verdict(status: Status, given: Sequence[Opinion]) -> Verdict:
    """`status` with the mean score of those who hold it (a dissenter's score never counts), and the accusers."""
    scores = [opinion.metric.score for opinion in given if opinion.metric.status == status]
    accusers = tuple(opinion.observer for opinion in given if opinion.metric.status > Status.PENDING)
    return Verdict(status, mean(scores), accusers)


def conclude(
    strategy: str, subject: str, views: Mapping[str, Sequence[Report]], verdicts: dict[str, Verdict], now_ns: int
) -> Inference:
    """The inference from the contexts' verdicts: as bad as the worst of them; NA without any."""
    worst = max((verdict.status for verdict in verdicts.values()), default=Status.NA)
    return Inference(subject, now_ns, worst, verdicts, tuple(sorted(views)), strategy)
