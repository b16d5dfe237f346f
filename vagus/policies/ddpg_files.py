"""What DDPG's checkpoints and weights say of themselves, and how it is checked."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from vagus.errors import ConfigError
from vagus.policies.hyper import Hyper

FORMAT = 1
MAX_ABOUT = 65536  # bytes of JSON
Count = Annotated[int, msgspec.Meta(le=2**53)]  # what a float holds


class Layout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `weights` are of."""

    format: int
    state_dim: int
    action_dim: int
    actor_layers: tuple[int, ...]
    critic_layers: tuple[int, ...]
    joins: int
    critics: int


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a checkpoint has besides arrays. rng: PCG64's state and increment in hexadecimal, and its spare half."""

    format: int
    state_dim: int
    action_dim: int
    hyper: Hyper
    steps: Count
    adam_steps: tuple[Count, ...]
    rewards: tuple[float, float]
    rng: tuple[str, str, Annotated[int, msgspec.Meta(ge=0, le=1)], int]
    replay_next: int


def decoded(array: npt.NDArray[Any], kind: type[Any], what: str) -> Any:
    try:
        return msgspec.json.decode(array.tobytes()[:MAX_ABOUT], type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what}: no checkpoint of ours ({error}); use a file of `vagus train`") from error


def check(array: npt.NDArray[Any], shape: tuple[int, ...], name: str, what: str) -> None:
    if array.shape != shape or array.dtype != np.float32:
        raise ConfigError(f"{what}: {name} is {array.dtype} {array.shape}; it must be float32 {shape}")


def chance_of(rng: np.random.Generator) -> tuple[str, str, int, int]:
    """The state of a generator (PCG64), for JSON."""
    state: Any = rng.bit_generator.state
    return f"{state['state']['state']:x}", f"{state['state']['inc']:x}", state["has_uint32"], state["uinteger"]


def set_chance(rng: np.random.Generator, chance: tuple[str, str, int, int], what: str) -> None:
    """What `chance_of` gave. Raises ConfigError, with nothing changed."""
    try:
        of_pcg = {"state": int(chance[0], 16), "inc": int(chance[1], 16)}
        state = {"bit_generator": "PCG64", "state": of_pcg, "has_uint32": chance[2], "uinteger": chance[3]}
        rng.bit_generator.state = state
    except (ValueError, TypeError, OverflowError) as error:
        raise ConfigError(f"{what}: damaged: its state of chance; use an earlier checkpoint") from error
