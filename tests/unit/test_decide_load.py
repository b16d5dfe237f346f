"""Arms with capacity: sessions fill them to the knee, and no further while there is room elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vagus.clock import NS
from vagus.controllers.decide.load import LoadBalance
from vagus.errors import ConfigError
from vagus.policies.bank import Bools, Floats


def _best_first(feasible: Bools) -> Floats:
    """A policy that wants the first feasible place."""
    weights = np.zeros(feasible.shape)
    weights[np.arange(len(feasible)), feasible.argmax(axis=1)] = 1.0
    return weights


def _warm(balance: LoadBalance, sessions: dict[str, int], elsewhere: dict[str, float] | None = None) -> None:
    """Sessions per second of each group, for long enough to be known."""
    for second in range(40):
        for group, count in sessions.items():
            for _ in range(count):
                balance.decided(group, "none of these")
        balance.tick((second + 1) * NS, elsewhere or {})


ARMS = ("a", "b", "c")


def _give(balance: LoadBalance, names: list[str], again: Any = _best_first) -> Floats:
    """What is filled in for lines over ARMS, wished by the policy that wants the first."""
    feasible = np.zeros((len(names), 4), dtype=bool)
    feasible[:, : len(ARMS)] = True
    return balance.reweigh(names, [ARMS] * len(names), feasible, _wish(len(names)), again)


def _wish(rows: int, width: int = 4) -> Floats:
    feasible = np.zeros((rows, width), dtype=bool)
    feasible[:, : len(ARMS)] = True
    return _best_first(feasible)


def test_below_the_knee_nothing_changes() -> None:
    balance = LoadBalance({"a": 1000.0}, fill=1.0)
    _warm(balance, {"g": 50})
    assert np.allclose(_give(balance, ["g"]), _wish(1))


def test_what_passes_the_knee_goes_to_the_next_best_arm() -> None:
    balance = LoadBalance({"a": 25.0, "b": 10.0}, fill=1.0)
    _warm(balance, {"g": 50})
    filled = _give(balance, ["g"])[0]
    assert filled[:3] * 50 == pytest.approx([25, 10, 15], rel=0.01)
    assert filled.sum() == pytest.approx(1.0)
    assert filled[3] == 0.0
    assert balance.overflow == 0


def test_a_knee_is_shared_by_all_groups_and_all_nodes() -> None:
    balance = LoadBalance({"a": 30.0}, fill=1.0)
    _warm(balance, {"g": 20, "h": 20}, {"a": 10.0})
    first = _give(balance, ["g"])
    second = _give(balance, ["h"])
    assert (first[0, 0] + second[0, 0]) * 20 == pytest.approx(20, rel=0.01)  # 30, of which 10 are others'
    both = _give(balance, ["g", "h"])
    assert both[:, 0].sum() * 20 == pytest.approx(20, rel=0.01)
    assert both[0, 0] == pytest.approx(both[1, 0])  # asked together they share alike


def test_where_all_is_full_the_policy_decides_and_it_is_counted() -> None:
    balance = LoadBalance(dict.fromkeys(ARMS, 5.0), fill=1.0)
    _warm(balance, {"g": 60})
    filled = _give(balance, ["g"])[0]
    assert filled.sum() == pytest.approx(1.0)
    assert filled[0] == pytest.approx(50 / 60, rel=0.02)  # its 5, and the 45 that fit nowhere
    assert balance.overflow > 0


def test_a_group_without_sessions_frees_its_share() -> None:
    balance = LoadBalance({"a": 10.0}, fill=1.0)
    _warm(balance, {"g": 10, "h": 10})
    _give(balance, ["g", "h"])
    for second in range(40, 140):
        for _ in range(10):
            balance.decided("h", "b")
        balance.tick((second + 1) * NS)
    assert _give(balance, ["h"])[0, 0] == pytest.approx(1.0, abs=0.01)


def test_more_sessions_than_foretold_take_room() -> None:
    balance = LoadBalance({"a": 20.0}, fill=1.0)
    _warm(balance, {"g": 20})
    for second in range(40, 80):
        _give(balance, ["g"])
        for _ in range(20):
            balance.decided("g", "a")
        for _ in range(10):
            balance.decided("other", "a")  # a group that is not weighed here
        balance.tick((second + 1) * NS)
    assert balance.rates()["a"] == pytest.approx(30, rel=0.05)
    assert _give(balance, ["g"])[0, 0] < 0.75


def test_groups_without_an_arm_of_known_capacity_are_left_alone() -> None:
    balance = LoadBalance({"z": 1.0}, fill=1.0)
    _warm(balance, {"g": 10})
    assert np.array_equal(_give(balance, ["g"]), _wish(1))


@pytest.mark.parametrize("knee", [0.0, -1.0, float("nan"), float("inf")])
def test_a_capacity_is_a_positive_number(knee: float) -> None:
    with pytest.raises(ConfigError, match="capacity"):
        LoadBalance({"a": knee}, fill=1.0)


def test_each_set_of_feasible_arms_has_the_sessions_that_meet_it() -> None:
    balance = LoadBalance({"a": 10.0}, fill=1.0)
    for second in range(40):
        for at in range(20):
            balance.decided("g", "c")
            balance.met("g", ("c", "a") if at % 4 else ARMS)  # 15 and 5 a second
        balance.tick((second + 1) * NS)
    feasible = np.array([[True, True, True], [True, False, True]])
    wish = _best_first(feasible)
    filled = balance.reweigh(["g", "g"], [ARMS, ARMS], feasible, wish, _best_first)
    assert filled[0, 0] * 5 + filled[1, 0] * 15 == pytest.approx(10, rel=0.02)
    assert filled[1, 1] == 0.0
    assert filled.sum(axis=1) == pytest.approx(1.0)
