"""The two strategies: who wins, whose score counts, who accuses."""

from __future__ import annotations

import pytest

from vagus.clock import NS
from vagus.health.strategy_majority import Majority
from vagus.health.strategy_paper import Paper
from vagus.model import Inference, Metric, Report, Status

H, P, M, U, DEAD, NA = (
    Status.HEALTHY,
    Status.PENDING,
    Status.MAYBE_UNHEALTHY,
    Status.UNHEALTHY,
    Status.DEAD,
    Status.NA,
)
NOW = 1_700_000_000 * NS


def infer(strategy: Paper | Majority, *said: tuple[str, Status, float], ago_s: float = 0.1) -> Inference:
    """The inference on reports by (observer, status, score), oldest first, the last `ago_s` ago."""
    views: dict[str, list[Report]] = {}
    for number, (observer, status, score) in enumerate(said):
        t_ns = NOW - round(ago_s * NS) - (len(said) - number) * NS // 1000
        views.setdefault(observer, []).append(Report(observer, "db", t_ns, {"read": Metric(status, score)}))
    return strategy.infer("db", views, NOW)


def test_paper_convicts_on_the_latest_status() -> None:
    got = infer(Paper(), ("a", H, 100), ("b", H, 90), ("c", U, 20))
    assert (got.status, got.contexts["read"].score, got.contexts["read"].accusers) == (U, 20, ("c",))


def test_paper_acquits_on_a_strict_majority_after_the_accusation() -> None:
    got = infer(Paper(), ("c", U, 20), ("a", H, 100), ("b", H, 90))
    assert (got.status, got.contexts["read"].score, got.contexts["read"].accusers) == (H, 95, ("c",))


def test_paper_wants_more_than_half_healthy() -> None:
    assert infer(Paper(), ("c", U, 20), ("a", H, 100)).status == U
    assert infer(Paper(), ("c", U, 20), ("d", M, 20), ("a", H, 100), ("b", H, 1)).status == U, "ties to the more severe"
    assert infer(Paper(), ("c", M, 20), ("d", M, 30), ("e", U, 9), ("a", H, 100)).contexts["read"].score == 25


def test_one_more_pending_than_allowed_is_unhealthy() -> None:
    assert (
        infer(Paper(), ("a", P, 40), ("a", P, 20), ("a", P, 30)).contexts["read"]
        == infer(Paper(), ("a", P, 25)).contexts["read"]
    )
    got = infer(Paper(), *[("a", P, 10)] * 4)
    assert (got.status, got.contexts["read"].accusers) == (U, ("a",))
    assert infer(Paper(), ("a", P, 1), ("a", P, 1), ("a", H, 1), ("a", P, 1), ("a", P, 1)).status == P, "no run of four"


@pytest.mark.parametrize("strategy", [Paper(pending_ns=3 * NS), Majority(pending_ns=3 * NS)])
def test_an_old_pending_is_unhealthy(strategy: Paper | Majority) -> None:
    assert infer(strategy, ("a", P, 10), ago_s=2.9).status == P
    got = infer(strategy, ("a", P, 10), ago_s=3)
    assert (got.status, got.contexts["read"].accusers) == (U, ("a",))


def test_a_pending_that_is_asked_again_ages_from_the_first() -> None:
    views = {"a": [Report("a", "db", NOW - 4 * NS, {"r": Metric(P)}), Report("a", "db", NOW - 1, {"r": Metric(P)})]}
    assert Paper().infer("db", views, NOW).status == U


def test_majority_lets_the_most_common_win() -> None:
    got = infer(Majority(), ("a", H, 100), ("b", H, 90), ("c", U, 20))
    assert (got.status, got.contexts["read"].accusers) == (H, ("c",))
    assert got.contexts["read"].score == 95, "a dissenter's score is not averaged in"
    assert infer(Majority(), ("a", H, 100), ("c", U, 20)).status == U, "ties to the more severe"


@pytest.mark.parametrize("strategy", [Paper(), Majority()])
def test_na_is_no_vote(strategy: Paper | Majority) -> None:
    assert infer(strategy, ("a", H, 100), ("b", NA, 0), ("c", NA, 0)).status == H
    assert infer(strategy, ("b", NA, 0), ("c", NA, 0)).status == NA


@pytest.mark.parametrize("strategy", [Paper(), Majority()])
def test_overall_is_the_worst_context_and_nothing_is_na(strategy: Paper | Majority) -> None:
    report = Report("a", "db", NOW, {"read": Metric(H, 1), "disk": Metric(DEAD, 0), "cpu": Metric(M, 3)})
    got = strategy.infer("db", {"a": [report]}, NOW)
    assert (got.status, list(got.contexts), got.observers) == (DEAD, ["cpu", "disk", "read"], ("a",))
    assert strategy.infer("db", {}, NOW) == Inference("db", NOW, NA, {}, (), strategy.name)
