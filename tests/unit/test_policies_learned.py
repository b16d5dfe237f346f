"""The policy ddpg: what it wishes, what it learns from, whose weights it uses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vagus.errors import ConfigError, PolicyError
from vagus.policies import Field, Wish
from vagus.policies.control_state import size
from vagus.policies.ddpg import DDPG
from vagus.policies.experience import Weights, rows_of, width
from vagus.policies.frames import Frames
from vagus.policies.learned import LearnedLimits

CORES = "cpu_cores"
GROUND = Field(("cgroup:app/a", "cgroup:app/b"), {CORES: (0.05, 2.0)})
OBJECTIVE = {"latency_s": 0.1, "slo_s": 0.2, "rate_hz": 20.0}


def made(seed: int = 0, field: Field = GROUND, **options: Any) -> LearnedLimits:
    return LearnedLimits(field, np.random.default_rng(seed), **{"learn": "here", **options})


def seen(use: float = 0.2, limit: float = 0.5, throttled: float = 0.0, **more: float) -> dict[str, dict[str, float]]:
    signals = {"usage_cores": use, "limit_cores": limit, "throttled_ratio": throttled, "elapsed_s": 1.0, **more}
    return {target: dict(signals) for target in GROUND.targets}


def walk(
    policy: LearnedLimits, steps: int, begin_s: float = 0.0, in_force: Mapping[tuple[str, str], float] | None = None
) -> list[Wish]:
    wishes: list[Wish] = []
    for at in range(steps):
        force = {(w.target, w.resource): w.value for w in wishes} if in_force is None else in_force
        policy.in_force(force)
        limit = next(iter(force.values()), 0.5)
        wishes = list(policy.step(seen(0.2 + 0.05 * (at % 3), limit), OBJECTIVE, begin_s + at))
    return wishes


def test_it_wishes_for_every_target_that_is_seen_and_within_the_bounds() -> None:
    policy = made(explore=1.0)
    for at, use in enumerate((0.001, 0.3, 50.0)):
        wishes = list(policy.step(seen(use), OBJECTIVE, float(at)))
        assert [(w.target, w.resource) for w in wishes] == [(target, CORES) for target in GROUND.targets]
        assert all(0.05 <= w.value <= 2.0 for w in wishes)
    one = {GROUND.targets[1]: seen()[GROUND.targets[1]]}
    assert [w.target for w in policy.step(one, OBJECTIVE, 3.0)] == [GROUND.targets[1]]


def test_without_any_target_it_cannot_decide() -> None:
    with pytest.raises(PolicyError, match="no target"):
        made().step({}, OBJECTIVE, 0.0)
    with pytest.raises(PolicyError, match="no target"):
        made().step({GROUND.targets[0]: {}}, OBJECTIVE, 0.0)


def test_what_is_not_known_stops_nothing() -> None:
    policy = made()
    nothing = {target: dict.fromkeys(signals, math.nan) for target, signals in seen().items()}
    assert list(policy.step(nothing, {}, 0.0)) == [], "no use is known, so no limit is wished for"
    wishes = list(policy.step(seen(), {"latency_s": math.nan, "slo_s": math.nan}, 1.0))
    assert all(math.isfinite(w.value) for w in wishes)


def test_limits_rise_at_once_and_fall_slowly() -> None:
    policy = made(fall=0.09)
    policy.step(seen(0.2, 2.0), OBJECTIVE, 0.0)
    assert [w.value for w in policy.step(seen(0.2, 2.0), OBJECTIVE, 1.0)] == pytest.approx([2.0 * 0.91] * 2)
    assert next(iter(policy.step(seen(1.5, 0.2), OBJECTIVE, 2.0))).value > 1.0
    sooner = made(fall=0.09, every_s=0.5)
    sooner.step(seen(0.2, 2.0), OBJECTIVE, 0.0)
    half = list(sooner.step(seen(0.2, 2.0, elapsed_s=0.5), OBJECTIVE, 0.5))
    assert half[0].value == pytest.approx(2.0 * math.sqrt(0.91)), "by time, not by steps"


def test_it_decides_each_second_and_answers_throttling_in_between() -> None:
    policy = made(reflex=0.5)
    policy.step(seen(), OBJECTIVE, 0.0)
    found = []
    for at in range(1, 11):
        signals = seen(0.2, 0.5, elapsed_s=0.2)
        signals[GROUND.targets[0]]["throttled_ratio"] = 1.0 if at in (2, 3) else 0.0
        found.append([(w.target, w.value) for w in policy.step(signals, OBJECTIVE, 0.2 * at)])
    assert [len(wishes) for wishes in found] == [0, 1, 1, 0, 2, 0, 0, 0, 0, 2]
    assert found[1] == [(GROUND.targets[0], pytest.approx(0.75))]
    calm = made(reflex=0.0)
    calm.step(seen(), OBJECTIVE, 0.0)
    assert calm.step(seen(0.2, 0.5, 1.0, elapsed_s=0.2), OBJECTIVE, 0.2) == []


def test_a_missed_objective_makes_it_careful_for_a_while() -> None:
    policy, late = made(updates=0), {**OBJECTIVE, "latency_s": 0.5}
    careless = made(caution=0.0, updates=0)
    limits, plain = [], []
    for at in range(300):
        objective = late if 20 <= at < 25 else OBJECTIVE
        limits.append(next(iter(policy.step(seen(0.2, 0.21), objective, at))).value)
        plain.append(next(iter(careless.step(seen(0.2, 0.21), objective, at))).value)
    assert limits[:20] == plain[:20]
    assert limits[30] > 1.1 * plain[30]
    assert limits[-1] == pytest.approx(plain[-1], rel=0.1)


def test_several_steps_are_seen_as_one() -> None:
    frames = Frames(1.0)
    for at in range(4):
        signals = {"a": {"usage_cores": float(at), "limit_cores": 1.0 + at, "throttled_ratio": 0.5, "elapsed_s": 0.25}}
        assert frames.see(signals, {"latency_s": 0.1 if at == 1 else math.nan, "slo_s": 0.2}, 0.25) == (at == 3)
    seen_, objective, elapsed_s = frames.take()
    assert seen_["a"] == {"usage_cores": 1.5, "limit_cores": 4.0, "throttled_ratio": 0.5, "elapsed_s": 1.0}
    assert (objective, elapsed_s) == ({"latency_s": 0.1, "slo_s": 0.2}, 1.0)
    assert frames.elapsed_s == 0.0


def test_the_action_that_is_learned_is_the_one_that_was_in_force() -> None:
    policy = made(learn="learner")
    course = None
    force = {(target, CORES): 0.9 for target in GROUND.targets}  # somebody else's doing
    policy.step(seen(), OBJECTIVE, 0.0)
    course = policy._pasts[GROUND.targets[0]].courses[CORES]
    meant = course.action_of(0.9)
    policy.in_force(force)
    policy.step(seen(limit=0.9), OBJECTIVE, 1.0)
    (rows,) = policy.drained().values()
    assert rows.shape == (2, width(size(1), 1))
    assert rows[:, size(1)].tolist() == pytest.approx([meant] * 2)
    assert policy.drained() == {}


def test_what_came_after_a_gap_is_not_learned() -> None:
    policy = made(learn="learner")
    walk(policy, 5)
    policy.drained()
    walk(policy, 1, 100.0)
    assert policy.drained() == {}
    walk(policy, 2, 101.0)
    assert policy.drained()


def test_learning_here_changes_the_model_and_not_learning_does_not(tmp_path: Path) -> None:
    policy = made(explore=0.3, updates=4)
    before = policy.models["all"].weights()
    walk(policy, 60)
    assert policy.models["all"].weights() != before
    policy.models["all"].save(tmp_path / "x.npz")
    still = made(learn="off", checkpoint=str(tmp_path / "x.npz"))
    before = still.models["all"].weights()
    walk(still, 60)
    assert still.models["all"].weights() == before
    assert still.state() == {}


def test_each_begins_as_the_one_for_all_and_goes_its_own_way(tmp_path: Path) -> None:
    model = DDPG(size(1), 1, seed=5)
    model.save(tmp_path / "all.npz")
    policy = made(model="each", checkpoint=str(tmp_path / "all.npz"), explore=0.3)
    assert [m.weights() for m in policy.models.values()] == [model.weights()] * 2
    walk(policy, 80)
    first, second = (m.weights() for m in policy.models.values())
    assert first != second
    for name, m in zip(("a", "b"), policy.models.values(), strict=True):
        m.save(tmp_path / f"{name}.npz")
    again = made(model="each", checkpoint=str(tmp_path / "{target}.npz"), learn="off")
    assert [m.weights() for m in again.models.values()] == [first, second]


def test_the_learners_weights_count_from_the_next_step() -> None:
    policy, other = made(learn="learner"), made(3)
    (told,) = policy.outgoing()
    assert (told.model, told.weights) == ("limits", policy.models["all"].weights())
    walk(policy, 3)
    policy.take([Weights("limits", 7, other.models["all"].weights()), Weights("unknown", 9, b"")])
    assert policy.version == 0
    walk(policy, 1, 3.0)
    assert policy.version == 7
    assert policy.models["all"].weights() == other.models["all"].weights()
    (told,) = policy.outgoing()
    assert (told.version, told.weights) == (7, b"")
    assert len(rows_of(told)) == 2 * 3
    policy.take([Weights("limits", 0, wanted=True)])
    walk(policy, 1, 4.0)
    assert policy.outgoing()[0].weights, "a learner that lost it is given it"


def test_weights_that_cannot_be_are_told_once_and_nothing_is_lost() -> None:
    policy, other = made(learn="learner"), made(3)
    before = policy.models["all"].weights()
    policy.take([Weights("limits", 7, b"nonsense")])
    with pytest.raises(PolicyError, match=r"learner's weights of 'limits' cannot be used.*those before stay"):
        walk(policy, 1)
    assert walk(policy, 1, 1.0), "it goes on"
    assert policy.models["all"].weights() == before
    assert policy.outgoing()[0].version == 7, "else they would only come again"
    policy.take([Weights("limits", 8, other.models["all"].weights())])
    walk(policy, 1, 2.0)
    assert policy.models["all"].weights() == other.models["all"].weights()


def test_the_learner_learns_with_the_options_of_the_checkpoint(tmp_path: Path) -> None:
    trained = made(hyper={"tau": 0.02}).models["all"]
    trained.save(tmp_path / "m.npz")
    (told,) = made(learn="learner", checkpoint=str(tmp_path / "m.npz")).outgoing()
    assert told.hyper["tau"] == 0.02


def test_a_newer_checkpoint_counts_more_than_what_was_learned_from_an_older_one(tmp_path: Path) -> None:
    file = tmp_path / "m.npz"
    made(1).models["all"].save(file)
    policy = made(checkpoint=str(file))
    walk(policy, 60)
    state = policy.state()
    again = made(checkpoint=str(file))
    again.restore(state)
    assert again.models["all"].weights() == policy.models["all"].weights()
    newer = made(2).models["all"]
    newer.save(file)
    again = made(checkpoint=str(file))
    again.restore(state)
    assert again.models["all"].weights() == newer.weights()


def test_two_targets_with_one_checkpoint_are_refused() -> None:
    field = Field(("cgroup:shop/web", "cgroup:blog/web"), {CORES: (0.05, 2.0)})
    with pytest.raises(ConfigError, match=r"cgroup:shop/web and cgroup:blog/web would have one checkpoint, web\.npz"):
        made(field=field, model="each", checkpoint="{target}.npz")


def test_state_survives_as_json_and_damage_is_told() -> None:
    policy = made(explore=0.2)
    walk(policy, 60)
    other = made(9)
    other.restore(policy.state())
    assert other.models["all"].weights() == policy.models["all"].weights()
    before = other.models["all"].weights()
    for damaged in (
        {"weights": 3},
        {"weights": {"all": "!"}, "versions": {}},
        {"weights": {"all": "AAAA"}, "versions": {}},
    ):
        with pytest.raises(PolicyError, match="damaged"):
            other.restore(damaged)
    assert other.models["all"].weights() == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"learn": "off"}, "neither learns nor has learned"),
        ({"learn": "often"}, "off, here or learner"),
        ({"model": "some"}, "all or each"),
        ({"explore": -1}, "explore"),
        ({"alpha": 2}, "alpha"),
        ({"updates": 1.5}, "updates"),
        ({"fall": 0}, "fall"),
        ({"hyper": {"batch": 0}}, "batch"),
        ({"checkpoint": "none.npz"}, "none.npz"),
        ({"field": Field(("a",), {"replicas": (1, 2)})}, "no resource"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        made(**options)


def test_a_checkpoint_of_other_resources_is_refused(tmp_path: Path) -> None:
    DDPG(size(2), 2).save(tmp_path / "two.npz")
    with pytest.raises(ConfigError, match="for the resources cpu_cores it must be"):
        made(checkpoint=str(tmp_path / "two.npz"))


def test_several_resources_are_one_action_each() -> None:
    field = Field(GROUND.targets, {CORES: (0.05, 2.0), "io_read_bytes_s": (1e4, 1e9)})
    policy = made(field=field)
    wishes = list(policy.step(seen(use_io_read_bytes_s=2e6, limit_io_read_bytes_s=5e6), OBJECTIVE, 0.0))
    assert {w.resource for w in wishes} == set(field.bounds)
    read = next(w for w in wishes if w.resource == "io_read_bytes_s")
    assert 2e6 <= read.value <= 1e9
