"""One observer's view of a subject, boiled down to a metric per context (Panorama, OSDI'18, section 5)."""

from __future__ import annotations

from collections.abc import Sequence

from vagus.model import Metric, Report, Status

AVERAGED = 2
"""At most so many observations of the same status share the score."""


def walk(view: Sequence[Report]) -> dict[str, Metric]:
    """The metric of each context of a view, whose reports are given oldest first.

    Newest to oldest: the newest value counts; the score is the mean of at most two observations of the same status;
    an older PENDING under a newer HEALTHY is skipped; any other different status stops the walk. Changes nothing.
    """
    taken: dict[str, tuple[Status, list[float]]] = {}
    stopped: set[str] = set()
    for report in reversed(view):
        for context, metric in report.contexts.items():
            if context not in taken:
                taken[context] = (metric.status, [metric.score])
            elif context not in stopped:
                status, scores = taken[context]
                if metric.status == status:
                    scores.append(metric.score)
                    if len(scores) == AVERAGED:
                        stopped.add(context)
                elif not (metric.status == Status.PENDING and status == Status.HEALTHY):
                    stopped.add(context)
    return {context: Metric(status, mean(scores)) for context, (status, scores) in taken.items()}


def mean(scores: Sequence[float]) -> float:
    """The mean of at least one finite score, finite even where their sum would not be."""
    return sum(score / len(scores) for score in scores)
