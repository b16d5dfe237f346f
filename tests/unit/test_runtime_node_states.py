"""Ray's node table as evidence on the nodes."""

from __future__ import annotations

from typing import Any

from vagus.model import Report, Status
from vagus.runtime.node_states import ACCUSED_S, REPEAT_S, NodeStates

T_NS = 1_700_000_000 * 10**9


def node(node_id: str, alive: bool = True, **more: Any) -> dict[str, Any]:
    return {"NodeID": node_id, "Alive": alive, **more}


def said(reports: list[Report]) -> dict[str, Status]:
    assert all(report.observer == "vagus:supervisor" and report.ttl_ns > 0 for report in reports)
    return {report.subject: report.contexts["ray"].status for report in reports}


def told(states: NodeStates, *args: Any) -> dict[str, Status]:
    reports = states.due(*args, T_NS)
    states.taken(reports, args[-1])
    return said(reports)


def test_a_death_is_told_at_once_and_repeated_until_it_is_old() -> None:
    states, table = NodeStates(), [node("1"), node("2")]
    assert told(states, table, {"1": "a", "2": "b"}, 0.0) == {"node:a": Status.HEALTHY, "node:b": Status.HEALTHY}
    assert told(states, table, {"1": "a", "2": "b"}, 1.0) == {}
    table = [node("1"), node("2", alive=False)]
    assert told(states, table, {"1": "a"}, 2.0) == {"node:b": Status.DEAD}
    assert told(states, table, {"1": "a"}, REPEAT_S + 2) == {"node:a": Status.HEALTHY, "node:b": Status.DEAD}
    assert told(states, table, {"1": "a"}, ACCUSED_S + 3) == {"node:a": Status.HEALTHY}


def test_a_node_that_ended_on_purpose_or_before_is_not_accused() -> None:
    states = NodeStates()
    told(states, [node("1"), node("2")], {"1": "a", "2": "b"}, 0.0)
    table = [node("1"), node("2", alive=False, DeathReason=1), node("3", alive=False, DeathReason=2)]
    assert told(states, table, {"1": "a"}, REPEAT_S) == {"node:a": Status.HEALTHY}


def test_a_node_that_came_back_under_its_name_is_healthy_at_once() -> None:
    states = NodeStates()
    told(states, [node("1"), node("2")], {"1": "a", "2": "b"}, 0.0)
    assert told(states, [node("1"), node("2", alive=False)], {"1": "a"}, 1.0) == {"node:b": Status.DEAD}
    table = [node("1"), node("2", alive=False), node("3")]
    assert told(states, table, {"1": "a", "3": "b"}, 2.0) == {"node:b": Status.HEALTHY}
    assert told(states, table, {"1": "a", "3": "b"}, 3.0) == {}


def test_what_no_observer_took_is_told_again() -> None:
    states = NodeStates()
    assert said(states.due([node("1")], {"1": "a"}, 0.0, T_NS)) == {"node:a": Status.HEALTHY}
    assert said(states.due([node("1")], {"1": "a"}, 1.0, T_NS)) == {"node:a": Status.HEALTHY}
