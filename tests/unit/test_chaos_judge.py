"""Verdicts, returns and limits of a run with faults, judged from what was seen."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from benchmarks.chaos_judge import (
    Changes,
    Death,
    Poll,
    back_s,
    first_dead,
    hit,
    nearest,
    restored_s,
    rows,
    verdict_s,
)
from benchmarks.chaos_ledger import KINDS, Outcome
from benchmarks.chaos_schedule import ACTOR, HEAD, NODE, Kill

GOOD = Outcome(10, 2, (), (), (), 1, ())


def death(kind: str = NODE, node: str = "n2", role: str = "", **seen: Any) -> Death:
    usual: dict[str, Any] = {"dead_s": {"n1": 105.0, "n3": 104.0}, "begun_s": 160.0, "joined_s": 166.0, "back_s": 175.0}
    return Death(Kill(100.0, kind, node, role), 100.0, **(usual | seen))


def limit(*looks: tuple[float, str], node: str = "n2") -> Changes:
    changes = Changes(node, "-1")
    for t_s, value in looks:
        changes.saw(t_s, value)
    return changes


HELD = ((50.0, "-1"), (60.0, "50000"), (80.0, "90000"), (103.0, "-1"), (130.0, "-1"))


def judged(*deaths: Death, outcome: Outcome = GOOD, limits: tuple[Changes, ...] = (), **more: Any) -> dict[str, Any]:
    found = rows(deaths, dict.fromkeys(KINDS, outcome), dict.fromkeys(KINDS, outcome), limits, 5.0, **more)
    json.dumps(found, allow_nan=False)
    assert all(set(row) == {"what", "value", "unit", "bar", "met", "peer"} for row in found)
    return {row["what"]: row for row in found}


# --- verdicts --------------------------------------------------------------------------------------------------------


def test_the_first_dead_of_each_gateway_counts_however_the_polls_are_ordered() -> None:
    polls = [
        Poll(107.0, "a", "DEAD"),
        Poll(103.0, "a", "UNHEALTHY"),
        Poll(105.0, "a", "DEAD"),
        Poll(106.0, "b", "DEAD"),
    ]
    assert first_dead(polls, 100.0) == {"a": 105.0, "b": 106.0}


def test_a_verdict_of_before_the_kill_and_silence_are_none() -> None:
    assert first_dead([Poll(99.9, "a", "DEAD"), Poll(101.0, "b", ""), Poll(102.0, "b", "HEALTHY")], 100.0) == {}


def test_the_verdict_is_the_first_gateways_and_never_where_nobody_said_so() -> None:
    assert verdict_s(death()) == 4.0
    assert verdict_s(death(dead_s={})) == math.inf


@pytest.mark.parametrize(("dead_s", "met"), [(106.9, True), (107.1, False)])
def test_the_bar_is_on_the_worst_verdict(dead_s: float, met: bool) -> None:
    table = judged(death(), death(dead_s={"n3": dead_s}))
    row = table["verdict DEAD on a killed node, at the first of the others: worst"]
    assert (row["value"], row["met"]) == (pytest.approx(dead_s - 100.0), met)


def test_a_node_that_nobody_called_dead_is_told_and_not_met() -> None:
    row = judged(death(dead_s={}))["verdict DEAD on a killed node, at the first of the others: worst"]
    assert (row["value"], row["met"]) == ("never", False)


def test_heads_are_nodes_too_and_actors_are_not() -> None:
    table = judged(death(), death(HEAD, "n1", dead_s={"n2": 106.0}), death(ACTOR, role="feed", dead_s={}))
    assert table["verdict DEAD on a killed node, at the first of the others: median of 2"]["value"] == 4.0


# --- returns ---------------------------------------------------------------------------------------------------------


def test_a_node_is_back_after_it_joined_an_actor_after_its_kill() -> None:
    assert back_s(death()) == 9.0
    assert back_s(death(HEAD, "n1")) == 9.0
    assert back_s(death(ACTOR, role="feed", back_s=103.0)) == 3.0
    assert back_s(death(back_s=None)) == back_s(death(joined_s=None, back_s=None)) == math.inf


@pytest.mark.parametrize(("back", "met"), [(180.0, True), (182.0, False), (None, False)])
def test_the_bar_is_on_the_worst_return(back: float | None, met: bool) -> None:
    row = judged(death(), death(back_s=back))["all actors of a node back, after it joined: worst"]
    assert row["met"] is met


def test_a_run_without_a_killed_node_meets_no_bar_on_them() -> None:
    table = judged(death(ACTOR, role="feed"))
    assert table["verdict DEAD on a killed node, at the first of the others: none was timed"]["met"] is False


def test_what_could_not_be_killed_is_told_and_counts_for_nothing_else() -> None:
    table = judged(death(), death(dead_s={}, problem="there is no such node"))
    assert table["kill -9 of nodes"]["value"] == 1
    assert table["kills that could not be made"]["met"] is False
    assert table["verdict DEAD on a killed node, at the first of the others: worst"]["met"] is True


# --- limits ----------------------------------------------------------------------------------------------------------


def test_a_limit_is_restored_when_the_original_is_seen_first_after_the_kill() -> None:
    assert restored_s(limit(*HELD), 100.0) == 3.0


def test_a_limit_that_was_not_in_force_tells_nothing() -> None:
    assert restored_s(limit(*HELD), 55.0) is None
    assert restored_s(limit(*HELD), 10.0) is None, "before it was first looked at"
    assert restored_s(limit(*HELD), 110.0) is None


def test_a_limit_that_stays_is_never_restored() -> None:
    assert restored_s(limit((50.0, "-1"), (60.0, "50000"), (130.0, "50000")), 100.0) == math.inf
    table = judged(death(), limits=(limit((50.0, "-1"), (60.0, "50000"), (130.0, "50000")),))
    assert table["limit restored, after the kill: worst"]["met"] is False
    assert table["limits left at the end"]["met"] is False


def test_changes_keep_only_changes_and_the_longest_time_between_two_looks() -> None:
    changes = limit((1.0, "-1"), (2.0, "-1"), (5.0, "9"), (5.5, "9"))
    assert (changes.t_s, changes.values, changes.gap_s) == ([1.0, 5.0], ["-1", "9"], 3.0)
    assert [changes.at(t_s) for t_s in (0.0, 4.9, 5.0, 99.0)] == ["-1", "-1", "9", "9"]


def test_a_limit_is_hit_by_its_controllers_end_and_its_nodes() -> None:
    changes = limit(*HELD)
    assert hit(death(), changes)
    assert hit(death(HEAD, "n2"), changes)
    assert hit(death(ACTOR, role="controller"), changes)
    assert not hit(death(ACTOR, role="collector"), changes)
    assert not hit(death(node="n3"), changes)


@pytest.mark.parametrize(("restored", "met"), [(105.9, True), (106.2, False)])
def test_the_bar_is_the_lease_and_a_second(restored: float, met: bool) -> None:
    looks = (*HELD[:3], (restored, "-1"), (restored + 20, "-1"))
    table = judged(death(), limits=(limit(*looks),))
    assert table["limit restored, after the kill: worst"]["met"] is met
    assert table["limits left at the end"]["met"] is True


def test_without_any_limit_in_force_nothing_was_shown() -> None:
    table = judged(death(), limits=(limit((50.0, "-1"), (130.0, "-1")),))
    assert table["limits that were in force at some time"]["met"] is False
    assert table["limits in force when their controller was killed"]["met"] is False
    (row,) = [row for what, row in judged(death()).items() if what.startswith("limits")]
    assert (row["value"], row["met"]) == (None, None), "who may not limit is not blamed for it"


# --- what was acknowledged -------------------------------------------------------------------------------------------


def test_a_good_run_meets_every_bar() -> None:
    table = judged(death(), death(HEAD, "n1"), death(ACTOR, role="controller", back_s=104.0), limits=(limit(*HELD),))
    assert [row for row in table.values() if row["met"] is False] == []
    assert sum(row["met"] is True for row in table.values()) >= 15


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"lost": (("n1", 1),)}, "samples lost"),
        ({"changed": (("n1", 1),)}, "reports with another content"),
        ({"strange": (("n1", 1),)}, "archived bodies that nobody sent"),
        ({"acknowledged": 0}, "samples acknowledged"),
        ({"lost": (("n1", 1),)}, "reports that the gateways do not show"),
    ],
)
def test_what_is_lost_or_wrong_is_not_met(wrong: dict[str, Any], what: str) -> None:
    table = judged(death(), outcome=GOOD._replace(**wrong))
    assert table[what]["met"] is False


def test_what_was_not_read_is_not_called_whole() -> None:
    found = rows([death()], {}, {}, (), 5.0)
    assert sum("were not read" in row["what"] and row["met"] is None for row in found) == len(KINDS)


def test_problems_are_rows_that_are_not_met() -> None:
    table = judged(death(), problems=["left: process 4711 did not end"])
    assert table["problem: left: process 4711 did not end"]["met"] is False


def test_percentiles_are_times_that_were_seen() -> None:
    times = [3.0, 1.0, 2.0, 5.0, 4.0]
    assert [nearest(times, ratio) for ratio in (0.5, 0.95, 0.0, 1.0)] == [3.0, 5.0, 1.0, 5.0]
    assert nearest([1.0, 9.0], 0.5) == 1.0
