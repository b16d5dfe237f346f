"""Requests that bring their own arms, another few of many each time: what a user of ranking libraries has."""

from __future__ import annotations

from random import Random

import pytest

from vagus.clock import NS
from vagus.controllers.decide.decider import Decider
from vagus.controllers.decide.table import DecisionTable, encode_update

ARMS = [f"a{at}" for at in range(30)]


class _Clock:
    now_ns = NS

    def time_ns(self) -> int:
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.now_ns


def _worth(arm: str) -> float:
    return int(arm[1:]) / len(ARMS)


def _played(policy: str, sessions: int = 6000, few: int = 4) -> tuple[Decider, float]:
    """A decider after so many sessions, and its score in the second half: 0 as random choice, 1 the best on offer."""
    clock, rng = _Clock(), Random(7)
    decider = Decider(policy, seed=1, clock=clock)
    got = best = even = 0.0
    for session in range(sessions):
        clock.now_ns += NS // 100
        offered = rng.sample(ARMS, few)
        made = decider.decide({}, offered)
        decider.update(made.decision_id, _worth(made.arm) + rng.gauss(0.0, 0.1))
        if session > sessions // 2:
            got += _worth(made.arm)
            best += max(map(_worth, offered))
            even += sum(map(_worth, offered)) / few
    return decider, (got - even) / (best - even)


@pytest.mark.parametrize("policy", ["auto", "ucb", "thompson", "epsilon"])
def test_each_request_is_weighed_among_what_it_offers(policy: str) -> None:
    decider, score = _played(policy)
    assert score > 0.9
    for offered in (["a1", "a9"], ["a3", "a12", "a20"]):
        drawn = [decider.decide({}, offered).arm for _ in range(200)]
        assert drawn.count(offered[-1]) > 160


def test_propensities_of_such_requests_are_the_frequencies_of_draws() -> None:
    decider, _ = _played("auto", 2000)
    drawn = [decider.decide({}, ["a2", "a3", "a4", "new"]) for _ in range(20_000)]
    for arm in ("a2", "a3", "a4", "new"):
        mine = [one for one in drawn if one.arm == arm]
        assert {one.propensity for one in mine} == {mine[0].propensity}
        assert len(mine) / len(drawn) == pytest.approx(mine[0].propensity, abs=0.015)
        if arm == "new":
            assert mine[0].propensity == pytest.approx(0.25)


def test_a_gateway_s_table_answers_them_alike() -> None:
    decider, _ = _played("auto", 2000)
    table = DecisionTable(Random(1))
    table.apply(encode_update(decider._table.full()))
    here = {one.arm: one.propensity for one in (decider._table.decide({}, ["a1", "a9"], 0) for _ in range(3000))}
    there = {one.arm: one.propensity for one in (table.decide({}, ["a1", "a9"], 0) for _ in range(3000))}
    assert here == there


def test_the_even_policy_stays_even() -> None:
    decider, score = _played("uniform", 1000)
    assert abs(score) < 0.15
    assert decider.decide({}, ["a1", "a29"]).propensity == pytest.approx(0.5)
