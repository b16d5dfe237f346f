"""The learner actor without Ray: what controllers tell it, what it hands back, what survives its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from vagus.actors.base import Seat
from vagus.actors.learner import INDEX, LearnerActor
from vagus.actors.lessons import Lessons
from vagus.config import Config, LearnerSettings
from vagus.errors import ConfigError, PeerUnreachable
from vagus.policies import Field
from vagus.policies.ddpg import DDPG
from vagus.policies.experience import Experience, Weights, width
from vagus.policies.learned import LearnedLimits

STATE, ACTION = 4, 1


class NoLinks:
    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        raise AssertionError("the learner calls nobody")

    def nodes(self) -> tuple[str, ...]:
        return ("n1",)


def seat(home: Path, updates_per_s: float = 10_000.0) -> Seat:
    config = Config(home=str(home), learner=LearnerSettings(checkpoint_every="1h", updates_per_s=updates_per_s))
    return Seat(role="learner", node="n1", home=str(home), config=config)


@asynccontextmanager
async def running(home: Path) -> AsyncIterator[LearnerActor]:
    actor = LearnerActor(seat(home), NoLinks())
    await actor.begin()
    try:
        yield actor
    finally:
        await actor.end()


def rows(count: int = 64, seed: int = 0) -> bytes:
    made = np.random.default_rng(seed).uniform(-1, 1, (count, width(STATE, ACTION))).astype(np.float32)
    made[:, -1] = 0.0
    return made.tobytes()


def told(version: int = 0, weights: bytes = b"", count: int = 64, model: str = "limits") -> Experience:
    return Experience(model, STATE, ACTION, rows(count), version, weights)


def action(weights: bytes) -> float:
    model = DDPG(STATE, ACTION, seed=9)
    model.load_weights(weights)
    return float(model.act(np.full(STATE, 0.5, np.float32), False)[0])


async def learned(actor: LearnerActor) -> None:
    for _ in range(2000):
        if actor.figures()["updates"]:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nothing is learned")


async def test_a_model_begins_as_its_first_controllers_and_is_handed_to_all_as_it_learns(tmp_path: Path) -> None:
    own = DDPG(STATE, ACTION, seed=3).weights()
    async with running(tmp_path) as actor:
        assert await actor.exchange([told()]) == [Weights("limits", 0, wanted=True)]
        (first,) = await actor.exchange([told(weights=own)])
        assert action(first.weights) == action(own)
        await learned(actor)
        (newer,) = await actor.exchange([told(first.version)])
        assert newer.version > first.version
        assert action(newer.weights) != action(own)
        other = DDPG(STATE, ACTION, seed=4).weights()
        (same,) = await actor.exchange([told(weights=other, count=0)])  # a second one: it takes what is there
        assert action(same.weights) != action(other)
        assert actor.figures()["rows"] >= 128


async def test_who_has_the_newest_weights_is_sent_none(tmp_path: Path) -> None:
    async with running(tmp_path) as actor:
        (first,) = await actor.exchange([told(weights=DDPG(STATE, ACTION).weights(), count=0)])
        (again,) = await actor.exchange([told(first.version, count=0)])
        assert again == Weights("limits", first.version)


async def test_what_was_learned_survives_its_end_and_the_version_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path) as actor:
        await actor.exchange([told(weights=DDPG(STATE, ACTION, seed=3).weights())])
        await learned(actor)
        (last,) = await actor.exchange([told(count=0)])
    async with running(tmp_path) as actor:
        (found,) = await actor.exchange([told(last.version, count=0)])
        assert found.version > last.version
        assert actor.figures()["models"] == 1
        await actor.exchange([told(found.version, count=1)])
        await learned(actor)  # from the replay, of which one row alone would be too little


async def test_a_damaged_checkpoint_is_told_and_the_model_begins_anew(tmp_path: Path) -> None:
    async with running(tmp_path) as actor:
        await actor.exchange([told(weights=DDPG(STATE, ACTION, seed=3).weights())])
    folder = seat(tmp_path).folder / "learner"
    (file,) = folder.glob("*.npz")
    file.write_bytes(b"PK\x03\x04 no")
    async with running(tmp_path) as actor:
        assert file.name in actor.last_error
        assert await actor.exchange([told()]) == [Weights("limits", 0, wanted=True)]
    (folder / INDEX).write_bytes(b"{")
    async with running(tmp_path) as actor:
        assert INDEX in actor.last_error


@pytest.mark.parametrize(
    "wrong",
    [
        msgspec.structs.replace(told(), rows=b"1234"),
        msgspec.structs.replace(told(), state_dim=0),
        msgspec.structs.replace(told(), rows=np.full(width(STATE, ACTION), np.nan, np.float32).tobytes()),
        msgspec.structs.replace(told(), weights=b"no weights"),
        msgspec.structs.replace(told(weights=DDPG(STATE, ACTION).weights()), hyper={"no_such": 1}),
        msgspec.structs.replace(told(weights=DDPG(STATE + 1, ACTION).weights())),
    ],
)
async def test_what_cannot_be_is_refused_and_changes_nothing(tmp_path: Path, wrong: Experience) -> None:
    async with running(tmp_path) as actor:
        with pytest.raises(ConfigError):
            await actor.exchange([wrong])
        assert actor.figures()["models"] == 0


async def test_models_of_another_shape_or_with_other_options_are_others(tmp_path: Path) -> None:
    """Two controllers with one name for models that differ would throw each other's away, or be handed what they cannot use."""
    wide = DDPG(STATE + 1, ACTION)
    other = Experience("limits", STATE + 1, ACTION, b"", 0, wide.weights())
    small: dict[str, Any] = {"actor_layers": [8]}
    async with running(tmp_path) as actor:
        (first,) = await actor.exchange([told(weights=DDPG(STATE, ACTION).weights())])
        (second,) = await actor.exchange([other])
        wide.load_weights(second.weights)
        assert not (await actor.exchange([told(first.version)]))[0].wanted
        assert (await actor.exchange([msgspec.structs.replace(told(), hyper=small)]))[0].wanted
        narrow = DDPG(STATE, ACTION, **small)
        (third,) = await actor.exchange([msgspec.structs.replace(told(weights=narrow.weights()), hyper=small)])
        narrow.load_weights(third.weights)
        assert actor.figures()["models"] == 3


async def test_with_more_models_than_updates_each_has_its_turn(tmp_path: Path) -> None:
    own = DDPG(STATE, ACTION).weights()
    actor = LearnerActor(seat(tmp_path, updates_per_s=20.0), NoLinks())  # its loop is not run: turns are taken here
    await actor.exchange([told(weights=own, count=200, model=f"m{at}") for at in range(12)])
    for _ in range(10):
        actor._learned_s -= 0.2
        await actor._learn()
    assert min(model.version for model in actor._models.values()) > 1
    assert 30 <= actor.figures()["updates"] <= 60


async def test_less_than_an_update_a_turn_is_saved_up(tmp_path: Path) -> None:
    actor = LearnerActor(seat(tmp_path, updates_per_s=1.0), NoLinks())
    await actor.exchange([told(weights=DDPG(STATE, ACTION).weights(), count=200)])
    for _ in range(20):
        actor._learned_s -= 0.2
        await actor._learn()
    assert 3 <= actor.figures()["updates"] <= 6


async def test_what_diverged_is_not_handed_on_but_begins_anew_with_a_controllers_weights(tmp_path: Path) -> None:
    own = DDPG(STATE, ACTION, seed=3).weights()
    async with running(tmp_path) as actor:
        await actor.exchange([told(weights=own)])
        (model,) = actor._models.values()
        model.ddpg._flat[:] = np.nan
        model.due = 100.0
        for _ in range(2000):
            if actor.errors:
                break
            await asyncio.sleep(0.01)
        assert "diverged" in actor.last_error
        assert (await actor.exchange([told(7)]))[0].wanted
        (again,) = await actor.exchange([told(7, weights=own, count=0)])
        assert action(again.weights) == action(own)


# --- the controller's side -------------------------------------------------------------------------------------------


class Wire:
    """Links to a learner that may be away."""

    def __init__(self, actor: LearnerActor) -> None:
        self.actor, self.away, self.sent = actor, False, 0

    async def call(self, name: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        assert (name, method) == ("vagus:learner@n1", "exchange")
        if self.away:
            raise PeerUnreachable("away")
        batch: Sequence[Experience] = args[0]
        self.sent += sum(len(e.rows) for e in batch)
        return await self.actor.exchange(batch)

    def nodes(self) -> tuple[str, ...]:
        return ("n1",)


def policy(seed: int) -> LearnedLimits:
    field = Field(("cgroup:a", "cgroup:b"), {"cpu_cores": (0.05, 2.0)})
    return LearnedLimits(field, np.random.default_rng(seed), learn="learner", explore=0.2)


def walk(steered: LearnedLimits, steps: int, begin_s: float = 0.0) -> list[float]:
    """A few steps; the limits wished for last."""
    wishes: list[Any] = []
    for at in range(steps):
        seen = {
            target: {"usage_cores": 0.2 + 0.1 * (at % 3), "limit_cores": 0.5, "throttled_ratio": 0.1, "elapsed_s": 1.0}
            for target in steered.field.targets
        }
        steered.in_force({(wish.target, wish.resource): wish.value for wish in wishes})
        wishes = list(steered.step(seen, {"latency_s": 0.1, "slo_s": 0.2, "rate_hz": 20.0}, begin_s + at))
    return [wish.value for wish in wishes]


async def test_two_controllers_come_to_the_same_weights(tmp_path: Path) -> None:
    first, second = policy(1), policy(2)
    assert first.models["all"].weights() != second.models["all"].weights()
    async with running(tmp_path) as actor:
        lessons = [Lessons(p, "n1", Wire(actor)) for p in (first, second)]
        for p in (first, second):
            walk(p, 80)
        for lesson in lessons:
            await lesson.exchange()
        await learned(actor)
        while next(iter(actor._models.values())).due >= 1:
            await asyncio.sleep(0.01)
        for lesson in lessons:
            await lesson.exchange()
    for p in (first, second):
        walk(p, 1, 80.0)
    states = np.random.default_rng(0).uniform(-1, 1, (5, first.models["all"].state_dim)).astype(np.float32)
    found = [p.models["all"].act_all(states, False) for p in (first, second)]
    assert np.array_equal(*found)


async def test_without_the_learner_a_controller_goes_on_and_tells_it_later(tmp_path: Path) -> None:
    steered = policy(1)
    async with running(tmp_path) as actor:
        wire = Wire(actor)
        lessons = Lessons(steered, "n1", wire)
        wire.away = True
        walk(steered, 20)
        await lessons.exchange()
        assert all(np.isfinite(walk(steered, 20, 20.0)))
        await lessons.exchange()
        assert wire.sent == 0
        wire.away = False
        await lessons.exchange()
        await lessons.exchange()
        assert actor.figures()["rows"] == 2 * (20 + 20 - 1)


def test_only_who_learns_at_the_learner_asks_it() -> None:
    assert Lessons.of(policy(1), "n1", NoLinks()) is not None
    assert Lessons.of(object(), "n1", NoLinks()) is None
    here = LearnedLimits(Field(("cgroup:a",), {"cpu_cores": (0.1, 1)}), np.random.default_rng(0), learn="here")
    assert Lessons.of(here, "n1", NoLinks()) is None
