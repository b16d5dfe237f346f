"""What the benchmark of faults kills when."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from benchmarks.chaos_run import seats
from benchmarks.chaos_schedule import ACTOR, ACTOR_S, ALONE_S, AWAY_S, BEGIN_S, HEAD, HEAD_S, NODE, NODE_S, length, plan

NODES = [f"n{number}" for number in range(1, 9)]
SEATS = seats(NODES, ["n1", "n3", "n5", "n7"])
SEEDS = range(40)


@pytest.mark.parametrize("minutes", [0.5, 3, 10, 30])
def test_each_kind_comes_and_the_time_is_kept(minutes: float) -> None:
    for seed in SEEDS:
        kills = plan(Random(seed), SEATS, "n1", 60 * minutes)
        assert {HEAD, NODE} <= {kill.kind for kill in kills}
        assert kills == sorted(kills), "in the order in which they are due"
        assert length(kills) <= max(60 * minutes, BEGIN_S + HEAD_S + NODE_S + 60)


def test_ten_minutes_see_every_role_several_nodes_and_the_head_twice() -> None:
    for seed in SEEDS:
        kills = plan(Random(seed), SEATS, "n1", 600)
        nodes = [kill.node for kill in kills if kill.kind == NODE]
        assert len(nodes) == len(set(nodes)) == 3, "another one each time, while there are others"
        assert sum(kill.kind == HEAD for kill in kills) == 2
        assert {kill.role for kill in kills if kill.kind == ACTOR} == {
            *("collector", "observer", "decide", "feed", "controller", "traces", "supervisor")
        }


def test_each_kill_can_be_told_from_the_one_before() -> None:
    for seed in SEEDS:
        kills = plan(Random(seed), SEATS, "n1", 600)
        for before, after in pairwise(kills):
            assert after.at_s - before.at_s >= ACTOR_S[0], (before, after)
        for number, kill in enumerate(kills):
            later = kills[number + 1 :]
            if kill.kind == HEAD:
                assert AWAY_S[0] <= kill.away_s <= AWAY_S[1]
                assert all(other.at_s >= kill.at_s + HEAD_S for other in later), "without a head nothing comes back"
            if kill.kind == NODE:
                during = [other for other in later if other.at_s < kill.at_s + NODE_S]
                assert all(other.kind == ACTOR and other.node != kill.node for other in during)
                assert all(other.at_s <= kill.at_s + NODE_S - ALONE_S for other in during), "it returns alone"


def test_only_what_is_there_is_killed_and_the_head_only_as_the_head() -> None:
    for seed in SEEDS:
        for kill in plan(Random(seed), SEATS, "n1", 1800):
            if kill.kind == ACTOR:
                assert kill.role in SEATS[kill.node]
            else:
                assert (kill.node == "n1") == (kill.kind == HEAD)


def test_a_seed_is_a_plan() -> None:
    assert plan(Random(7), SEATS, "n1", 600) == plan(Random(7), SEATS, "n1", 600)
    assert plan(Random(7), SEATS, "n1", 600) != plan(Random(8), SEATS, "n1", 600)


def test_a_head_without_others_is_killed_all_the_same() -> None:
    kills = plan(Random(1), {"n1": ("collector",)}, "n1", 240)
    assert {kill.kind for kill in kills} == {HEAD, ACTOR}


def test_the_seats_are_those_of_the_nodes() -> None:
    assert "controller" in SEATS["n3"]
    assert "controller" not in SEATS["n2"]
    assert {"traces", "supervisor"} <= set(SEATS["n1"])
    assert not {"traces", "supervisor"} & set(SEATS["n2"])
