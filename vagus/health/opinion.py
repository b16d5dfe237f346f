"""Every observer's opinion on each context of a subject: what the strategies vote over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from vagus.health.view import Opinion, mean, opinion_of
from vagus.model import Inference, Metric, Report, Status, Verdict

PENDING_NS = 3_000_000_000
PENDING_REPEATS = 3


def opinions(
    views: Mapping[str, Sequence[Report]], now_ns: int, pending_ns: int, pending_repeats: int
) -> dict[str, list[Opinion]]:
    """Opinions by context, both in order of name, so that every node computes the same floats.

    A PENDING that the observer repeated more than `pending_repeats` times in a row, or that stands for `pending_ns`,
    counts as UNHEALTHY: the answer that it waited for has not come.
    """
    found: dict[str, list[Opinion]] = {}
    for observer in sorted(views):
        for context, opinion in opinion_of(views[observer]).items():
            if opinion.metric.status == Status.PENDING and (
                opinion.repeats > pending_repeats or now_ns - opinion.since_ns >= pending_ns
            ):
                opinion = opinion._replace(metric=Metric(Status.UNHEALTHY, opinion.metric.score))
            found.setdefault(context, []).append(opinion)
    return dict(sorted(found.items()))


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
