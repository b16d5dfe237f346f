"""What goes between controllers and the learner: transitions one way, weights the other. Arrays as bytes, no pickle."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from vagus.errors import ConfigError

Floats = npt.NDArray[np.float32]
MAX_ROWS = 10_000  # of one message, and of what waits to be sent
MAX_WEIGHTS_BYTES = 4 << 20
MAX_DIM = 1000


class Experience(msgspec.Struct, frozen=True, array_like=True):
    """Transitions of one model. rows: float32, each state, action, reward, next state, done.

    version: of the weights that the sender has; weights: the sender's own, for a learner that has none yet.
    """

    model: str
    state_dim: int
    action_dim: int
    rows: bytes
    version: int = 0
    weights: bytes = b""
    hyper: dict[str, Any] = {}


class Weights(msgspec.Struct, frozen=True, array_like=True):
    """The learner's answer. weights: empty unless newer than what the sender has; version: theirs.

    wanted: the learner has no such model yet, and begins with the sender's weights once they are sent.
    """

    model: str
    version: int
    weights: bytes = b""
    wanted: bool = False


def width(state_dim: int, action_dim: int) -> int:
    """Numbers of a row."""
    return 2 * state_dim + action_dim + 2


def rows_of(experience: Experience) -> Floats:
    """The transitions, float32 of shape (n, width). Raises ConfigError for what cannot be."""
    state_dim, action_dim = experience.state_dim, experience.action_dim
    if not (1 <= state_dim <= MAX_DIM and 1 <= action_dim <= MAX_DIM):
        raise ConfigError(f"experience of {experience.model!r}: dimensions {state_dim} and {action_dim} cannot be")
    wide = width(state_dim, action_dim)
    if len(experience.rows) % (4 * wide) or len(experience.rows) > 4 * wide * MAX_ROWS:
        raise ConfigError(
            f"experience of {experience.model!r}: {len(experience.rows)} bytes are no rows of {wide} numbers, at most "
            f"{MAX_ROWS}"
        )
    rows = np.frombuffer(experience.rows, np.float32).reshape(-1, wide)
    if not np.isfinite(rows).all():
        raise ConfigError(f"experience of {experience.model!r}: numbers that are not finite")
    return rows
