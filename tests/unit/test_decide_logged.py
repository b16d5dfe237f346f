"""Judging policies on logged traces: what is asked, what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vagus.controllers.decide.logged import check_policies, expanded, judge, narrowed, rows_of
from vagus.controllers.decide.trace import LoggedTrace, parse_trace
from vagus.errors import ConfigError

LINES = ["t_s,group,arm,reward,propensity\n", "2,h,b,2.0,0.5\n", "0,g,a,1.0,0.5\n", "1,g,b,3.0,0.5\n"]


def logged(lines: list[str] = LINES) -> LoggedTrace:
    trace = parse_trace("log.csv", lines)
    assert isinstance(trace, LoggedTrace)
    return trace


def test_rows_come_in_order_of_time_and_choose_among_what_their_group_drew() -> None:
    rows = rows_of(logged())
    assert rows.t_s.tolist() == [0.0, 1.0, 2.0]
    assert rows.log.reward.tolist() == [1.0, 3.0, 2.0]
    by_group = {g: rows.log.feasible[at].tolist() for at, g in enumerate(rows.log.groups)}
    assert rows.log.arms == ("b", "a")
    assert by_group == {"h": [True, False], "g": [True, True]}
    assert not rows.counted


def test_propensities_that_nobody_logged_are_counted_and_said() -> None:
    rows = rows_of(logged(["t_s,group,arm,reward\n", "0,g,a,1\n", "1,g,a,2\n", "2,g,b,3\n"]))
    assert rows.counted
    assert rows.log.propensity.tolist() == pytest.approx([2 / 3, 2 / 3, 1 / 3])
    by_name = {each.policy: each for each in judge(rows, ["logged", "uniform", "ucb"])}
    codes = {name: {w.code for w in each.estimate.warnings} for name, each in by_name.items()}
    assert "propensity_estimated" in codes["uniform"]
    assert "propensity_estimated" in codes["ucb"]
    assert "propensity_estimated" not in codes["logged"]


@pytest.mark.parametrize(("at", "t_s"), [(-1, 3), (0, -1)], ids=["the last", "the first"])
def test_some_missing_propensities_leave_their_rows_out(at: int, t_s: int) -> None:
    rows = rows_of(logged([*LINES, f"{t_s},g,a,1.0,\n"]))
    assert not rows.counted
    assert math.isnan(rows.log.propensity[at])
    for each in judge(rows, ["uniform", "ucb"]):
        assert (each.estimate.rows, each.estimate.used) == (4, 3)
        assert "propensity_missing" in {w.code for w in each.estimate.warnings}


def test_one_group_of_several() -> None:
    rows = rows_of(logged())
    assert narrowed(rows, "g").log.reward.tolist() == [1.0, 3.0]
    assert narrowed(rows, "h").log.groups == ("h",)
    with pytest.raises(ConfigError, match="no group 'x'; there are: 'h', 'g'"):
        narrowed(rows, "x")


def test_static_alone_is_each_arm() -> None:
    assert expanded(["static", "uniform", "uniform"], ("a", "b")) == ["static:a", "static:b", "uniform"]
    with pytest.raises(ConfigError, match="the log has no such arm; there are: a, b"):
        expanded(["static:c"], ("a", "b"))
    with pytest.raises(ConfigError, match="31 arms; name those"):
        expanded(["static"], [str(n) for n in range(31)])
    with pytest.raises(ConfigError, match="0 policies"):
        expanded([], ("a",))


@pytest.mark.parametrize(("name", "words"), [("ucbb", "is no policy"), ("linear", "weighs features")])
def test_unknown_policies_are_refused_before_anything_is_read(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_policies(["logged", "static:a", "ucb", name])


def test_numbers_that_cannot_be() -> None:
    rows = rows_of(logged())
    with pytest.raises(ConfigError, match="tick"):
        judge(rows, ["ucb"], tick_s=0.0)
    with pytest.raises(ConfigError, match="delay"):
        judge(rows, ["ucb"], delay_s=-1.0)
    with pytest.raises(ConfigError, match="does not take these options"):
        judge(rows, ["ucb"], options={"nonsense": 1})


def test_long_silences_do_not_cost_a_tick_each() -> None:
    far = rows_of(logged([*LINES[:1], "0,g,a,1,0.5\n", "1e9,g,b,1,0.5\n"]))
    (judged,) = judge(far, ["ucb"])
    assert judged.estimate.used == 2
    nought, one = np.zeros(1000, dtype=np.int64), np.ones(1000)
    many = LoggedTrace("log", ("a",), ("g",), np.linspace(0.0, 1e9, 1000), nought, nought, one, one)
    with pytest.raises(ConfigError, match=r"ticks of 0\.5 s; take longer ones"):
        judge(rows_of(many), ["ucb"])
