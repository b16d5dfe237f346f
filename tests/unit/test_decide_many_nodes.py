"""Among many nodes that decide, signs of life get rarer, so that their number at a node stays bounded."""

from __future__ import annotations

import pytest

from vagus.controllers.decide.plan import Claim
from vagus.controllers.decide.records import Grouping, Plan
from vagus.controllers.decide.view import DEAD_S, SIGNS_PER_S, View


def view(nodes: int) -> View:
    made = View("n0000", Plan(0, Grouping()), 0.0)
    made.set_nodes([f"n{n:04}" for n in range(nodes)], 0.0)
    return made


@pytest.mark.parametrize(("nodes", "dead_s"), [(2, DEAD_S), (60, DEAD_S), (600, 30.0)])
def test_a_node_sends_at_most_so_many_signs_of_life(nodes, dead_s):
    made = view(nodes)
    assert made.dead_s == dead_s
    assert (nodes - 1) * 3 / made.dead_s <= SIGNS_PER_S


def test_a_silent_node_counts_as_dead_once_three_signs_are_missing_and_sooner_again_among_few():
    made = view(200)
    made.heard("n0001", 1, 0, 0, 100.0)
    made.tick(100.0 + 9.9)
    assert made.is_alive("n0001")
    made.tick(100.0 + 10.1)
    assert not made.is_alive("n0001")
    made.heard("n0001", 1, 0, 0, 111.0)
    made.set_nodes(["n0000", "n0001", "n0002"], 111.0)
    made.tick(111.0 + DEAD_S + 0.1)
    assert not made.is_alive("n0001")
    assert made.heard_claim(Claim("n0001", 1, "n0002"))
