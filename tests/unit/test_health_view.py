"""The walk over one view."""

from __future__ import annotations

import copy

from vagus.health.view import walk
from vagus.model import Metric, Report, Status

H, P, M, U = Status.HEALTHY, Status.PENDING, Status.MAYBE_UNHEALTHY, Status.UNHEALTHY


def view(*metrics: tuple[Status, float]) -> list[Report]:
    """A view with one context, oldest first."""
    return [Report("a", "b", 1 + t, {"read": Metric(*metric)}) for t, metric in enumerate(metrics)]


def test_pending_40_20_30_gives_25() -> None:
    assert walk(view((P, 40), (P, 20), (P, 30))) == {"read": Metric(P, 25)}


def test_the_newest_status_counts() -> None:
    assert walk(view((H, 100), (U, 20))) == {"read": Metric(U, 20)}
    assert walk(view((U, 20), (H, 100))) == {"read": Metric(H, 100)}


def test_an_older_pending_under_healthy_is_skipped() -> None:
    assert walk(view((H, 60), (P, 5), (P, 7), (H, 100))) == {"read": Metric(H, 80)}


def test_any_other_status_stops_the_walk() -> None:
    assert walk(view((H, 60), (M, 5), (H, 100))) == {"read": Metric(H, 100)}
    assert walk(view((P, 60), (H, 5), (P, 100))) == {"read": Metric(P, 100)}, "HEALTHY under PENDING is not skipped"


def test_contexts_are_walked_apart() -> None:
    reports = [
        Report("a", "b", 1, {"read": Metric(U, 10), "write": Metric(H, 50)}),
        Report("a", "b", 2, {"read": Metric(U, 30)}),
        Report("a", "b", 3, {"write": Metric(H, 70)}),
    ]
    assert walk(reports) == {"read": Metric(U, 20), "write": Metric(H, 60)}


def test_nothing_is_changed_and_huge_scores_stay_finite() -> None:
    reports = view((U, 1.7e308), (U, 1.7e308))
    before = copy.deepcopy(reports)
    assert walk(reports)["read"].score == 1.7e308
    assert reports == before
    assert walk([]) == {}
