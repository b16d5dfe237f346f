"""One observer's view of a subject, boiled down to a metric per context (Panorama, OSDI'18, section 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from vagus.model import Metric, Report, Status

Made = TypeVar("Made")

AVERAGED = 2
"""At most so many observations of the same status share the score."""


class Opinion(NamedTuple):
    """One observer on one context: its metric, and when it last spoke of it.

    repeats: how many equal statuses in a row end its view; since_ns: when they began.
    """

    observer: str
    metric: Metric
    t_ns: int
    repeats: int
    since_ns: int


class View(list[Report]):
    """A view that remembers what was made of it, by name; whoever changes it clears `made`."""

    __slots__ = ("made",)

    made: dict[str, Any]

    def __init__(self, reports: Iterable[Report] = ()) -> None:
        super().__init__(reports)
        self.made = {}


def remembered(view: Sequence[Report], name: str, make: Callable[[Sequence[Report]], Made]) -> Made:
    """`make(view)`, made once for as long as a `View` does not change. Not to be changed."""
    if not isinstance(view, View):
        return make(view)
    made: Made | None = view.made.get(name)
    if made is None:
        made = view.made[name] = make(view)
    return made


def opinion_of(view: Sequence[Report]) -> dict[str, Opinion]:
    """What a view says of each context, from its walk. Not to be changed: a `View` remembers it."""
    return remembered(view, "opinion", _opinion_of)


def _opinion_of(view: Sequence[Report]) -> dict[str, Opinion]:
    return {context: Opinion(view[0].observer, m, *_run(view, context)) for context, m in walk(view).items()}


def _run(view: Sequence[Report], context: str) -> tuple[int, int, int]:
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
