"""Off-policy estimates: by hand on small logs, and each warning where it must be, and only there."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vagus.errors import ConfigError
from vagus.policies import offpolicy
from vagus.policies.logs import Log, counted_propensities, folds_of, log_of


def codes(found: offpolicy.Estimate) -> set[str]:
    return {warned.code for warned in found.warnings}


def drawn(n: int = 400, probability: float = 0.5, rng: np.random.Generator | None = None, **more: object) -> Log:
    """One group, arms a and b; a with the given probability."""
    rng = rng or np.random.default_rng(4)
    is_a = rng.random(n) < probability
    given = {
        "groups": ["g"] * n,
        "arms": ["a" if one else "b" for one in is_a],
        "rewards": list(np.where(is_a, 1.0, 2.0) + 0.1 * rng.standard_normal(n)),
        "propensities": list(np.where(is_a, probability, 1 - probability)),
        "feasible": [("a", "b")] * n,
        **more,
    }
    return log_of(**given)  # type: ignore[arg-type]


def judged(log: Log, arm: str = "a", **options: float) -> offpolicy.Estimate:
    fold = folds_of(log, np.random.default_rng(0))
    return offpolicy.estimate(log, offpolicy.static(log, log.arms.index(arm)), fold, **options)  # type: ignore[arg-type]


def test_by_hand() -> None:
    log = log_of(["g"] * 4, ["a", "a", "b", "b"], [1.0, 3.0, 10.0, 20.0], [0.5, 0.25, 0.5, 0.5])
    found = judged(log)
    assert found.ips.estimate == pytest.approx((2 * 1 + 4 * 3) / 4)
    assert found.snips.estimate == pytest.approx((2 * 1 + 4 * 3) / 6)
    assert found.ess == pytest.approx(36 / 20)
    assert found.ips.error == pytest.approx(np.std([2, 12, 0, 0], ddof=1) / 2)
    assert found.ips.high - found.ips.low == pytest.approx(2 * 1.959964 * found.ips.error)
    assert codes(found) == {"few"}


def test_the_logged_policy_is_worth_its_mean_reward() -> None:
    log = drawn()
    found = offpolicy.estimate(log, offpolicy.logged(log), folds_of(log, np.random.default_rng(0)))
    assert found.ips.estimate == pytest.approx(log.reward.mean())
    assert found.snips.estimate == pytest.approx(log.reward.mean())
    assert found.ess == pytest.approx(400)
    assert not found.warnings
    assert math.isnan(found.dr.estimate)
    assert found.best is found.snips


def test_nothing_is_said_of_a_sound_log() -> None:
    assert codes(judged(drawn())) == set()
    assert codes(judged(drawn(probability=0.15))) == set()


def test_each_warning_where_it_must_be() -> None:
    assert codes(judged(drawn(n=29))) == {"few"}
    assert "few" not in codes(judged(drawn(n=30)))
    assert codes(judged(drawn(n=3000, probability=0.05))) == {"thin"}
    assert "thin" not in codes(judged(drawn(n=3000, probability=0.15)))

    log = drawn()
    broken = log.propensity.copy()
    broken[:5] = [math.nan, 0.0, -0.5, 1.5, math.inf]
    partly = Log(log.group, log.arm, log.reward, broken, log.feasible, log.chosen_from, log.groups, log.arms)
    found = judged(partly)
    assert codes(found) == {"propensity_missing"}
    assert (found.rows, found.used) == (400, 395)

    broken = np.where(np.arange(400) == 7, 1e-300, log.propensity)
    rewards = np.where(np.arange(400) == 7, 1e100, log.reward)
    found = judged(Log(log.group, log.arm, rewards, broken, log.feasible, log.chosen_from, log.groups, log.arms))
    assert "propensity_missing" in codes(found)
    assert math.isfinite(found.dr.error)
    assert found.used == 399

    tiny = np.where(np.arange(400) == 7, 1e-4, log.propensity)
    found = judged(
        Log(log.group, np.zeros_like(log.arm), log.reward, tiny, log.feasible, log.chosen_from, arms=("a", "b"))
    )
    assert {"propensity_small", "dominated", "thin"} <= codes(found)

    halved = Log(log.group, log.arm, log.reward, log.propensity / 2, log.feasible, log.chosen_from, arms=log.arms)
    assert codes(judged(halved)) == {"propensity_wrong"}

    assert codes(judged(drawn(), clip=1.0)) >= {"clipped"}
    assert "clipped" not in codes(judged(drawn(), clip=100.0))


def test_rare_weights_that_did_not_come_are_no_wrong_propensities() -> None:
    """A log that draws b in 150 draws once: that b came seldom is chance, not an error."""
    rng = np.random.default_rng(8)
    for _ in range(50):
        log = drawn(n=300, probability=149 / 150, rng=rng)
        for arm in log.arms:
            assert "propensity_wrong" not in codes(judged(log, arm))


def test_what_was_hardly_tried_for_a_time_is_said() -> None:
    """First a is drawn nearly always, then b: that a, once in 200, never came by then says nothing of it."""
    arms = ["a"] * 200 + ["b"] * 200 + ["c"]
    propensities = [0.99] * 400 + [0.005]
    log = log_of(["g"] * 401, arms, [1.0] * 401, propensities, [("a", "b", "c")] * 401)
    assert codes(judged(log, "a")) == {"uncovered"}


def test_arms_never_logged_in_a_group_have_no_support() -> None:
    log = log_of(
        ["g"] * 100 + ["h"] * 100,
        ["a", "b"] * 50 + ["b"] * 100,
        [1.0] * 200,
        [0.5] * 100 + [1.0] * 100,
        [("a", "b")] * 200,
    )
    found = judged(log)
    assert found.support == pytest.approx(0.5)
    assert "unsupported" in codes(found)
    assert "propensity_wrong" not in codes(found)  # the mean weight is not 1, and that is why
    assert judged(log, "b").support == 1.0


def test_infeasible_arms_are_nobodys_choice() -> None:
    log = log_of(["g"] * 3, ["a", "b", "c"], [1.0, 2.0, 3.0], [0.5, 0.5, 0.5], [("a", "b"), ("b", "a"), ("b", "c")])
    assert len(log.feasible) == 2  # the order of a set says nothing
    assert offpolicy.static(log, log.arms.index("a")).logged.tolist() == [1.0, 0.0, 0.5]
    assert offpolicy.uniform(log).logged.tolist() == [0.5, 0.5, 0.5]
    fold = np.array([0, 1, 2], dtype=np.int64)
    assert offpolicy.greedy(log, fold).table is not None
    chosen = offpolicy.greedy(log, fold)
    assert chosen.table is not None
    assert not chosen.table[chosen.which][~log.feasible[log.chosen_from]].any()


def test_folds_are_even_in_each_cell() -> None:
    log = drawn(n=1000, probability=0.2)
    fold = folds_of(log, np.random.default_rng(2))
    for arm in (0, 1):
        counts = np.bincount(fold[log.arm == arm], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_counted_propensities() -> None:
    group, arm = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    assert counted_propensities(group, arm).tolist() == pytest.approx([2 / 3, 2 / 3, 1 / 3, 1.0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rewards": [1.0, math.nan]}, "reward of row 1 is not finite"),
        ({"propensities": [0.5]}, "1 values of propensity for 2 rewards"),
        ({"feasible": [("a",), ("a",)]}, "row 1 is not among"),
        ({"groups": [], "arms": [], "rewards": [], "propensities": []}, "no rewarded decisions"),
    ],
)
def test_broken_logs_say_what_is_wrong(change: dict[str, list[object]], words: str) -> None:
    given = {"groups": ["g", "g"], "arms": ["a", "b"], "rewards": [1.0, 2.0], "propensities": [0.5, 0.5], **change}
    with pytest.raises(ConfigError, match=words):
        log_of(**given)  # type: ignore[arg-type]


def test_without_any_propensity_nothing_is_estimated() -> None:
    log = log_of(["g"], ["a"], [1.0], [math.nan])
    with pytest.raises(ConfigError, match="no row has a propensity"):
        judged(log)


def test_wrong_targets_and_options() -> None:
    log = drawn(n=40)
    with pytest.raises(ConfigError, match="sum to 1"):
        offpolicy.Target.of(np.array([[0.5, 0.4]]), log.chosen_from, log)
    with pytest.raises(ConfigError, match="confidence"):
        judged(log, confidence=1.0)
