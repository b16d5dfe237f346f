"""The decision service in one process: decides, joins, learns, ticks by the clock; one by one and by columns."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
from collections import Counter
from typing import Any

import numpy as np
import pytest

from vagus.clock import ManualClock
from vagus.controllers.decide.decider import Decider
from vagus.errors import ConfigError, NoData
from vagus.model import Ack, Scalar

ABC = ("a", "b", "c")


def _decider(policy: str = "ucb", **options: Any) -> Decider:
    return Decider(policy, **{"seed": 1, "tick_s": 0.5, "clock": ManualClock(), **options})


def _clock(decider: Decider, seconds: float) -> None:
    decider._time_ns.__self__.advance(seconds)  # type: ignore[attr-defined]


def _play(
    decider: Decider, worth: dict[str, float], count: int = 400, features: dict[str, Scalar] | None = None
) -> None:
    for _ in range(count):
        made = decider.decide(features or {}, [*worth])
        assert decider.update(made.decision_id, worth[made.arm]) is Ack.ACCEPTED
        _clock(decider, 0.05)


def _explained(decider: Decider, group: str = "") -> dict[str, dict[str, Any]]:
    return {one["arm"]: one for one in decider.explain(group)}


def test_it_is_part_of_vagus_and_costs_nothing_until_used() -> None:
    code = "import sys, vagus; light = 'numpy' not in sys.modules; vagus.Decider('ucb').decide({}, ['a']); print(light)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_the_default_finds_the_best_arm_of_each_group() -> None:
    decider = Decider(group_by=("city",), seed=1, clock=ManualClock())
    for _ in range(300):
        for city, best in (("Bern", "a"), ("Basel", "b")):
            made = decider.decide({"city": city}, ABC)
            decider.update(made.decision_id, float(made.arm == best))
        _clock(decider, 0.05)
    decider.tick()
    assert _explained(decider, "Bern")["a"]["probability"] > 0.7
    assert _explained(decider, "Basel")["b"]["probability"] > 0.7
    with pytest.raises(NoData):
        decider.explain("Chur")


def test_propensities_are_frequencies_and_sets_have_their_own() -> None:
    decider = _decider("thompson")
    _play(decider, {"a": 0.5, "b": 0.6, "c": 0.4}, 100)
    for arms in (["a", "b", "c"], ["c", "a"], ["a", "new"]):
        decider.decide({}, arms)
        decider.tick()
        counts: Counter[str] = Counter()
        propensity: dict[str, float] = {}
        for _ in range(3000):
            made = decider.decide({}, arms)
            assert propensity.setdefault(made.arm, made.propensity) == made.propensity
            counts[made.arm] += 1
        assert math.fsum(propensity.values()) == pytest.approx(1.0)
        for arm, share in propensity.items():
            assert counts[arm] / 3000 == pytest.approx(share, abs=4 * math.sqrt(0.25 / 3000))


def test_rewards_count_once_and_late_ones_too_but_not_too_late() -> None:
    decider = _decider("thompson", max_age_s=10.0)
    made = [decider.decide({}, ["a"]) for _ in range(3)]
    _clock(decider, 10.0)
    assert decider.update(made[0].decision_id, 1.0) is Ack.ACCEPTED
    assert decider.update(made[0].decision_id, 1.0) is Ack.ACCEPTED
    assert decider.update(made[0].decision_id, 2.0) is Ack.IGNORED
    _clock(decider, 0.001)
    assert decider.update(made[1].decision_id, 1.0) is Ack.FAILED
    _clock(decider, 1.0)
    decider.tick()
    figures = decider.figures
    assert {name: figures[name] for name in ("decisions", "rewards", "open", "unjoined", "unrewarded")} == {
        "decisions": 3.0,
        "rewards": 1.0,
        "open": 0.0,
        "unjoined": 1.0,
        "unrewarded": 2.0,
    }


@pytest.mark.parametrize("name", ["", "x", "0" * 32, "f" * 32, "é" * 32, "0" * 31, "0" * 33, "0 " * 16])
def test_an_id_that_nobody_was_given_is_refused(name: str) -> None:
    decider = _decider()
    decider.decide({}, ["a"])
    assert decider.update(name, 1.0) is Ack.FAILED
    assert list(decider.update_columns([name], [1.0])) == [Ack.FAILED]


def test_an_id_s_halves_prove_nothing_alone() -> None:
    decider = _decider()
    one, other = (decider.decide({}, ["a"]).decision_id for _ in range(2))
    assert decider.update(one[:16] + other[16:], 1.0) is Ack.FAILED
    assert len({one, other}) == 2
    assert decider.update(one, 1.0) is Ack.ACCEPTED


def test_open_decisions_are_bounded_and_the_oldest_go() -> None:
    decider = _decider(max_open=3)
    ids = [decider.decide({}, ["a"]).decision_id for _ in range(5)]
    assert [decider.update(name, 1.0) for name in ids] == [Ack.FAILED] * 2 + [Ack.ACCEPTED] * 3
    assert decider.figures["unrewarded"] == 2.0
    many = _decider(max_open=5000)
    ids = [many.decide({}, ["a"]).decision_id for _ in range(12_000)]
    kept = [many.update(name, 1.0) for name in ids]
    assert kept == sorted(kept, key=[Ack.FAILED, Ack.ACCEPTED].index)
    assert 5000 - 625 <= kept.count(Ack.ACCEPTED) <= 5000


@pytest.mark.parametrize("reward", [math.nan, math.inf, -2e100])
def test_a_reward_that_is_no_number_is_refused(reward: float) -> None:
    decider = _decider()
    made = decider.decide({}, ["a"])
    with pytest.raises(ConfigError, match="finite"):
        decider.update(made.decision_id, reward)
    with pytest.raises(ConfigError, match="finite"):
        decider.update_columns([made.decision_id], [reward])
    assert decider.update(made.decision_id, 1.0) is Ack.ACCEPTED


def test_it_ticks_by_the_clock_and_makes_up_for_a_pause() -> None:
    decider = _decider("thompson")
    _play(decider, {"a": 0.0, "b": 1.0}, 60)
    evidence = sum(one["evidence"] for one in decider.explain(""))
    _clock(decider, 3600.0)
    decider.decide({}, ["a", "b"])
    assert sum(one["evidence"] for one in decider.explain("")) < 0.5 * evidence
    assert decider.figures["policy_errors"] == 0.0


def test_a_group_grows_while_rewards_are_on_their_way() -> None:
    decider = _decider("thompson")
    waiting: list[tuple[str, str]] = []
    for count in (2, 6, 11, 30, 31):
        for _ in range(20):
            made = decider.decide({}, [f"a{at}" for at in range(count)])
            waiting.append((made.decision_id, made.arm))
        decider.tick()
    batch = decider.decide_columns({"x": [0] * 50}, [f"a{at}" for at in range(31)])
    decider.decide({}, [f"a{at}" for at in range(90)])
    decider.tick()
    for decision_id, arm in waiting:
        assert decider.update(decision_id, float(arm[1:])) is Ack.ACCEPTED
    assert set(decider.update_columns(batch.keys, batch.index.astype(float))) == {Ack.ACCEPTED}
    decider.tick()
    chosen = Counter(arm for _, arm in waiting) + Counter(batch.names)
    for arm, known in _explained(decider).items():
        if chosen[arm]:
            assert known["mean"] == pytest.approx(float(arm[1:]))
    assert decider._learner.group("").rewards == 150


def test_dropped_groups_come_back_with_their_rewards() -> None:
    decider = _decider(group_by=("g",), max_groups=2)
    made = [decider.decide({"g": group}, ["a", "b"]) for group in ("x", "y", "z")]
    decider.tick()
    assert decider.figures["groups"] == 2.0
    batch = decider.decide_columns({"g": ["y", "z"]}, ["a", "b"])
    for group in ("v", "w"):
        decider.decide({"g": group}, ["a", "b"])
    decider.tick()
    assert decider.update(made[0].decision_id, 5.0) is Ack.ACCEPTED
    assert list(decider.update_columns(batch.keys, [6.0, 7.0])) == [Ack.ACCEPTED] * 2
    decider.tick()
    means = {group: {one["mean"] for one in decider.explain(group)} for group in decider._learner}
    learned = {"x": {0.0, 5.0}, "y": {0.0, 6.0}, "z": {0.0, 7.0}}  # within a tick, nobody is older than another
    assert len(means) == 2
    assert means.items() <= learned.items()


def test_groups_by_rules() -> None:
    rules = {"field": "isp", "values": {"x": {"field": "city", "values": {"Bern": "fast"}}}}
    decider = _decider(rules=rules, fallback="isp")
    assert decider.decide({"isp": "x", "city": "Bern"}, ["a"]).group == "fast"
    assert decider.decide({"isp": "y", "city": "Bern"}, ["a"]).group == "isp=y"
    batch = decider.decide_columns({"isp": ["x", "y", "x"], "city": ["Bern", "Bern", "Chur"]}, ["a"])
    decider.update_columns(batch.ids, [1.0, 2.0, 3.0])
    decider.tick()
    assert sorted(decider._learner) == ["fast", "isp=x", "isp=y"]


def test_capacity_bounds_what_an_arm_is_given() -> None:
    decider = _decider(capacity={"best": 10.0})
    given: Counter[str] = Counter()
    for _ in range(1500):
        made = decider.decide({}, ["best", "other"])
        decider.update(made.decision_id, float(made.arm == "best"))
        given[made.arm] += 1
        _clock(decider, 0.02)  # 50 sessions a second
    batch = decider.decide_columns({"x": [1] * 1000}, ["best", "other"])
    assert 0.1 < given["best"] / 1500 < 0.35
    assert 0.1 < batch.names.count("best") / 1000 < 0.35


@pytest.mark.parametrize("features", [(), ("speed",)])
def test_a_contextual_policy_tells_requests_apart(features: tuple[str, ...]) -> None:
    decider = _decider("linear", features=features)
    for at in range(600):
        speed = float(at % 2)
        made = decider.decide({"speed": speed}, ["fast", "slow"])
        decider.update(made.decision_id, speed if made.arm == "fast" else 1.0 - speed)
        _clock(decider, 0.05)
    drawn = [decider.decide({"speed": 1.0}, ["fast", "slow"]).arm for _ in range(200)]
    assert drawn.count("fast") > 150
    with pytest.raises(ConfigError, match="use decide_many"):
        decider.decide_columns({"speed": [1.0]}, ["fast", "slow"])
    assert decider.figures["policy_errors"] == 0.0


def test_what_was_learned_is_saved_and_goes_on_elsewhere() -> None:
    decider, successor = _decider(group_by=("g",)), _decider(group_by=("g",))
    _play(decider, {"a": 0.0, "b": 1.0}, 300, {"g": "x"})
    successor.restore(decider.save())
    for arm, known in _explained(decider, "x").items():
        assert _explained(successor, "x")[arm]["mean"] == known["mean"]
        assert _explained(successor, "x")[arm]["evidence"] == pytest.approx(
            known["evidence"], rel=0.05
        )  # one tick older
    assert successor.decide({"g": "x"}, ["a", "b"]).propensity != 0.5
    with pytest.raises(ConfigError, match="not saved groups"):
        successor.restore(b"x")


def test_the_seed_decides_the_arms_and_not_the_ids() -> None:
    one, other = _decider(), _decider()
    made = [[decider.decide({}, ABC) for _ in range(50)] for decider in (one, other)]
    assert [each.arm for each in made[0]] == [each.arm for each in made[1]]
    assert not {each.decision_id for each in made[0]} & {each.decision_id for each in made[1]}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"tick_s": 0.0}, "tick_s"),
        ({"group_by": ("x",), "rules": {"field": "y", "values": {"a": "b"}}}, "one of them"),
        ({"max_open": 0}, "max_open"),
        ({"options": {"nothing": 1}}, "nothing"),
        ({"capacity": {"a": 0.0}}, "capacity"),
    ],
)
def test_wrong_settings_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        _decider(**options)


def test_a_refused_request_leaves_no_trace() -> None:
    decider = _decider(group_by=("g",))
    decider.decide({"g": "x"}, ["a", "b"])
    decider.tick()
    for features, arms in (({"g": None}, ["a"]), ({"g": "x"}, ["a", "a"]), ({"g": "x"}, "ab"), ({"g": "x"}, [1])):
        with pytest.raises(ConfigError):
            decider.decide(features, arms)  # type: ignore[arg-type]
        with pytest.raises(ConfigError):
            decider.decide_columns({"g": list(features.values())}, arms)  # type: ignore[arg-type]
    made = decider.decide({"g": "x"}, ["a", "b"])
    assert decider.update(made.decision_id, 1.0) is Ack.ACCEPTED
    assert decider.figures["decisions"] == 2.0


def test_threads_share_it() -> None:
    decider = Decider("thompson", tick_s=0.001, seed=1)
    ids: list[str] = []

    def run(group: int) -> None:
        for at in range(1000):
            made = decider.decide({}, ABC[: 2 + at % 2])
            ids.append(made.decision_id)
            assert decider.update(made.decision_id, float(group)) is Ack.ACCEPTED

    threads = [threading.Thread(target=run, args=(group,)) for group in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    decider.tick()
    assert len({*ids}) == 4000
    assert (decider.figures["rewards"], decider._learner.group("").rewards) == (4000.0, 4000)


def test_a_forked_child_gives_ids_of_its_own() -> None:
    decider = _decider()
    first = decider.decide({}, ["a"]).decision_id
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        made = decider.decide({}, ["a"]).decision_id
        known = decider.update(made, 1.0) is Ack.ACCEPTED and decider.update(first, 1.0) is Ack.ACCEPTED
        os.write(writable, (made if known and decider.figures["decisions"] == 2.0 else "").encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(readable, 100).decode()
    mine = decider.decide({}, ["a"]).decision_id
    os.close(readable)
    os.close(writable)
    assert theirs
    assert theirs != mine
    assert decider.update(theirs, 1.0) is Ack.FAILED


# --- by columns ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [list, np.array])
@pytest.mark.parametrize("values", [["x", "y", "x", "z:;", "\\"], [3, 1, 3, -7, 2**40], [0.5, 1.0, 0.5, 2.5, -1.0]])
def test_columns_learn_as_single_ones_do(kind: Any, values: list[Scalar]) -> None:
    columns, single = _decider("thompson", group_by=("g",)), _decider("thompson", group_by=("g",))
    for turn in range(6):
        batch = columns.decide_columns({"g": kind(values), "other": kind(values)}, ABC)
        rewards = np.arange(5.0) + turn
        assert list(columns.update_columns(batch.keys if turn % 2 else batch.ids, rewards)) == [Ack.ACCEPTED] * 5
        for value, arm, reward in zip(values, batch.names, rewards, strict=True):
            while (made := single.decide({"g": value}, ABC)).arm != arm:
                pass
            single.update(made.decision_id, reward)
        columns.tick()
        single.tick()
    assert sorted(columns._learner) == sorted(single._learner)
    for group in columns._learner:
        ours, theirs = _explained(columns, group), _explained(single, group)
        for arm in ABC:
            assert ours[arm]["mean"] == pytest.approx(theirs[arm]["mean"])
            assert ours[arm]["evidence"] == pytest.approx(theirs[arm]["evidence"])


def test_one_true_and_1_are_the_groups_that_single_ones_have() -> None:
    decider = _decider(group_by=("g",))
    values: list[Scalar] = [1, True, 1.0, "1", "true"]
    for _ in range(3):
        batch = decider.decide_columns({"g": values}, ["a"])
        decider.update_columns(batch.keys, [1.0] * 5)
        decider.tick()
    assert {group: decider._learner.group(group).rewards for group in decider._learner} == {"1": 9, "true": 6}


def test_columns_of_several_features_and_of_none() -> None:
    decider = _decider(group_by=("isp", "city"))
    for _ in range(2):
        batch = decider.decide_columns({"isp": ["x", "x"], "city": ["p", "q"]}, ["a", "b"])
        decider.update_columns(batch.keys, [1.0, 2.0])
        decider.tick()
    decider.decide_columns({"isp": ["x"]}, ["a", "b"])
    decider.tick()
    assert sorted(decider._learner) == ["x:\\?", "x:p", "x:q"]
    alone = _decider()
    assert len(alone.decide_columns({"other": [0.5] * 7}, ["a", "b"])) == 7
    alone.tick()
    assert list(alone._learner) == [""]


def test_frequencies_of_columns_are_their_propensities() -> None:
    decider = _decider("thompson", group_by=("g",))
    for _ in range(30):
        batch = decider.decide_columns({"g": ["x", "y"] * 5}, ABC)
        decider.update_columns(batch.keys, np.where(batch.index == np.array([0, 1] * 5), 1.0, 0.4))
        decider.tick()
    for arms in (ABC, ("c", "a", "b"), ("c", "a"), ("b", "new")):
        decider.decide_columns({"g": ["x", "y"]}, arms)
        decider.tick()
        batch = decider.decide_columns({"g": np.array(["x", "y"] * 3000)}, arms)
        for group in (0, 1):
            index, propensity = batch.index[group::2], batch.propensity[group::2]
            for at in range(len(arms)):
                of_it = propensity[index == at]
                if len(of_it):
                    assert of_it.min() == of_it.max()
                    assert len(of_it) / 3000 == pytest.approx(of_it[0], abs=4 * math.sqrt(0.25 / 3000))


def test_repeated_mixed_and_unknown_keys() -> None:
    decider = _decider()
    decider.decide({}, ["a", "b"])
    decider.tick()
    batch = decider.decide_columns({"x": [1, 2, 3]}, ["a", "b"])
    one = decider.decide({}, ["a", "b"])
    ids = [batch.ids[0], batch.ids[1], batch.ids[0], batch.ids[0], one.decision_id, "nobody", "nobody"]
    assert list(decider.update_columns(ids, [1.0, 2.0, 1.0, 5.0, 3.0, 1.0, 1.0])) == [
        Ack.ACCEPTED,
        Ack.ACCEPTED,
        Ack.ACCEPTED,
        Ack.IGNORED,
        Ack.ACCEPTED,
        Ack.FAILED,
        Ack.FAILED,
    ]
    assert decider.update(batch.ids[2], 4.0) is Ack.ACCEPTED
    assert decider.update(batch.ids[0], 4.0) is Ack.IGNORED
    decider.tick()
    assert decider._learner.group("").rewards == 4
    assert decider.figures["rewards"] == 4.0


def test_batches_and_single_ones_take_turns_in_one_ring() -> None:
    decider = _decider(max_open=2000)
    ids: list[str] = []
    for at in range(40):
        ids += [decider.decide({}, ["a", "b"]).decision_id for _ in range(at % 7)]
        ids += decider.decide_columns({"x": [0] * (at * 13 % 200)}, ["a", "b"]).ids
    assert len({*ids}) == len(ids)
    acks = [decider.update(name, 1.0) for name in ids]
    assert acks == sorted(acks, key=[Ack.FAILED, Ack.ACCEPTED].index)
    assert 1500 <= acks.count(Ack.ACCEPTED) <= 2000
    assert decider.figures["decisions"] == len(ids)


@pytest.mark.parametrize(
    ("features", "match"),
    [
        ({}, "one or more"),
        ({"g": ["x"], "h": ["y", "z"]}, "one length"),
        ({"g": ["x" * 501]}, "501"),
        ({"g": [None]}, "must be text"),
        ({"g": [["x"]]}, "must be text"),
        ({"g": np.zeros((2, 2))}, "must be text"),
    ],
)
def test_broken_columns_are_refused(features: Any, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        _decider(group_by=("g",)).decide_columns(features, ["a"])


@pytest.mark.parametrize(
    ("keys", "rewards", "match"),
    [
        (["x"], [1.0, 2.0], "one reward"),
        ([1], [1.0], "ids must be"),
        (["x"], [[1.0]], "one reward"),
        (["x"], ["y"], "numbers"),
    ],
)
def test_broken_outcomes_are_refused(keys: Any, rewards: Any, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        _decider().update_columns(keys, rewards)


def test_more_at_once_than_can_wait_is_refused() -> None:
    decider = _decider(max_open=10)
    with pytest.raises(ConfigError, match="at most 10"):
        decider.decide_columns({"x": [0] * 11}, ["a"])
    assert len(decider.decide_columns({"x": [0] * 10}, ["a"])) == 10


def test_many_as_a_list() -> None:
    decider = _decider()
    made = decider.decide_many([({}, ["a"]), ({"x": 1}, ["b"])])
    assert [one.arm for one in made] == ["a", "b"]
    assert decider.update_many([(made[0].decision_id, 1.0), ("x", 1.0)]) == [Ack.ACCEPTED, Ack.FAILED]
