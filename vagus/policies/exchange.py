"""What models learned from goes to the learner, newer weights come back; pure, whoever carries the messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np

from vagus.errors import ConfigError, PolicyError
from vagus.policies.ddpg import DDPG
from vagus.policies.experience import MAX_ROWS, Experience, Floats, Weights


class Exchange:
    """One policy's side. models: by key, changed in place; names: of the models at the learner, by key; told: whether a
    learner is there at all. versions: of the learner's newest weights in use, by key; 0 before the first.
    """

    def __init__(self, models: Mapping[str, DDPG], names: Mapping[str, str], told: bool) -> None:
        self._models, self._names, self._told = models, names, told
        self.versions = dict.fromkeys(models, 0)
        self._unsent: dict[str, list[Floats]] = {key: [] for key in models}
        self._introduce = set(models) if told else set()
        self._newer: list[Weights] = []

    def note(self, key: str, rows: Sequence[Floats]) -> None:
        """Transitions of a model: the newest are kept until they are sent."""
        self._unsent[key] = [*self._unsent[key], *rows][-MAX_ROWS:]

    def drained(self) -> dict[str, Floats]:
        """The transitions of each model since the last call, as rows."""
        found = {}
        for key in self._models:
            rows, self._unsent[key] = self._unsent[key], []
            if rows:
                found[key] = np.stack(rows)
        return found

    def outgoing(self) -> list[Experience]:
        """What the learner is to be told, each row once; also nothing, to ask for newer weights."""
        if not self._told:
            return []
        found, drained = [], self.drained()
        for key, model in self._models.items():
            sent = drained[key].tobytes() if key in drained else b""
            weights = model.weights() if key in self._introduce else b""
            hyper = msgspec.to_builtins(model.hyper)
            dims = model.state_dim, model.action_dim
            found.append(Experience(self._names[key], *dims, sent, self.versions[key], weights, hyper))
        return found

    def take(self, answers: Iterable[Weights]) -> None:
        """The learner's answers; `use` makes them count. Any thread."""
        self._newer = [*self._newer, *answers]

    def use(self) -> None:
        """Loads what came. Raises PolicyError for weights that cannot be: once, the model stays as it was."""
        newer, self._newer = self._newer, []
        keys = {name: key for key, name in self._names.items()}
        for answer in newer:
            key = keys.get(answer.model)
            if key is None:
                continue
            if answer.wanted:
                self._introduce.add(key)
                continue
            self._introduce.discard(key)
            self.versions[key] = answer.version  # also of what is refused: it would only come again
            if not answer.weights:
                continue
            try:
                self._models[key].load_weights(answer.weights)
            except ConfigError as error:
                raise PolicyError(
                    f"ddpg: the learner's weights of {answer.model!r} cannot be used: {error}; those before stay"
                ) from error
