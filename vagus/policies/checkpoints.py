"""Which file is a model's checkpoint, and whether it is one for these resources."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from vagus.errors import ConfigError
from vagus.policies.ddpg import DDPG

TARGET = "{target}"
"""In the name of a checkpoint: see `short`."""


def short(target: str) -> str:
    """What stands for a target in the name of its checkpoint: the last part of its name."""
    return target.rpartition("/")[2].rpartition(":")[2]


def distinct(targets: Sequence[str]) -> None:
    """Raises ConfigError where two of them would have one checkpoint."""
    names = [short(target) for target in targets]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        both = " and ".join(target for target in targets if short(target) == twice)
        raise ConfigError(
            f"policy 'ddpg': {both} would have one checkpoint, {twice}.npz; use model: all, or rename one"
        )


def loaded(file: Path, dims: tuple[int, int], resources: Sequence[str]) -> DDPG:
    """The model in a file. dims: of its states and actions. Raises ConfigError."""
    model = DDPG.load(file)
    if (model.state_dim, model.action_dim) != dims:
        raise ConfigError(
            f"{file}: a model of states of {model.state_dim} numbers and {model.action_dim} actions; for the "
            f"resources {', '.join(resources)} it must be of {dims[0]} and {dims[1]}"
        )
    return model


def digest(model: DDPG) -> str:
    """Tells models apart by their weights."""
    return hashlib.sha256(model.weights()).hexdigest()[:16]
