"""Groups learned from made-up outcomes whose truth is known: critical features found, noise left alone, drift followed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from vagus.config import LearnSettings
from vagus.controllers.decide.grouping import compile_grouping, leaves
from vagus.controllers.decide.history import History
from vagus.controllers.decide.partition import Learned, learn, learn_groups
from vagus.controllers.decide.records import Grouping, Outcome, Rule

Ints = NDArray[np.int64]
Means = Callable[[Ints, Ints], NDArray[np.float64]]
NAMES = tuple(f"f{at}" for at in range(12))
ARMS = 5
NONE = Grouping()


def outcomes(count: int, seed: int, means: Means, values: int = 6, noise: float = 1.0) -> list[Outcome]:
    """Sessions with 12 features, arms drawn evenly."""
    rng = np.random.default_rng(seed)
    features = rng.integers(0, values, (count, len(NAMES)))
    arm = rng.integers(0, ARMS, count)
    rewards = means(features, arm) + noise * rng.standard_normal(count)
    return [
        Outcome("", f"arm{a}", r, 1 / ARMS, {name: f"v{value}" for name, value in zip(NAMES, row, strict=True)})
        for a, r, row in zip(arm.tolist(), rewards.tolist(), features.tolist(), strict=True)
    ]


def learned(sessions: Sequence[Outcome], old: Grouping = NONE, **settings: int) -> Learned:
    chosen = LearnSettings(
        features=NAMES, min_sessions=settings.get("min_sessions", 200), max_groups=settings.get("max_groups", 1000)
    )
    history = History(NAMES, len(sessions))
    history.add(sessions)
    return learn(history, chosen, old)


def by_two(features: Ints, arm: Ints) -> NDArray[np.float64]:
    """The best arm depends on f3 (two kinds) and, for one of these, on f7; f1 and f2 matter for all arms alike."""
    want = np.where(features[:, 3] < 3, 0, np.where(features[:, 7] < 3, 1, 2))
    return np.where(arm == want, 0.5, 0.0) + 1.5 * features[:, 1] - 0.7 * features[:, 2]


def test_the_critical_features_are_found_among_ten_that_are_not() -> None:
    found = learned(outcomes(15_000, 1, by_two))
    assert found.features == ("f3", "f7")
    assert found.gain.ratio > 5
    assert found.grouping is not None
    assert found.grouping.version == 1
    group = compile_grouping(found.grouping)
    wants: dict[str, set[int]] = {}
    for three in range(6):
        for seven in range(6):
            name = group({"f3": f"v{three}", "f7": f"v{seven}", "f1": "v0"})
            wants.setdefault(name, set()).add(0 if three < 3 else 1 if seven < 3 else 2)
    assert all(len(arms) == 1 for arms in wants.values())  # nobody is in a group that wants another arm
    assert len(wants) == found.groups <= 5  # and those who want the same are together, most of them
    assert group({"f3": "never seen"}) in wants
    assert group({}) in wants


def test_what_is_good_or_bad_for_all_arms_alike_is_no_reason() -> None:
    found = learned(outcomes(8000, 2, lambda features, arm: 2.0 * features[:, 4] + 0.3 * arm))
    assert found.grouping is None
    assert found.features == ()


def test_noise_is_not_split() -> None:
    """12 features that mean nothing, 12 seeds: not one change (its chance is far below 1 in 100)."""
    changes = sum(
        learned(outcomes(2000, seed, lambda features, arm: 0.2 * (arm == 1) + 0.0), min_sessions=100).grouping
        is not None
        for seed in range(12)
    )
    assert changes == 0


def test_where_nothing_is_found_the_old_groups_stay() -> None:
    """However fine they are: too little was seen to tell."""
    found = learned(outcomes(3000, 18, lambda features, arm: 0.2 * (arm == 1)), Grouping(0, ("f0", "f1", "f2", "f3")))
    assert found.grouping is None
    assert found.groups > 500


def test_a_good_grouping_stays_and_fresh_data_of_the_same_kind_change_nothing() -> None:
    first = learned(outcomes(15_000, 3, by_two)).grouping
    assert first is not None
    for seed in (4, 5):
        assert learned(outcomes(10_000, seed, by_two), first).grouping is None


def test_when_another_feature_becomes_critical_the_groups_follow() -> None:
    old = learned(outcomes(8000, 7, lambda features, arm: 0.5 * (arm == features[:, 0] % 2))).grouping
    assert old is not None
    found = learned(outcomes(8000, 8, lambda features, arm: 0.5 * (arm == features[:, 5] % 3)), old)
    assert found.features == ("f5",)
    assert found.groups == 3
    assert found.grouping is not None
    assert found.grouping.version == 2


def test_when_values_change_sides_the_groups_follow() -> None:
    old = learned(outcomes(8000, 9, lambda features, arm: 0.6 * (arm == features[:, 0] % 2))).grouping
    found = learned(outcomes(8000, 10, lambda features, arm: 0.6 * (arm == features[:, 0] // 3)), old or Grouping())
    assert found.grouping is not None
    group = compile_grouping(found.grouping)
    names = [group({"f0": f"v{value}"}) for value in range(6)]
    assert names[0] == names[1] == names[2] != names[3] == names[4] == names[5]


def test_too_fine_a_grouping_is_left_for_a_coarser_one() -> None:
    """By four features there are 1296 groups, each with too few sessions to find its best arm."""
    fine = Grouping(0, ("f0", "f1", "f2", "f3"))
    found = learned(outcomes(8000, 11, lambda features, arm: 0.4 * (arm == features[:, 0] % 2)), fine)
    assert found.features == ("f0",)
    assert found.groups == 2


def test_rare_values_go_with_the_rest_and_groups_are_bounded() -> None:
    sessions = outcomes(8000, 12, lambda features, arm: 0.8 * (arm == features[:, 0] % ARMS), values=ARMS)
    rare = [Outcome("", "arm0", 0.0, 0.2, {"f0": f"rare{at}"}) for at in range(300)]
    found = learned([*sessions, *rare])
    assert found.grouping is not None
    assert isinstance(found.grouping.rules, Rule)
    assert all(value.startswith("v") for value in found.grouping.rules.table)
    group = compile_grouping(found.grouping)
    assert group({"f0": "rare1"}) == group({"f0": "rare2"}) == group({"f0": "new"})
    assert len(set(leaves(found.grouping.rules))) == found.groups == ARMS
    bounded = learned([*sessions, *rare], max_groups=3)
    assert bounded.grouping is not None
    assert bounded.groups == 3


def test_propensities_set_right_what_the_logging_did() -> None:
    """Logged by a policy that nearly always played the worse arm where f0 is v1: what matters is found all the same."""
    rng = np.random.default_rng(13)
    sessions = []
    for _ in range(8000):
        value, other = rng.integers(0, 2), rng.integers(0, 4)
        chance = (0.9, 0.1)[value]  # of arm a
        arm = "a" if rng.random() < chance else "b"
        reward = 0.4 * ((arm == "a") == (value == 0)) + rng.standard_normal()
        sessions.append(
            Outcome("", arm, reward, chance if arm == "a" else 1 - chance, {"f0": f"v{value}", "f1": f"v{other}"})
        )
    history = History(("f0", "f1"), 8000)
    history.add(sessions)
    found = learn(history, LearnSettings(features=("f0", "f1")), Grouping())
    assert found.features == ("f0",)
    assert found.groups == 2


def test_feasible_sets_are_respected() -> None:
    """Where an arm is feasible only where all is bad, its mean looks bad; and one ranking for all is no reason to split.

    Levels differ by f0, arms are ranked a > b > c everywhere; c is feasible only where the level is high.
    """
    rng = np.random.default_rng(14)
    worth = {"a": 0.6, "b": 0.3, "c": 0.0}
    sessions = []
    for _ in range(12_000):
        high = rng.integers(0, 2)
        arms = ("b", "c") if high else ("a", "b")
        arm = arms[rng.integers(0, 2)]
        reward = worth[arm] + 3.0 * high + rng.standard_normal()
        sessions.append(Outcome("", arm, reward, 0.5, {"f0": f"v{high}", "f1": f"v{rng.integers(0, 3)}"}, arms))
    history = History(("f0", "f1"), 12_000)
    history.add(sessions)
    settings = LearnSettings(features=("f0", "f1"))
    # As one group b's mean is distorted by where it was played: choosing by it where a is feasible would be wrong.
    found = learn(history, settings, Grouping())
    assert found.features == ("f0",)
    assert found.groups == 2
    assert learn_groups(history, settings, found.grouping or Grouping()) is None


def test_too_little_is_said() -> None:
    found = learned(outcomes(100, 15, by_two))
    assert found.grouping is None
    assert "too few sessions to learn groups from" in found.notes
    assert learn(History(NAMES, 10), LearnSettings(features=NAMES), NONE).grouping is None


def test_numbers_with_fractions_are_refused_and_the_rest_is_learned() -> None:
    sessions = [
        Outcome(one.group, one.arm, one.reward, one.propensity, {**one.features, "f0": 0.5 + at % 7})
        for at, one in enumerate(outcomes(5000, 16, lambda features, arm: 0.5 * (arm == features[:, 5] % 3)))
    ]
    found = learned(sessions)
    assert found.features == ("f5",)
    assert any("feature 'f0' has numbers with fractions" in note for note in found.notes)


@pytest.mark.parametrize("arms", [2, 300])
def test_few_or_many_arms(arms: int) -> None:
    rng = np.random.default_rng(17)
    values, played = rng.integers(0, 2, 40_000), rng.integers(0, arms, 40_000)
    rewards = 1.5 * (played == values) + rng.standard_normal(40_000)
    history = History(("f0",), 40_000)
    history.add(
        [
            Outcome("", f"a{a}", r, 1 / arms, {"f0": f"v{v}"})
            for a, r, v in zip(played, rewards.tolist(), values, strict=True)
        ]
    )
    found = learn(history, LearnSettings(features=("f0",)), Grouping())
    assert found.features == ("f0",)
    assert found.groups == 2
