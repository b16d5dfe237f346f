"""The learner: joins by id whenever rewards come, explores, forgets, bounds its memory, survives a restart."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import pytest

from vagus.clock import NS
from vagus.controllers.decide.table import DecisionTable
from vagus.controllers.learner import SKIPPED_VERSIONS, DecisionService
from vagus.errors import ConfigError, PolicyError
from vagus.model import Ack, Decision, Reward
from vagus.policies import GroupBandit as Bandit
from vagus.policies.old_thompson import DiscountedThompson
from vagus.policies.old_ucb import DiscountedUCB

T0 = 1_700_000_000 * NS


def _service(make: Callable[[Random], Bandit] = DiscountedUCB, **options: Any) -> DecisionService:
    return DecisionService(make, Random(1), policy="ucb", **options)


def _decision(name: str, arm: str = "a", group: str = "", arms: tuple[str, ...] = ("a", "b")) -> Decision:
    return Decision(name, T0, group, arm, 0.5, 0, arms)


def _reward(name: str, value: float = 1.0) -> Reward:
    return Reward(name, T0, value)


def _play(
    service: DecisionService, table: DecisionTable, ticks: int, worth: Mapping[str, float], arms: Sequence[str]
) -> None:
    for tick in range(ticks):
        now_ns = T0 + tick * NS // 2
        decisions = [table.decide({}, arms, now_ns) for _ in range(20)]
        service.decided(decisions, now_ns)
        service.rewarded([Reward(d.decision_id, now_ns, worth[d.arm]) for d in decisions], now_ns)
        table.replace(service.tick(now_ns))


def test_the_loop_finds_the_best_arm() -> None:
    service, table = _service(), DecisionTable(Random(2))
    _play(service, table, 50, {"a": 0.1, "b": 0.9, "c": 0.2}, ["a", "b", "c"])
    assert service.snapshot.groups[""]["b"] > 0.6
    (group, arm, share, count) = service.shares(5)[0]
    assert (group, arm, count) == ("", "b", 200)
    assert share > 0.6
    assert service.decisions == service.rewards == 1000


def test_an_arm_that_appears_later_is_explored_and_one_that_goes_is_no_answer() -> None:
    service, table = _service(), DecisionTable(Random(2))
    _play(service, table, 20, {"a": 0.1, "b": 0.5}, ["a", "b"])
    _play(service, table, 30, {"a": 0.1, "b": 0.5, "new": 0.9}, ["a", "b", "new"])
    assert service.snapshot.groups[""]["new"] > 0.6
    _play(service, table, 1, {"a": 0.1, "b": 0.5}, ["b", "a"])
    propensity = {d.arm: d.propensity for d in (table.decide({}, ["a", "b"], T0) for _ in range(300))}
    assert propensity["b"] > 0.6  # the set has its own weights: not even, though the table's favourite is gone


def test_each_reward_is_counted_once() -> None:
    service = _service()
    assert service.decided([_decision("1"), _decision("1"), _decision("2", "b")], T0) == [
        _decision("1"),
        _decision("2", "b"),
    ]
    assert service.decided([_decision("2", "b")], T0) == []
    answers = service.rewarded([_reward("2"), _reward("1"), _reward("1"), _reward("1", 7.0), _reward("3")], T0)
    assert answers == [Ack.ACCEPTED, Ack.ACCEPTED, Ack.ACCEPTED, Ack.IGNORED, Ack.FAILED]
    assert (service.decisions, service.rewards, service.unjoined) == (2, 2, 1)
    assert service.state()["groups"][""]["bandit"]["arms"] == {"b": [1.0, 1.0], "a": [1.0, 1.0]}


def test_a_reward_may_be_late_but_not_later_than_the_limit() -> None:
    service = _service(max_age_s=10)
    service.decided([_decision("1"), _decision("2"), _decision("3")], T0)
    assert service.rewarded([_reward("1")], T0 + 10 * NS) == [Ack.ACCEPTED]
    assert service.rewarded([_reward("2")], T0 + 10 * NS + 1) == [Ack.FAILED]
    service.tick(T0 + 11 * NS)
    assert (service.open, service.unrewarded) == (0, 2)


def test_open_decisions_are_bounded_and_the_oldest_go_first() -> None:
    service = _service(max_open=3)
    service.decided([_decision(str(at)) for at in range(5)], T0)
    assert service.open == 3
    assert service.unrewarded == 2
    assert service.rewarded([_reward("1"), _reward("2")], T0) == [Ack.FAILED, Ack.ACCEPTED]


def test_groups_learn_apart_and_are_bounded() -> None:
    service = _service(max_groups=2)
    for group in ("x", "y", "z"):
        service.decided([_decision(f"{group}{arm}", arm, group) for arm in "ab"], T0)
        service.rewarded([_reward(f"{group}a", float(group != "z")), _reward(f"{group}b", 0.5)], T0)
    snapshot = service.tick(T0)
    assert set(snapshot.groups) == {"y", "z"}
    for _ in range(100):
        service.decided([_decision(f"more{_}", "a", "y")], T0)
        service.rewarded([_reward(f"more{_}", 1.0)], T0)
    assert service.tick(T0).groups["y"]["a"] > 0.5
    assert service.rewarded([_reward("xa")], T0) == [Ack.ACCEPTED]  # counted before; its group is gone
    service.decided([_decision("x2", "b", "x")], T0)
    assert service.groups == 2


def test_a_reward_brings_a_dropped_group_back() -> None:
    service = _service(max_groups=1)
    service.decided([_decision("1", "a", "x"), _decision("2", "a", "y")], T0)
    assert service.rewarded([_reward("1")], T0) == [Ack.ACCEPTED]
    assert service.tick(T0).groups == {"x": {"a": 1.0}}


def test_only_news_make_a_new_version_but_all_arms_fade() -> None:
    service = _service()
    assert service.tick(T0).version == 0
    service.decided([_decision("1")], T0)
    service.rewarded([_reward("1")], T0)
    first = service.tick(T0)
    assert first.version == 1
    again = service.tick(T0 + NS)
    assert again is first
    faded = service.state()["groups"][""]["bandit"]["arms"]["a"][0]
    assert faded == pytest.approx(0.98**2)
    service.decided([_decision("2", "b")], T0)
    assert service.tick(T0).version == 2


def test_a_snapshot_does_not_change_once_given() -> None:
    service = _service()
    service.decided([_decision("1")], T0)
    first = service.tick(T0)
    before = json.dumps(first.groups)
    service.decided([_decision("2", "c", "", ("a", "b", "c")), _decision("3", "a", "other")], T0)
    service.tick(T0)
    assert json.dumps(first.groups) == before


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2e100])
def test_a_reward_that_is_no_number_refuses_the_batch(value: float) -> None:
    service = _service()
    service.decided([_decision("1"), _decision("2")], T0)
    with pytest.raises(ConfigError, match="'2' must be a finite number"):
        service.rewarded([_reward("1"), _reward("2", value)], T0)
    assert service.rewards == 0


@pytest.mark.parametrize(
    ("decision", "match"),
    [
        (_decision(""), "decision_id"),
        (_decision("x" * 65), "decision_id"),
        (_decision("1", "z"), "not one of its arms"),
        (_decision("1", "a", "g" * 401), "group"),
        (_decision("1", "a", "", ("a", "a")), "twice"),
    ],
)
def test_a_broken_decision_refuses_the_batch(decision: Decision, match: str) -> None:
    service = _service()
    with pytest.raises(ConfigError, match=match):
        service.decided([_decision("0"), decision], T0)
    assert (service.open, service.decisions) == (0, 0)


def test_the_state_survives_a_restart() -> None:
    service, table = _service(), DecisionTable(Random(2))
    _play(service, table, 30, {"a": 0.1, "b": 0.9}, ["a", "b"])
    service.decided([_decision("waiting")], T0)
    saved = json.loads(json.dumps(service.state(), allow_nan=False))
    successor = _service()
    successor.restore(saved)
    assert successor.snapshot.version > service.snapshot.version + SKIPPED_VERSIONS - 1
    assert successor.snapshot.groups[""]["b"] > 0.6
    assert successor.rewarded([_reward("waiting")], T0) == [Ack.ACCEPTED]
    assert successor.decided([_decision("waiting")], T0) == []
    assert successor.state()["groups"][""]["arms"] == service.state()["groups"][""]["arms"]


@pytest.mark.parametrize("other", [{"group_by": ("isp",)}, {"policy": "thompson"}])
def test_what_was_learned_under_other_settings_is_dropped_but_versions_go_on(other: dict[str, Any]) -> None:
    service = _service()
    service.decided([_decision("1")], T0)
    service.tick(T0)
    successor = DecisionService(DiscountedThompson, Random(1), **{"policy": "ucb", **other})
    successor.restore(service.state())
    assert (successor.groups, successor.open) == (0, 0)
    assert successor.snapshot.version > SKIPPED_VERSIONS
    assert successor.snapshot.group_by == other.get("group_by", ())


@pytest.mark.parametrize("change", [{"open": [["1"]]}, {"version": "x"}, {"groups": {"": {}}}, {"groups": None}])
def test_a_broken_state_is_refused(change: dict[str, Any]) -> None:
    service = _service()
    service.decided([_decision("1")], T0)
    with pytest.raises(ConfigError, match="saved state"):
        service.restore({**service.state(), **change})
    assert service.open == 1


class _Broken:
    """A bandit that works until told."""

    name = "broken"
    works = True

    def __init__(self, rng: Random) -> None: ...

    def weights(self, arms: Sequence[str]) -> list[float]:
        return [1.0] + [0.0] * (len(arms) - 1) if self.works else [math.nan] * len(arms)

    def learn(self, rewards: Sequence[tuple[str, float]]) -> None:
        if not self.works:
            raise PolicyError("cannot learn")

    def tick(self) -> None:
        if not self.works:
            raise ZeroDivisionError

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None: ...


def test_a_policy_that_fails_leaves_the_last_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    service = _service(_Broken)
    service.decided([_decision("1", "a", "x")], T0)
    before = service.tick(T0).groups["x"]
    monkeypatch.setattr(_Broken, "works", False)
    service.decided([_decision("2", "a", "x"), _decision("3", "a", "new")], T0)
    assert service.rewarded([_reward("2")], T0) == [Ack.ACCEPTED]
    after = service.tick(T0)
    assert after.groups == {"x": before}
    assert service.policy_errors == 5  # learn; two ticks; two computations
    assert "sum to 1" in service.last_policy_error
