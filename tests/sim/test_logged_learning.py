"""Learning policies replayed over logs of others: what is estimated is what they earn where they really decide."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

from vagus.controllers.decide.logged import Judged, Rows, judge, rows_of
from vagus.controllers.decide.replay import Setup, replay
from vagus.controllers.decide.trace import GroupTrace, LoggedTrace, Trace
from vagus.policies.logs import Floats

ARMS = ("a", "b", "c")
MEANS = np.array([[1.0, 2.0, 3.0], [3.0, 1.0, 2.0]])
RATE, NOISE = 20.0, 0.3


def a_log(n: int, logging: Floats, seed: int, means: Floats = MEANS) -> LoggedTrace:
    """Two groups, drawn by `logging` (groups, arms), 20 rows a second."""
    rng = np.random.default_rng(seed)
    group = rng.integers(2, size=n)
    arm = (rng.random((n, 1)) > logging.cumsum(axis=1)[group]).sum(axis=1)
    reward = means[group, arm] + NOISE * rng.standard_normal(n)
    return LoggedTrace("log", ARMS, ("g", "h"), np.arange(n) / RATE, group, arm, reward, logging[group, arm])


UNIFORM = np.full((2, 3), 1 / 3)
SKEWED = np.array([[0.7, 0.2, 0.1], [0.15, 0.25, 0.6]])


@functools.cache
def online(policy: str, seconds: float) -> float:
    """What a policy earns where it decides itself; rewards of both groups."""
    lines = np.array([0.0, seconds])
    trace = Trace("t", ARMS, tuple(GroupTrace(g, lines, np.tile(MEANS[at], (2, 1))) for at, g in enumerate("gh")))
    return replay(trace, policy, setup=Setup(0.0, RATE / 2, NOISE, 0.5), seeds=range(3)).mean


@pytest.mark.parametrize("logging", [UNIFORM, SKEWED], ids=["uniform", "skewed"])
@pytest.mark.parametrize("policy", ["ucb", "thompson"])
def test_a_learning_policy_is_worth_what_it_earns_online(policy: str, logging: Floats) -> None:
    (judged,) = judge(rows_of(a_log(6000, logging, seed=3)), [policy])
    truth = online(policy, 6000 / RATE / 3)  # it learns from about a third of the rows, so as long online
    assert judged.learned is not None
    assert judged.estimate.dr.estimate == pytest.approx(truth, abs=0.12)
    assert judged.estimate.snips.estimate == pytest.approx(truth, abs=0.15)
    assert judged.estimate.dr.error < judged.estimate.ips.error


def test_uniform_logs_accept_by_match() -> None:
    """Of a uniform log of k arms about one row in k is accepted of whatever policy, and the bank's own draws are."""
    (judged,) = judge(rows_of(a_log(6000, UNIFORM, seed=1)), ["ucb"])
    assert judged.learned is not None
    assert judged.learned == pytest.approx(2000, rel=0.15)
    assert "learned_little" in {w.code for w in judged.estimate.warnings}


def test_rows_nobody_would_draw_teach_nothing() -> None:
    """A log of one arm alone: a policy that explores has no evidence for its choices, and is told so."""
    only = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    log = a_log(2000, only, seed=2)
    wide = rows_of(log)
    feasible = np.ones_like(wide.log.feasible)
    rows = Rows(replace(wide.log, feasible=feasible), wide.t_s)
    (judged,) = judge(rows, ["ucb"])
    assert judged.estimate.support < 0.99
    assert "unsupported" in {w.code for w in judged.estimate.warnings}


def test_a_late_reward_is_learned_late() -> None:
    """With a delay as long as the log nothing is ever learned: the policy stays at its first draws."""
    rows = rows_of(a_log(3000, UNIFORM, seed=4))

    def value(delay_s: float) -> Judged:
        (judged,) = judge(rows, ["thompson"], delay_s=delay_s)
        return judged

    assert value(0.0).estimate.dr.estimate > 2.7
    assert value(1e6).estimate.dr.estimate == pytest.approx(2.0, abs=0.1)


def test_fixed_policies_and_the_log_itself() -> None:
    rows = rows_of(a_log(8000, SKEWED, seed=5))
    by_name = {each.policy: each for each in judge(rows, ["logged", "uniform", "greedy", "static"])}
    assert set(by_name) == {"logged", "uniform", "greedy", "static:a", "static:b", "static:c"}
    assert by_name["logged"].estimate.ips.estimate == pytest.approx(float(rows.log.reward.mean()))
    for name, truth in (("uniform", 2.0), ("greedy", 3.0), ("static:a", 2.0), ("static:b", 1.5), ("static:c", 2.5)):
        dr = by_name[name].estimate.dr
        assert dr.low - dr.error < truth < dr.high + dr.error, name
        assert not by_name[name].estimate.warnings, name


def test_the_same_seed_gives_the_same_estimate() -> None:
    rows = rows_of(a_log(1000, SKEWED, seed=6))
    first, second = (judge(rows, ["ucb"], seed=9)[0] for _ in range(2))
    assert first == second
