"""Decisions that wait: joined once whenever the reward comes, forgotten when too old or too many, small."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest

from vagus.clock import NS
from vagus.controllers.decide.outstanding import Outstanding, check_decisions, check_reward
from vagus.controllers.decide.records import Outcome
from vagus.errors import ConfigError
from vagus.model import Ack, Decision, Reward, Scalar

T0 = 1_700_000_000 * NS


def _decision(name: str, arm: str = "a", group: str = "g", arms: tuple[str, ...] = ("a", "b"), **more: Any) -> Decision:
    return Decision(name, T0, group, arm, 0.25, 0, arms, **more)


def test_each_reward_is_joined_once() -> None:
    waiting = Outstanding()
    assert [waiting.add(_decision(name), T0) for name in ("1", "1", "2")] == [True, False, True]
    assert waiting.join("2", 7.0, T0) == (Ack.ACCEPTED, Outcome("g", "a", 7.0, 0.25, {}, ("a", "b")))
    assert waiting.join("2", 7.0, T0) == (Ack.ACCEPTED, None)
    assert waiting.join("2", 8.0, T0) == (Ack.IGNORED, None)
    assert waiting.join("3", 8.0, T0) == (Ack.FAILED, None)
    assert not waiting.add(_decision("2"), T0)  # its reward stays
    assert waiting.join("2", 7.0, T0) == (Ack.ACCEPTED, None)
    assert waiting.figures == {"decisions": 2.0, "rewards": 1.0, "open": 2.0, "unjoined": 1.0, "unrewarded": 0.0}


def test_a_reward_may_be_late_but_not_later_than_the_limit() -> None:
    waiting = Outstanding(max_age_s=10.0)
    for name in ("1", "2", "3"):
        waiting.add(_decision(name), T0)
    assert waiting.join("1", 1.0, T0 + 10 * NS)[0] is Ack.ACCEPTED
    assert waiting.join("2", 1.0, T0 + 10 * NS + 1)[0] is Ack.FAILED
    assert waiting.expire(T0 + 10 * NS) == 0
    assert waiting.expire(T0 + 10 * NS + 1) == 2
    assert (len(waiting), waiting.unrewarded) == (0, 2)
    assert waiting.add(_decision("1"), T0)  # forgotten: it is new


def test_open_decisions_are_bounded_and_the_oldest_go_first() -> None:
    waiting = Outstanding(max_open=3)
    for at in range(5):
        waiting.add(_decision(str(at)), T0)
    assert (len(waiting), waiting.unrewarded) == (3, 2)
    assert [waiting.join(str(at), 1.0, T0)[0] for at in range(5)] == [Ack.FAILED] * 2 + [Ack.ACCEPTED] * 3


def test_it_grows_and_goes_around_without_losing_any() -> None:
    waiting = Outstanding(max_open=3000)
    for at in range(10_000):
        waiting.add(_decision(str(at), "ab"[at % 2], f"g{at % 7}"), T0 + at)
        if at >= 100:
            _, outcome = waiting.join(str(at - 100), float(at), T0 + at)
            assert outcome is not None
            assert (outcome.group, outcome.arm) == (f"g{(at - 100) % 7}", "ab"[at % 2])
    assert (len(waiting), waiting.rewards, waiting.unrewarded) == (3000, 9900, 0)


def test_a_clock_set_back_ages_nobody_early() -> None:
    waiting = Outstanding(max_age_s=10.0)
    waiting.add(_decision("1"), T0)
    waiting.add(_decision("2"), T0 - 100 * NS)
    waiting.expire(T0 - 95 * NS)
    assert waiting.join("2", 1.0, T0 - 95 * NS)[0] is Ack.ACCEPTED
    assert waiting.join("1", 1.0, T0 - 95 * NS)[0] is Ack.ACCEPTED


@pytest.mark.parametrize(
    ("names", "kept"),
    [((), {}), (("isp", "absent"), {"isp": "x"}), (None, {"isp": "x", "n": 1, "live": True, "ratio": 1.0})],
)
def test_outcomes_carry_the_features_asked_for(names: tuple[str, ...] | None, kept: dict[str, Scalar]) -> None:
    waiting = Outstanding(features=names)
    waiting.add(_decision("1", features={"isp": "x", "n": 1, "live": True, "ratio": 1.0}), T0)
    _, outcome = waiting.join("1", 1.0, T0)
    assert outcome is not None
    assert outcome.features == kept


def test_equal_features_are_kept_once_and_their_types_stay() -> None:
    waiting = Outstanding(features=("n",))
    values: list[Scalar] = [1, 1.0, True, "1", 1]
    for at, value in enumerate(values):
        waiting.add(_decision(str(at), features={"n": value}), T0)
    found = [outcome.features for at in range(5) if (outcome := waiting.join(str(at), 1.0, T0)[1]) is not None]
    assert [type(one["n"]) for one in found] == [int, float, bool, str, int]
    assert found[0] is found[4]


@pytest.mark.parametrize("reward", [math.nan, math.inf, -math.inf, 1.1e100])
def test_a_reward_that_is_no_number_is_refused(reward: float) -> None:
    waiting = Outstanding()
    waiting.add(_decision("1"), T0)
    with pytest.raises(ConfigError, match="finite"):
        waiting.join("1", reward, T0)
    with pytest.raises(ConfigError, match="finite"):
        check_reward(Reward("1", T0, reward))
    assert waiting.join("1", 1.0, T0)[0] is Ack.ACCEPTED


@pytest.mark.parametrize("name", ["", "x" * 65])
def test_ids_of_rewards_are_bounded(name: str) -> None:
    with pytest.raises(ConfigError, match="1 to 64"):
        check_reward(Reward(name, T0, 1.0))


@pytest.mark.parametrize(
    ("decision", "match"),
    [
        (_decision(""), "decision_id"),
        (_decision("x" * 65), "decision_id"),
        (_decision("1", "z"), "not one of its arms"),
        (_decision("1", "a", "g" * 401), "group"),
        (_decision("1", "a", "", ("a", "a")), "twice"),
        (Decision("1", T0, "", "a", 0.0, 0, ("a",)), "propensity"),
        (Decision("1", T0, "", "a", math.nan, 0, ("a",)), "propensity"),
        (Decision("1", T0, "", "a", 1.5, 0, ("a",)), "propensity"),
    ],
)
def test_broken_decisions_are_told(decision: Decision, match: str) -> None:
    check_decisions([_decision("0"), Decision("1", T0, "", "a", 1.0, 0)])
    with pytest.raises(ConfigError, match=match):
        check_decisions([_decision("0"), decision])


@pytest.mark.parametrize("limits", [{"max_open": 0}, {"max_age_s": 0.0}, {"max_age_s": math.nan}])
def test_limits_must_be_above_zero(limits: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        Outstanding(**limits)


def test_what_is_open_survives_a_restart() -> None:
    waiting = Outstanding(features=("isp",))
    for at in range(5):
        waiting.add(_decision(str(at), "b", features={"isp": "x"}), T0 + at)
    waiting.join("1", 2.0, T0)
    saved = json.loads(json.dumps(waiting.state(), allow_nan=False))
    successor = Outstanding(max_open=4, features=("isp",))
    successor.add(_decision("other"), T0)
    successor.restore(saved)
    assert successor.state() == waiting.state()[1:]
    assert successor.join("0", 1.0, T0)[0] is Ack.FAILED
    assert successor.join("1", 2.0, T0) == (Ack.ACCEPTED, None)
    assert successor.join("2", 2.0, T0)[1] == Outcome("g", "b", 2.0, 0.25, {"isp": "x"}, ("a", "b"))
    assert successor.join("other", 2.0, T0)[0] is Ack.FAILED
    with pytest.raises(ConfigError, match="saved"):
        successor.restore([["1", 2]])
    assert len(successor) == 4


def test_names_from_outside_are_kept_once() -> None:
    waiting = Outstanding()
    sent = msgspec.msgpack.encode([_decision(str(at)) for at in range(3)])
    for decision in msgspec.msgpack.decode(sent, type=list[Decision]):
        waiting.add(decision, T0)
    outcomes = [waiting.join(str(at), 1.0, T0)[1] for at in range(3)]
    assert len({id(one.arms) for one in outcomes if one}) == len({id(one.group) for one in outcomes if one}) == 1
