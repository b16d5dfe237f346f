"""Off-policy estimates against a simulated service whose true values are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vagus.policies import offpolicy
from vagus.policies.logs import Floats, Log, counted_propensities, folds_of

GROUPS, ARMS = 4, 3
MEANS = np.array([[1.0, 2.0, 3.0], [3.0, 1.0, 2.0], [2.0, 2.5, 0.0], [0.5, 0.0, 4.0]])
LOGGING = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.4, 0.2, 0.4], [0.5, 0.3, 0.2]])
SHARES = np.array([0.4, 0.3, 0.2, 0.1])
ALL = np.ones((1, ARMS), dtype=bool)


def a_log(rng: np.random.Generator, n: int, noise: float = 1.0, logging: Floats = LOGGING) -> Log:
    group = rng.choice(GROUPS, n, p=SHARES)
    arm = (rng.random((n, 1)) > logging.cumsum(axis=1)[group]).sum(axis=1)
    reward = MEANS[group, arm] + noise * rng.standard_normal(n)
    return Log(group, arm, reward, logging[group, arm], ALL, np.zeros(n, dtype=np.int64))


def by_group(log: Log, table: Floats) -> offpolicy.Target:
    return offpolicy.Target.of(table, log.group, log)


def true_value(table: Floats) -> float:
    return float((SHARES[:, np.newaxis] * table * MEANS).sum())


TARGETS = {
    "uniform": np.full((GROUPS, ARMS), 1 / 3),
    "static": np.tile([0.0, 0.0, 1.0], (GROUPS, 1)),
    "mixed": np.array([[0.1, 0.1, 0.8], [0.8, 0.1, 0.1], [0.0, 1.0, 0.0], [0.0, 0.5, 0.5]]),
}


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_unbiased_with_honest_intervals(name: str) -> None:
    rng, table = np.random.default_rng(7), TARGETS[name]
    truth, runs = true_value(table), 200
    values: dict[str, list[float]] = {"ips": [], "snips": [], "dr": []}
    covered = dict.fromkeys(values, 0)
    for _ in range(runs):
        log = a_log(rng, 800)
        found = offpolicy.estimate(log, by_group(log, table), folds_of(log, rng))
        for kind, into in values.items():
            value: offpolicy.Value = getattr(found, kind)
            into.append(value.estimate)
            covered[kind] += value.low <= truth <= value.high
    for kind, each in values.items():
        of_mean = float(np.std(each)) / math.sqrt(runs)
        slack = 0.01 if kind == "snips" else 0.0  # its bias shrinks as 1/n, and is not nought
        assert abs(float(np.mean(each)) - truth) < 3.5 * of_mean + slack, kind
        assert 0.89 * runs <= covered[kind] <= 0.995 * runs, (kind, covered[kind])
    assert np.std(values["dr"]) < 0.75 * np.std(values["ips"])
    assert np.std(values["dr"]) < 1.02 * np.std(values["snips"])


def test_doubly_robust_with_wrong_propensities_leans_on_the_model() -> None:
    rng = np.random.default_rng(3)
    log = a_log(rng, 20_000)
    wrong = Log(log.group, log.arm, log.reward, np.full(20_000, 0.5), ALL, log.chosen_from)
    found = offpolicy.estimate(wrong, by_group(wrong, TARGETS["uniform"]), folds_of(wrong, rng))
    truth = true_value(TARGETS["uniform"])
    assert abs(found.dr.estimate - truth) < 0.05 < abs(found.ips.estimate - truth)
    assert [w.code for w in found.warnings] == ["propensity_wrong"]


def test_greedy_is_not_optimistic_where_there_is_nothing_to_choose() -> None:
    """30 arms that are all the same: the best mean of the log is above the truth, what greedy would earn is not."""
    rng, arms, each = np.random.default_rng(11), 30, []
    optimistic = []
    for _ in range(100):
        arm = rng.integers(arms, size=600)
        reward = rng.standard_normal(600)
        log = Log(
            *(np.zeros(600, dtype=np.int64), arm, reward, np.full(600, 1 / arms)),
            *(np.ones((1, arms), dtype=bool), np.zeros(600, dtype=np.int64)),
        )
        fold = folds_of(log, rng)
        each.append(offpolicy.estimate(log, offpolicy.greedy(log, fold), fold).dr.estimate)
        optimistic.append(max(reward[arm == a].mean() for a in range(arms)))
    assert float(np.mean(optimistic)) > 0.3
    assert abs(float(np.mean(each))) < 3.5 * float(np.std(each)) / 10


def test_greedy_finds_the_best_arm_of_each_group() -> None:
    rng = np.random.default_rng(5)
    log = a_log(rng, 20_000)
    fold = folds_of(log, rng)
    target = offpolicy.greedy(log, fold)
    best = float((SHARES * MEANS.max(axis=1)).sum())
    assert target.table is not None
    assert (target.table[target.which].argmax(axis=1) == MEANS.argmax(axis=1)[log.group]).all()
    found = offpolicy.estimate(log, target, fold)
    assert found.dr.low < best < found.dr.high


def test_clipping_trades_variance_for_bias() -> None:
    rng, table = np.random.default_rng(9), TARGETS["static"]
    plain, clipped = [], []
    for _ in range(100):
        log = a_log(rng, 400, noise=0.1)
        fold = folds_of(log, rng)
        plain.append(offpolicy.estimate(log, by_group(log, table), fold).ips.estimate)
        found = offpolicy.estimate(log, by_group(log, table), fold, clip=3.0)
        clipped.append(found.ips.estimate)
        assert found.clipped > 0
        assert "clipped" in {w.code for w in found.warnings}
    assert np.std(clipped) < np.std(plain)
    assert float(np.mean(clipped)) < true_value(table) - 0.5  # rewards are positive: what is clipped is lost


def test_counted_propensities_of_draws_by_group_come_near_the_logged_ones() -> None:
    rng = np.random.default_rng(1)
    log = a_log(rng, 20_000)
    counted = counted_propensities(log.group, log.arm)
    assert float(np.abs(counted - log.propensity).max()) < 0.03
