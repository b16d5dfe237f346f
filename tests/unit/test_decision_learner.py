"""The learner: explores, forgets, keeps groups apart and bounded, hands them over, survives policies that fail."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest

from vagus.clock import NS
from vagus.controllers.decide.banks import MAX_SETS
from vagus.controllers.decide.learner import SKIPPED_VERSIONS, Learner
from vagus.controllers.decide.load import LoadBalance
from vagus.controllers.decide.records import Grouping, GroupState, Outcome
from vagus.controllers.decide.table import DecisionTable, encode_update
from vagus.errors import ConfigError, NoData, PolicyError
from vagus.policies import BANDITS
from vagus.policies.bank import Bank, Bools, Floats, Ints, even

ABC = ("a", "b", "c")


def _learner(policy: str = "ucb", **options: Any) -> Learner:
    return Learner(policy, {}, np.random.default_rng(1), **options)


def _outcome(arm: str, reward: float = 1.0, group: str = "", arms: tuple[str, ...] = ("a", "b")) -> Outcome:
    return Outcome(group, arm, reward, 0.5, {}, arms)


def _play(
    learner: Learner, table: DecisionTable, ticks: int, worth: Mapping[str, float], arms: Sequence[str], group: str = ""
) -> None:
    for _ in range(ticks):
        for _ in range(20):
            made = table.decide({"g": group}, arms, 0)
            learner.met(made.group, made.arms)
            learner.learn([Outcome(made.group, made.arm, worth[made.arm], made.propensity, {}, made.arms)])
        table.apply(encode_update(learner.tick(0)))


def _weights(learner: Learner, group: str = "") -> dict[str, float]:
    row = learner.full().groups[group]
    return dict(zip(row.arms, row.weights, strict=True))


@pytest.mark.parametrize("policy", ["ucb", "thompson", "epsilon", "restarted", "auto"])
def test_the_loop_finds_the_best_arm(policy: str) -> None:
    learner, table = _learner(policy), DecisionTable(Random(2))
    _play(learner, table, 50, {"a": 0.1, "b": 0.9, "c": 0.2}, ABC)
    assert _weights(learner)["b"] > 0.6
    (group, arm, share, rewards) = learner.favourites(5)[0]
    assert (group, arm, rewards) == ("", "b", 1000)
    assert share > 0.6
    assert learner.figures == {"groups": 1.0, "version": 50.0, "learned": 1000.0, "policy_errors": 0.0}


def test_an_arm_that_appears_later_is_explored_and_one_that_goes_is_no_answer() -> None:
    learner, table = _learner(), DecisionTable(Random(2))
    _play(learner, table, 20, {"a": 0.1, "b": 0.5}, ["a", "b"])
    _play(learner, table, 30, {"a": 0.1, "b": 0.5, "new": 0.9}, ["a", "b", "new"])
    assert _weights(learner)["new"] > 0.6
    _play(learner, table, 1, {"a": 0.1, "b": 0.5}, ["b", "a"])
    propensity = {d.arm: d.propensity for d in (table.decide({}, ["a", "b"], 0) for _ in range(300))}
    assert propensity["b"] > 0.6  # the set has its own weights: not even, though the table's favourite is gone


def test_an_arm_never_seen_is_explored_once_there_is_a_list() -> None:
    learner = _learner()
    learner.learn([_outcome("a")] * 100)
    learner.tick(0)
    assert _weights(learner)["b"] > 0.0  # feasible, and nobody has tried it
    learner.met("", ("a", "b", "c"))
    learner.tick(0)
    assert _weights(learner)["c"] > 0.0


def test_arms_absent_from_a_batch_fade_too() -> None:
    learner = _learner("thompson")
    learner.learn([_outcome("a", 1.0), _outcome("b", 0.0)] * 5)
    learner.tick(0)
    before = {one["arm"]: one["evidence"] for one in learner.explain("")}
    for _ in range(20):
        learner.learn([_outcome("b", 0.0)])
        learner.tick(0)
    after = {one["arm"]: one["evidence"] for one in learner.explain("")}
    assert after["a"] < 0.9 * before["a"]


@pytest.mark.parametrize("policy", sorted(BANDITS))
def test_equal_rewards_divide_nothing_by_zero(policy: str) -> None:
    learner = _learner(policy)
    with np.errstate(divide="raise", invalid="raise"):
        for reward in (0.0, 0.0, 5.0, -3.0):
            learner.learn([_outcome("a", reward)])
            learner.tick(0)
        learner.met("silent", ("x",))
        learner.tick(0)
        for _ in range(50):
            learner.tick(0)
    assert (learner.policy_errors, learner.last_policy_error) == (0, "")
    for row in learner.full().groups.values():
        assert math.isclose(math.fsum(row.weights), 1.0, abs_tol=1e-9)


def test_separators_in_names_keep_groups_and_arms_apart() -> None:
    learner = _learner()
    arms = ("a:b", "a;b", ":", ";")
    for group, best in (("x:y", "a:b"), ("x;y", ":"), ("x\\:y", ";")):
        learner.learn([Outcome(group, arm, float(arm == best), 1.0, {}, arms) for arm in arms] * 20)
    table = DecisionTable(Random(1))
    table.apply(encode_update(learner.tick(0)))
    favourites = {group: arm for group, arm, *_ in learner.favourites(9)}
    assert favourites == {"x:y": "a:b", "x;y": ":", "x\\:y": ";"}
    assert set(table.full().groups) == set(favourites)


def test_groups_learn_apart_and_are_bounded_the_oldest_goes() -> None:
    learner = _learner(max_groups=2)
    for group in ("x", "y", "z"):
        learner.met(group, ("a", "b"))
        learner.learn([_outcome("a", float(group != "z"), group), _outcome("b", 0.5, group)])
        update = learner.tick(0)
    assert (set(learner), update.gone) == ({"y", "z"}, ("x",))
    learner.learn([_outcome("a", 1.0, "y")] * 100 + [_outcome("b", 0.0, "y")] * 10)
    learner.tick(0)
    assert _weights(learner, "y")["a"] > 0.5
    learner.met("x", ("a", "b"))  # z was active least lately
    update = learner.tick(0)
    assert (set(learner), update.gone, set(update.groups)) == ({"x", "y"}, ("z",), {"x"})


def test_a_reward_brings_a_dropped_group_back() -> None:
    learner = _learner(max_groups=1)
    learner.met("x", ("a", "b"))
    learner.met("y", ("a", "b"))
    learner.tick(0)
    learner.learn([_outcome("a", 1.0, "x")])
    update = learner.tick(0)
    assert (set(update.groups), update.gone) == ({"x"}, ("y",))


def test_the_least_lately_active_goes_also_among_many() -> None:
    learner = _learner(max_groups=100)
    for at in range(100):
        learner.met(f"g{at}", ("a",))
    learner.tick(0)
    learner.learn([_outcome("a", 1.0, f"g{at}", ("a",)) for at in range(50)])
    learner.tick(0)
    for at in range(30):
        learner.met(f"new{at}", ("a",))
    update = learner.tick(0)
    assert len(learner) == 100
    assert set(update.gone) <= {f"g{at}" for at in range(50, 100)}
    assert len(update.gone) == 30


def test_only_news_make_a_new_version_but_all_fade() -> None:
    learner = _learner("thompson")
    assert learner.tick(0).version == 1  # the grouping is news
    assert learner.tick(0) == learner.tick(0)
    learner.learn([_outcome("a", 1.0), _outcome("a", 0.0), _outcome("b", 0.9), _outcome("b", 0.0)] * 5)
    update = learner.tick(0)
    assert (update.base, update.version, set(update.groups)) == (1, 2, {""})
    before = _weights(learner)
    for _ in range(200):
        assert learner.tick(0).groups == {}
    assert (learner.version, _weights(learner)) == (2, before)
    learner.met("", ("a", "b"))
    learner.tick(0)
    assert learner.version == 3
    assert abs(_weights(learner)["a"] - 0.5) < abs(before["a"] - 0.5)


def test_sets_met_lately_are_answered_exactly_and_are_bounded() -> None:
    learner = _learner("thompson")
    arms = tuple(f"a{at}" for at in range(10))
    learner.learn([Outcome("", arm, float(at), 1.0, {}, arms) for at, arm in enumerate(arms)] * 3)
    learner.tick(0)
    subsets = [arms[:length] for length in range(2, 9)] + [arms[3:], arms[5:], arms[1:3]]
    for subset in subsets:
        learner.met("", subset[::-1])
    row = learner.tick(0).groups[""]
    assert [set(one.arms) for one in row.sets] == [set(subset) for subset in subsets[-MAX_SETS:]]
    for one in row.sets:
        assert math.isclose(math.fsum(one.weights), 1.0, abs_tol=1e-9)
    learner.met("", subsets[-MAX_SETS])  # the oldest of them is the newest now
    learner.met("", arms[7:])
    learner.tick(0)
    kept = [set(one.arms) for one in learner.full().groups[""].sets]
    assert kept[-2:] == [set(subsets[-MAX_SETS]), set(arms[7:])]


def test_what_was_all_arms_stays_exact_when_others_come() -> None:
    learner, table = _learner(), DecisionTable(Random(1))
    _play(learner, table, 10, {"a": 0.0, "b": 1.0}, ["a", "b"])
    learner.absorb(GroupState("", 0, "ucb", ("c",), {"count": [1.0], "mean": [9.0], "squares": 0.0}), 1.0)
    _play(learner, table, 2, {"a": 0.0, "b": 1.0}, ["a", "b"])
    assert [one.arms for one in learner.full().groups[""].sets] == [("a", "b")]


def test_a_group_of_many_arms_does_not_widen_the_others() -> None:
    learner: Any = _learner()
    for at in range(200):
        learner.met(f"g{at}", ("a", "b", "c"))
    learner.met("wide", tuple(f"a{at}" for at in range(900)))
    learner.tick(0)
    by_width = {width: len(banked) for width, banked in learner.minds.banked.items()}
    assert by_width == {4: 200, 1000: 1}
    assert len(_weights(learner, "wide")) == 900


def test_what_is_known_moves_along_as_a_group_grows() -> None:
    learner, table = _learner("thompson"), DecisionTable(Random(1))
    arms = [f"a{at}" for at in range(3)]
    worth = {f"a{at}": float(at == 1) for at in range(40)}
    for count in (3, 5, 9, 20, 40):
        arms = [f"a{at}" for at in range(count)]
        _play(learner, table, 6, worth, arms)
    explained = {one["arm"]: one for one in learner.explain("")}
    assert explained["a1"]["mean"] == pytest.approx(1.0)
    assert explained["a1"]["probability"] > 0.3
    assert len(learner) == 1
    assert learner.group("").rewards == 600


def test_arms_beyond_a_thousand_make_room_and_what_stays_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.controllers.decide.banks.MAX_ARMS", 12)
    monkeypatch.setattr("vagus.controllers.decide.banks.KEPT_ARMS", 8)
    learner = _learner("thompson")
    learner.learn([Outcome("", "a0", 1.0, 1.0, {}, ("a0", "b0"))] * 5)
    for at in range(1, 30):
        learner.learn([Outcome("", "a0", 1.0, 1.0, {}, ("a0", f"a{at}"))])
        learner.learn([Outcome("", f"a{at}", 0.0, 1.0, {}, ("a0", f"a{at}"))])
        update = learner.tick(0)
        assert len(update.groups[""].arms) <= 12
    explained = {one["arm"]: one for one in learner.explain("")}
    assert explained["a0"]["mean"] == 1.0
    assert explained["a29"]["mean"] == 0.0
    assert "a3" not in explained
    assert learner.policy_errors == 0


def test_versions_after_a_restart_name_no_table_of_before() -> None:
    learner = _learner()
    learner.met("", ("a",))
    update = learner.tick(0)
    successor = _learner(version=learner.version)
    successor.met("", ("b",))
    again = successor.tick(0)
    assert again.version > update.version + SKIPPED_VERSIONS - 1
    assert again.base == again.version - 1 != update.version


def test_another_grouping_travels_once_with_the_next_update() -> None:
    learner = _learner(grouping=Grouping(group_by=("isp",)))
    assert learner.tick(0).grouping == Grouping(group_by=("isp",))
    other = Grouping(1, ("city",))
    learner.regroup(other)
    assert [learner.tick(0).grouping, learner.tick(0).grouping] == [other, None]
    assert learner.full().grouping == learner.grouping == other
    with pytest.raises(ConfigError, match="feature name"):
        learner.regroup(Grouping(2, ("",)))


# --- groups that come and go -------------------------------------------------------------------------------------------


def _taught(policy: str = "thompson", arms: tuple[str, ...] = ABC, best: str = "b", group: str = "x") -> Learner:
    learner = _learner(policy)
    for _ in range(20):
        learner.learn([Outcome(group, arm, float(arm == best), 1.0, {}, arms) for arm in arms])
        learner.tick(0)
    return learner


@pytest.mark.parametrize("policy", sorted(BANDITS))
def test_a_group_handed_over_is_known_there(policy: str) -> None:
    one, other = _taught(policy), _learner(policy)
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(one.group("x")), type=GroupState)
    assert (state.arms, state.rewards, state.policy, state.epoch) == (ABC, 60, policy, 0)
    other.learn([_outcome("z", 5.0, "x", ("z",))])
    other.put(msgspec.structs.replace(state, epoch=3))
    assert other.group("x") == msgspec.structs.replace(one.group("x"), epoch=3)
    assert other.changed() == ["x"]
    assert set(other.tick(0).groups) == {"x"}


def test_two_halves_are_the_whole_also_with_arms_in_another_order() -> None:
    whole = _taught()
    state = whole.group("x")
    parts = _learner("thompson")
    parts.absorb(msgspec.structs.replace(state, group="y"), 0.5)
    turned = _learner("thompson")
    turned.learn([_outcome("c", 0.0, "y", ("c", "b", "a", "d"))])
    turned.absorb(msgspec.structs.replace(state, group="y"), 1.0)
    explained = {one["arm"]: one for one in turned.explain("y")}
    assert explained["b"]["mean"] == 1.0
    assert explained["a"]["mean"] == explained["c"]["mean"] == 0.0
    assert explained["c"]["evidence"] == pytest.approx(1.0 + explained["a"]["evidence"])
    assert explained["d"]["evidence"] == 0.0
    half = {one["arm"]: one["evidence"] for one in parts.explain("y")}
    parts.absorb(msgspec.structs.replace(state, group="y"), 0.5)
    assert {one["arm"]: one["evidence"] for one in parts.explain("y")} == pytest.approx(
        {arm: 2.0 * evidence for arm, evidence in half.items()}
    )
    assert parts.group("y").rewards == 60


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"policy": "ucb"}, "policy 'ucb'"),
        ({"arms": ("a", "a")}, "twice"),
        ({"arms": ()}, "0 arms"),
        ({"state": {}}, "saved state"),
        ({"state": {"count": ["x"], "mean": [0.0], "squares": 0.0}}, "saved state"),
    ],
)
@pytest.mark.parametrize("how", ["put", "absorb"])
def test_a_broken_state_is_refused_with_nothing_changed(change: dict[str, Any], match: str, how: str) -> None:
    learner = _taught()
    before = learner.group("x")
    for name in ("x", "fresh"):
        broken = msgspec.structs.replace(before, group=name, **change)
        with pytest.raises(ConfigError, match=match):
            learner.put(broken) if how == "put" else learner.absorb(broken, 0.5)
    assert learner.group("x") == before
    assert set(learner) == {"x"}


def test_a_dropped_group_is_gone_and_its_row_is_another_s() -> None:
    learner = _taught()
    learner.learn([_outcome("a", 7.0, "x", ABC)])
    learner.drop("x")
    learner.drop("nobody")
    assert learner.tick(0).gone == ("x",)
    with pytest.raises(NoData, match="no group 'x'"):
        learner.group("x")
    learner.met("y", ABC)
    learner.tick(0)
    assert {one["evidence"] for one in learner.explain("y")} == {0.0}


def test_changed_names_each_group_once() -> None:
    learner = _learner()
    learner.learn([_outcome("a", 1.0, "x"), _outcome("a", 1.0, "x"), _outcome("a", 1.0, "y")])
    learner.met("z", ("a",))
    assert sorted(learner.changed()) == ["x", "y"]
    learner.tick(0)
    assert learner.changed() == []
    learner.learn([_outcome("b", 1.0, "y")])
    assert learner.changed() == ["y"]


def test_arms_with_capacity_are_filled_for_every_set_of_feasible_arms() -> None:
    balance, rng = LoadBalance({"b": 10.0}, fill=1.0), Random(1)
    learner, table = _learner(balance=balance), DecisionTable(rng, ())
    given = 0
    for second in range(60):
        for at in range(20):
            made = table.decide({}, ("a", "b") if at % 2 else ("a", "b", "c"), 0)
            learner.met(made.group, made.arms)
            balance.decided(made.group, made.arm)
            learner.learn([_outcome(made.arm, {"a": 1.0, "b": 9.0, "c": 0.0}[made.arm], "", made.arms)])
            given += made.arm == "b" and second >= 30
        balance.tick((second + 1) * NS)
        table.apply(learner.tick(0))
    assert 8.0 <= given / 30 <= 11.0


# --- policies that fail ------------------------------------------------------------------------------------------------


class _Broken(Bank):
    """Works until told."""

    name: ClassVar[str] = "broken"
    cells: ClassVar = {"count": 0.0}
    works = True
    bad: ClassVar[dict[str, float]] = {}

    def learn(self, rows: Ints, places: Ints, rewards: Floats) -> None:
        if not self.works:
            raise PolicyError("cannot learn")

    def tick(self) -> None:
        if not self.works:
            raise ZeroDivisionError

    def weights(self, rows: Ints, feasible: Bools) -> Floats:
        weights = even(feasible)
        if not self.works:
            weights[:] = np.nan
        for row, value in self.bad.items():
            weights[rows == int(row)] = value
        return weights

    def explain(self, row: int, places: int) -> list[dict[str, float]]:
        return [{} for _ in range(places)]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> type[_Broken]:
    monkeypatch.setitem(BANDITS._paths, "broken", f"{__name__}:_Broken")
    monkeypatch.setattr(BANDITS, "get", lambda name: _Broken)
    monkeypatch.setattr(_Broken, "works", True)
    monkeypatch.setattr(_Broken, "bad", {})
    return _Broken


def test_a_policy_that_fails_leaves_the_last_weights(broken: type[_Broken], monkeypatch: pytest.MonkeyPatch) -> None:
    learner = _learner("broken")
    learner.met("x", ("a", "b"))
    before = learner.tick(0).groups["x"]
    monkeypatch.setattr(broken, "works", False)
    learner.met("new", ("a", "b"))
    learner.learn([_outcome("a", 1.0, "x")])
    update = learner.tick(0)
    assert update.groups == {}
    assert learner.full().groups == {"x": before}
    assert learner.policy_errors == 3  # learn; tick; weights
    assert "sum to 1" in learner.last_policy_error
    monkeypatch.setattr(broken, "works", True)
    learner.met("new", ("a", "b"))
    assert set(learner.tick(0).groups) == {"new"}


@pytest.mark.parametrize("value", [math.nan, -1.0, 0.3, math.inf])
def test_one_bad_answer_spoils_no_other(broken: type[_Broken], monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    learner: Any = _learner("broken")
    for group in ("x", "y"):
        learner.met(group, ("a", "b"))
    learner.tick(0)
    before = _weights(learner, "x")
    monkeypatch.setattr(broken, "bad", {str(learner.minds.groups["x"].row): value})
    for group in ("x", "y"):
        learner.met(group, ("a", "b", "c"))
    update = learner.tick(0)
    assert set(update.groups) == {"y"}
    assert _weights(learner, "x") == before
    assert _weights(learner, "y") == {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}
    assert learner.policy_errors == 1
    monkeypatch.setattr(broken, "bad", {})
    learner.met("x", ("a", "b", "c"))
    assert set(learner.tick(0).groups) == {"x"}


@pytest.mark.parametrize(
    ("policy", "options", "match"),
    [("nobody", {}, "nobody"), ("ucb", {"gamma": "x"}, "gamma"), ("ucb", {"nothing": 1}, "nothing")],
)
def test_wrong_settings_fail_at_once(policy: str, options: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        Learner(policy, options)


# --- contextual policies -----------------------------------------------------------------------------------------------


def _see(learner: Learner, group: str = "", ticks: int = 100) -> None:
    for _ in range(ticks):
        for speed in (0.0, 1.0):
            learner.learn(
                [
                    Outcome(group, "fast", speed, 0.5, {"speed": speed}, ("fast", "slow")),
                    Outcome(group, "slow", 1.0 - speed, 0.5, {"speed": speed}, ("fast", "slow")),
                ]
            )
        learner.tick(0)


def test_a_contextual_policy_learns_and_its_table_tells_requests_apart() -> None:
    learner, table = _learner("linear"), DecisionTable(Random(1))
    _see(learner)
    table.apply(encode_update(learner.full()))
    for speed, best in ((0.0, "slow"), (1.0, "fast")):
        drawn = [table.decide({"speed": speed}, ["fast", "slow"], 0).arm for _ in range(200)]
        assert drawn.count(best) > 150
    assert learner.explain("") == [{"arm": "fast", "probability": None}, {"arm": "slow", "probability": None}]
    assert (learner.policy_errors, learner.favourites(3)) == (0, [])


def test_contextual_groups_are_handed_over_dropped_and_bounded() -> None:
    learner, other = _learner("linear", max_groups=2), _learner("linear")
    for group in ("x", "y", "z"):
        _see(learner, group, 3)
    assert sorted(learner) == ["y", "z"]
    assert sorted(learner.changed()) == ["y", "z"]
    state = msgspec.json.decode(msgspec.json.encode(learner.group("y")), type=GroupState)
    other.put(state)
    assert other.group("y") == state
    other.absorb(msgspec.structs.replace(state, group="w"), 0.5)
    assert other.group("w").rewards == state.rewards // 2
    changes: list[dict[str, Any]] = [{"state": {"model": "%"}}, {"state": {}}, {"policy": "ucb"}]
    for change in changes:
        with pytest.raises(ConfigError):
            other.put(msgspec.structs.replace(state, **change))
    other.tick(0)
    other.drop("w")
    assert other.tick(0).gone == ("w",)
    assert set(other.full().groups) == {"y"}
