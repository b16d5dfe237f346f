"""The learner: trains the models of all controllers that send it what their actions led to, and hands weights back.

Nobody needs it to act: controllers go on with the weights that they have. Its checkpoints hold the whole state of each
model, replay included, so that after a `kill -9` it goes on from the last one.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import msgspec

from vagus.actors.base import Actor, Links, Seat
from vagus.config import hash_text, seconds, write_private
from vagus.errors import ConfigError, PolicyError, VagusError
from vagus.policies.ddpg import DDPG
from vagus.policies.experience import MAX_WEIGHTS_BYTES, Experience, Weights, rows_of

MAX_MODELS = 1000
MAX_BATCH = 1000  # experiences of one call
PERIOD_S = 0.2  # between turns of learning
UPDATES_PER_ROW = 4.0  # what a row is worth: a model without news is not learned to death
MOST_DUE = 100_000.0  # updates that a model's news are good for, where they come faster than it may learn
INDEX = "models.json"


class _Model:
    """One model, and how many updates its news are still good for."""

    def __init__(self, ddpg: DDPG) -> None:
        self.ddpg = ddpg
        self.due = 0.0
        self.version = 1
        self.dirty = True


class _Known(NamedTuple):
    """A line of the index."""

    file: str
    version: int


class LearnerActor(Actor):
    """`vagus:learner@HEAD`. `exchange` takes transitions of any number of models, and answers with newer weights."""

    role: ClassVar[str] = "learner"

    def __init__(self, seat: Seat, links: Links) -> None:
        super().__init__(seat, links)
        self._folder = seat.folder / "learner"
        self._models: dict[str, _Model] = {}
        self._lock = asyncio.Lock()  # a model is learned, told, asked or saved: one at a time
        self._figures = {"rows": 0.0, "updates": 0.0, "checkpoint_s": 0.0}
        self._learned_s = time.monotonic()
        self._allowed = 0.0  # updates
        self._turn = 0

    async def start(self) -> None:
        """Resumes from the checkpoints. A damaged one is told and set aside: its controllers hand in their weights."""
        await asyncio.to_thread(self._resume)
        self.every(PERIOD_S, self._learn, "learn")
        self.every(seconds(self.config.learner.checkpoint_every), self.checkpoint, "checkpoint")

    async def stop(self) -> None:
        """Saves what was learned."""
        await self.checkpoint()

    def figures(self) -> dict[str, float]:
        return {**self._figures, "models": float(len(self._models))}

    async def exchange(self, experiences: Sequence[Experience]) -> list[Weights]:
        """Newer weights for each model named, in order. Raises ConfigError for rows or weights that cannot be."""
        if len(experiences) > MAX_BATCH:
            raise ConfigError(f"learner: {len(experiences)} experiences at once; at most {MAX_BATCH}")
        async with self._lock:
            return [self._exchange(experience) for experience in experiences]

    def _exchange(self, experience: Experience) -> Weights:
        rows = rows_of(experience)
        name = _name(experience)
        known = self._models.get(name)
        if known is None:
            if not experience.weights:
                return Weights(experience.model, 0, wanted=True)
            known = self._models[name] = self._made(experience)
        if len(rows):
            known.ddpg.remember_all(rows)
            known.due = min(known.due + UPDATES_PER_ROW * len(rows), MOST_DUE)
            known.dirty = True
            self._figures["rows"] += len(rows)
        newer = known.version != experience.version
        return Weights(experience.model, known.version, known.ddpg.weights() if newer else b"")

    def _made(self, experience: Experience) -> _Model:
        if len(self._models) >= MAX_MODELS:
            raise ConfigError(f"learner: there are {MAX_MODELS} models already; {experience.model!r} is not taken")
        if len(experience.weights) > MAX_WEIGHTS_BYTES or len(experience.model) > 4096:
            raise ConfigError(f"learner: model {experience.model[:100]!r} is too large")
        ddpg = _ddpg(experience)
        ddpg.load_weights(experience.weights)
        return _Model(ddpg)

    async def _learn(self) -> None:
        """A turn: models that have news, each in its turn, within the updates that are allowed a second."""
        now_s = time.monotonic()
        new = self.config.learner.updates_per_s * min(now_s - self._learned_s, 5 * PERIOD_S)
        self._learned_s = now_s
        self._allowed = min(self._allowed, 1.0) + new  # less than one a turn is saved up
        waiting = [name for name, model in self._models.items() if model.due >= 1]
        first = self._turn % max(len(waiting), 1)  # with more models than updates: not always the same ones
        for at, name in enumerate(waiting[first:] + waiting[:first]):
            model = self._models[name]
            updates = int(min(max(self._allowed / (len(waiting) - at), 1.0), model.due))
            if updates > self._allowed:
                break
            async with self._lock:
                try:
                    await asyncio.to_thread(model.ddpg.learn, updates)
                except PolicyError as error:
                    del self._models[name]  # its controllers hand in the last weights that they could act by
                    self.failed("learn", PolicyError(f"model {name}: {error}; it begins anew"))
                    continue
                model.due -= updates
                model.version += 1
                model.dirty = True
            self._allowed -= updates
            self._turn += 1
            self._figures["updates"] += updates

    # --- checkpoints -----------------------------------------------------------------------------------------------

    async def checkpoint(self) -> None:
        """Saves each model that changed, and the index last. Raises ConfigError where the folder cannot be written."""
        async with self._lock:
            began_s = time.monotonic()
            await asyncio.to_thread(self._save)
            self._figures["checkpoint_s"] = time.monotonic() - began_s

    def _save(self) -> None:
        dirty = [(name, model) for name, model in self._models.items() if model.dirty]
        if not dirty:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, model in dirty:
            model.ddpg.save(self._folder / _file(name), replay=True)
            model.dirty = False
        index = {name: _Known(_file(name), model.version) for name, model in self._models.items()}
        write_private(self._folder / INDEX, msgspec.json.encode(index))

    def _resume(self) -> None:
        try:
            index = msgspec.json.decode((self._folder / INDEX).read_bytes(), type=dict[str, _Known])
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError) as error:
            self.failed("resuming", ConfigError(f"{self._folder / INDEX}: {error}; the models begin anew"))
            return
        for name, known in index.items():
            path = self._folder / Path(known.file).name
            try:
                model = _Model(DDPG.load(path))
            except VagusError as error:
                self.failed("resuming", error)
                continue
            # ahead of whatever was handed out after that checkpoint: all who had it take what is there now
            model.version = known.version + 1_000_000
            model.dirty = False
            self._models[name] = model


def _name(experience: Experience) -> str:
    """Of a model: those of another shape, or with other options, are others."""
    options = hash_text(msgspec.json.encode(experience.hyper, order="sorted").decode())
    return f"{experience.model} {experience.state_dim}x{experience.action_dim} {options:016x}"


def _ddpg(experience: Experience) -> DDPG:
    wrong = [name for name in experience.hyper if name == "seed" or not name.isidentifier()]
    if wrong:
        raise ConfigError(f"learner: model {experience.model!r}: {wrong[0]!r} is no option of DDPG")
    seed = hash_text(experience.model) % 2**31
    return DDPG(experience.state_dim, experience.action_dim, seed=seed, **experience.hyper)


def _file(model: str) -> str:
    """A file name for a model, one to one."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', model)[:60]}-{hash_text(model):016x}.npz"
