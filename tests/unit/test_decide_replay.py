"""The replay core: sessions, delays, who may be chosen, and what scores mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest

from vagus.controllers.decide.replay import Setup, replay
from vagus.controllers.decide.trace import GroupTrace, Trace
from vagus.errors import ConfigError
from vagus.policies import BANDITS
from vagus.policies.bank import Bank

SETUP = Setup(delay_s=2.0, rate=10.0, noise=0.1, tick_s=0.5)


def trace(values: Sequence[Sequence[float]], step_s: float = 10.0, group: str = "g", start_s: float = 0.0) -> Trace:
    table = np.array(values, dtype=float)
    arms = tuple(f"arm{at}" for at in range(table.shape[1]))
    return Trace("t", arms, (GroupTrace(group, start_s + np.arange(len(table)) * step_s, table),))


class Answer(NamedTuple):
    arm: str
    decision_id: int


class Recorder:
    """Plays one arm, or the last of those it may; keeps what happens."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self.ticks = 0
        self.made: dict[int, int] = {}
        self.waits: list[int] = []
        self.rewards: list[float] = []

    def decide(self, features: dict[str, Any], arms: Sequence[str]) -> Answer:
        self.asked.append((features["group"], tuple(arms)))
        self.made[len(self.asked)] = self.ticks
        return Answer(arms[-1], len(self.asked))

    def update(self, decision_id: int, reward: float) -> None:
        self.waits.append(self.ticks + 1 - self.made.pop(decision_id))  # rewards come before the tick that learns them
        self.rewards.append(reward)

    def tick(self) -> None:
        self.ticks += 1


def test_yardsticks_are_exact() -> None:
    found = replay(trace([[1.0, 3.0], [1.0, 3.0], [5.0, 3.0], [5.0, 3.0]]), Recorder, setup=SETUP)
    (run,) = found.runs
    assert run.sessions == 301, "from the first line to the last, both included"
    assert run.mean == pytest.approx(3.0)
    assert run.static == pytest.approx(3.0), "the other has 705 / 301"
    assert run.static_arm == "arm1"
    assert run.oracle == pytest.approx((200 * 3.0 + 101 * 5.0) / 301)
    assert run.random == pytest.approx((200 * 2.0 + 101 * 4.0) / 301)
    assert run.score == pytest.approx((3.0 - run.random) / (run.oracle - run.random))
    assert found.score == run.score == found.static_score
    assert found.regret[-1] == pytest.approx((run.oracle - run.mean) * 301)
    assert found.random_regret[-1] == pytest.approx((run.oracle - run.random) * 301)
    assert found.static_regret[-1] == pytest.approx((run.oracle - run.static) * 301)
    assert len(found.t_s) == len(found.regret)
    assert (np.diff(found.regret) >= -1e-9).all()


def test_rewards_come_late_and_noisy() -> None:
    seen: list[Recorder] = []

    def make(rng: np.random.Generator) -> Recorder:
        seen.append(Recorder(rng))
        return seen[0]

    replay(trace([[0.0, 1.0]] * 10), make, setup=SETUP)
    (recorder,) = seen
    # A session in the middle of a tick of 0.5 s hears at the first tick that is 2 s or more after it.
    assert set(recorder.waits) == {4, 5}
    assert len(recorder.waits) + len(recorder.made) == len(recorder.asked) == 901
    assert 18 <= len(recorder.made) <= 25, "outcomes of the last 2 s never come"
    assert np.mean(recorder.rewards) == pytest.approx(1.0, abs=0.02)
    assert np.std(recorder.rewards) == pytest.approx(0.1, abs=0.02)
    assert recorder.ticks == 181


def test_arms_that_are_not_there_are_never_chosen() -> None:
    nan = float("nan")
    there = trace([[1.0, nan, 0.0], [nan, 2.0, nan], [1.0, 2.0, 3.0]], step_s=1.0)
    for policy in (Recorder, "uniform", "auto", "ucb"):
        (run,) = replay(there, policy, setup=SETUP._replace(delay_s=0.3), seeds=(3,)).runs
        assert run.oracle >= run.mean
        assert np.isfinite([run.mean, run.random, run.static, run.oracle]).all()
    assert run.random == pytest.approx((10 * 0.5 + 10 * 2.0 + 2.0) / 21)


def test_groups_keep_their_own_time() -> None:
    early = trace([[0.0, 1.0]] * 3, group="early").groups[0]
    late = trace([[1.0, 0.0]] * 2, group="late", start_s=5.0).groups[0]
    both = Trace("both", ("arm0", "arm1"), (early, late))
    for policy in ("uniform", Recorder):
        found = replay(both, policy, setup=SETUP, seeds=(1, 2))
        assert [(run.group, run.seed) for run in found.runs] == [
            ("early", 1), ("late", 1), ("early", 2), ("late", 2)
        ]  # fmt: skip
        assert [run.sessions for run in found.runs] == [201, 101, 201, 101]
    assert [run.mean for run in found.runs] == [1.0, 0.0, 1.0, 0.0]


def test_a_bank_and_objects_alike() -> None:
    world = [trace([[0.2, 0.4, 0.9]] * 4), trace([[0.1, 0.3], [0.3, 0.1]])._replace(name="two")]
    found = replay(world, "uniform", setup=SETUP, seeds=range(20))
    assert found.score == pytest.approx(0.0, abs=0.03)
    assert set(found.scores()) == {"t", "two"}
    assert len(found.runs) == 40
    again = replay(world, "uniform", setup=SETUP, seeds=range(20))
    assert again.runs == found.runs, "seeds decide"
    assert replay(world, "uniform", setup=SETUP, seeds=range(1, 21)).runs != found.runs
    assert replay(world[0], "auto", setup=SETUP, seeds=(1,)).score > 0.7


def test_policies_that_need_names_are_told_them() -> None:
    two = [trace([[0.0, 1.0, 5.0]] * 3), Trace("t", ("arm1", "arm2"), trace([[1.0, 7.0]] * 3, group="h").groups)]
    found = replay(two, "static", options={"shares": {"arm1": 1.0}}, setup=SETUP, seeds=(1, 2))
    assert [run.mean for run in found.runs] == [1.0] * 4


def test_a_bank_whose_rows_learn_from_each_other_is_of_one_trace_and_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a discount is measured on would else be the same trace, seen by other seeds."""
    made: list[Bank] = []
    make = BANDITS.make

    def recorded(name: str, *args: Any, **options: Any) -> Bank:
        bank = make(name, *args, **options)
        assert isinstance(bank, Bank)
        made.append(bank)
        return bank

    monkeypatch.setattr(BANDITS, "make", recorded)
    pair = trace([[0.2, 0.4]] * 3)
    two = Trace("two", pair.arms, (pair.groups[0], trace([[1.0, 0.0]] * 3, group="other").groups[0]))
    for policy, options, rows in (
        ("ucb", {}, [1, 1, 2, 2]),
        ("thompson", {}, [1, 1, 2, 2]),
        ("ucb", {"gamma": 0.9}, [6]),
        ("auto", {}, [6]),
    ):
        made.clear()
        found = replay([pair, two], policy, options=options, setup=SETUP, seeds=(1, 2))
        assert [bank.rows for bank in made if bank.rows] == rows, policy
        assert [(run.trace, run.group, run.seed) for run in found.runs] == [
            *(("t", "g", 1), ("t", "g", 2)),
            *(("two", "g", 1), ("two", "other", 1), ("two", "g", 2), ("two", "other", 2)),
        ]
        assert all(run.score > 0.0 for run in found.runs)


def test_nothing_to_choose_has_no_score() -> None:
    found = replay(trace([[1.0, 1.0]] * 3), "uniform", setup=SETUP)
    assert np.isnan(found.score)
    assert found.mean == found.oracle == found.random == 1.0
    single = replay(trace([[1.0, 2.0]]), "uniform", setup=SETUP)
    assert [run.sessions for run in single.runs] == [1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"delay_s": -1.0}, "delay_s"),
        ({"rate": 0.0}, "rate"),
        ({"noise": float("nan")}, "noise"),
        ({"tick_s": 0.0}, "tick_s"),
        ({"rate": 1e6}, "give a smaller rate"),
    ],
)
def test_setups_that_cannot_be(change: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replay(trace([[1.0, 2.0]] * 11), "uniform", setup=SETUP._replace(**change))


def test_policies_and_seeds_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="no-such"):
        replay(trace([[1.0, 2.0]]), "no-such")
    with pytest.raises(ConfigError, match="seeds"):
        replay(trace([[1.0, 2.0]]), "uniform", seeds=())
    with pytest.raises(ConfigError, match="seeds"):
        replay(trace([[1.0, 2.0]]), "uniform", seeds=(-1,))
