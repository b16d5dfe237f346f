"""The backend: who leads, hysteresis, the dead, groups that move; what nodes gather is bounded."""

from __future__ import annotations

import pytest

from vagus.controllers.decide.backend import (
    KEEP,
    MAX_SUMMARY,
    PLAN_S,
    Backend,
    Gathering,
    Summary,
)
from vagus.controllers.decide.records import Grouping, Move, Outcome, Plan

ALL = ("n1", "n2", "n3")


def _seen(backend: Backend, now_s: float, **sessions: int) -> None:
    for node, count in sessions.items():
        backend.hear(Summary(node, {"g": count}), now_s)


def _backend() -> Backend:
    return Backend(Plan(0, Grouping()))


def test_a_group_that_one_node_sees_needs_no_leader():
    backend = _backend()
    _seen(backend, 0.0, n2=100)
    assert backend.tick(ALL, 0.0) is None
    _seen(backend, 5.0, n1=1)
    assert backend.tick(ALL, 5.0) is None, "a session that strayed is no reason"


def test_the_node_with_most_sessions_leads_and_goes_on_until_another_has_half_as_many_again():
    backend = _backend()
    _seen(backend, 0.0, n1=10, n2=100, n3=50)
    plan = backend.tick(ALL, 0.0)
    assert plan == Plan(1, Grouping(), {"g": "n2"})
    _seen(backend, 5.0, n3=round(100 * KEEP) - 60)
    assert backend.tick(ALL, 5.0) is None
    _seen(backend, 10.0, n3=60)
    assert backend.tick(ALL, 10.0) == Plan(2, Grouping(), {"g": "n3"})


def test_a_dead_leader_is_replaced_and_not_listed_again_while_nobody_is_left():
    backend = _backend()
    _seen(backend, 0.0, n1=10, n2=100)
    backend.tick(ALL, 0.0)
    assert backend.tick(("n1", "n3"), 5.0) == Plan(2, Grouping(), {"g": "n1"})
    assert backend.tick(("n3",), 10.0) is None, "nobody who sees it lives: it stays where it is"


def test_plans_are_made_only_now_and_then_and_go_on_from_what_there_was():
    backend = _backend()
    _seen(backend, 0.0, n1=10, n2=100)
    backend.tick(ALL, 0.0)
    _seen(backend, 1.0, n1=1000)
    assert backend.tick(ALL, PLAN_S - 0.1) is None
    backend.know(Plan(7, Grouping(), {"g": "n2"}))  # a former backend's
    assert backend.tick(ALL, PLAN_S) == Plan(8, Grouping(), {"g": "n1"})


def test_sessions_move_with_their_groups():
    backend = _backend()
    _seen(backend, 0.0, n1=90, n2=30)
    backend.hear(Summary("n2", {"h": 100}), 0.0)
    backend.hear(Summary("n1", {"stays": 50}), 0.0)
    backend.hear(Summary("n3", {"stays": 5}), 0.0)
    moves = (Move("g", "x", 0.5), Move("g", "y", 0.5), Move("h", "x", 1.0))
    backend.regroup(Grouping(1), moves)
    assert (backend.plan.version, backend.plan.grouping) == (1, Grouping(1))
    backend.tick(ALL, 5.0)
    assert backend.plan.leaders == {"x": "n2", "y": "n1", "stays": "n1"}
    assert backend.plan.moves == moves, "who missed the Plan before learns how groups moved"


def test_what_nobody_sees_any_more_is_forgotten():
    backend = _backend()
    _seen(backend, 0.0, n1=10, n2=100)
    backend.tick(ALL, 0.0)
    plan = backend.tick(ALL, 3600.0)
    assert plan is not None
    assert plan.leaders == {}


def test_what_a_node_gathers_is_bounded_and_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vagus.controllers.decide.backend.MAX_GROUPS", 3)
    gathering = Gathering("n1", outcomes=True)
    for at in range(10):
        gathering.session(f"g{at % 5}")
    gathering.outcomes([Outcome("g", "a", 1.0)] * (MAX_SUMMARY + 5))
    summary = gathering.take()
    assert summary.sessions == {"g0": 2, "g1": 2, "g2": 2}
    assert (len(summary.outcomes), summary.dropped) == (MAX_SUMMARY, 5)
    assert gathering.take() == Summary("n1")
    backend = _backend()
    backend.hear(summary, 0.0)
    backend.hear(Summary("n2", {"g3": 100, "g1": 100}), 0.0)
    backend.hear(Summary("n1", {"g3": 90}), 0.0)
    assert backend.dropped == 5
    plan = backend.tick(("n1", "n2"), 5.0)
    assert plan is None, "g1 alone is one of three, and n1 saw little of it"


def test_outcomes_are_gathered_only_where_groups_are_learned():
    gathering = Gathering("n1", outcomes=False)
    gathering.outcomes([Outcome("g", "a", 1.0)])
    assert gathering.take() == Summary("n1")
