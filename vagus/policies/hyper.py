"""Hyperparameters of DDPG; the defaults are FIRM's (Qiu et al., OSDI'20, table 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from vagus.config.base import Ratio, Settings
from vagus.errors import ConfigError

Rate = Annotated[float, msgspec.Meta(gt=0, le=1)]
Layers = Annotated[
    tuple[Annotated[int, msgspec.Meta(ge=1, le=1024)], ...],
    msgspec.Meta(min_length=1, max_length=4),
]


class Hyper(Settings, frozen=True):
    """Options of `DDPG`; `Hyper.of` checks them."""

    actor_layers: Layers = (40, 40)
    critic_layers: Layers = (40, 40)
    joins: Annotated[int, msgspec.Meta(ge=0, le=4)] = (
        1  # the critic's layer where the action comes in; 0: with the state
    )
    final: Ratio = 0.003  # last layers begin within ± this; 0: as the others
    actor_rate: Rate = 3e-4
    critic_rate: Rate = 3e-3
    gamma: Annotated[float, msgspec.Meta(ge=0, le=0.9999)] = 0.9  # below 1: values stay bounded
    tau: Ratio = 0.001  # how fast the targets follow
    batch: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 64
    warmup: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 64  # transitions before it learns
    memory: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 100_000  # transitions remembered
    noise: Literal["ou", "normal"] = "ou"
    theta: Annotated[float, msgspec.Meta(ge=0, le=2)] = 0.15  # of the noise `ou`
    sigma: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.2  # of either noise
    critics: Annotated[int, msgspec.Meta(ge=1, le=2)] = 1  # 2: the lesser value counts, against overestimation (TD3)
    delay: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1  # the actor and the targets learn every so many updates (TD3)
    smoothing: Ratio = 0.0  # standard deviation of the noise on the target's actions, cut at 2.5 of it (TD3: 0.2)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Hyper:
        """Options by name, as from YAML. Raises ConfigError."""
        try:
            found = msgspec.convert(dict(options), cls)
        except msgspec.ValidationError as error:
            raise ConfigError(
                f"policy 'ddpg': option hyper: {error}; options: {', '.join(cls.__struct_fields__)}"
            ) from error
        if found.joins > len(found.critic_layers):
            raise ConfigError(
                f"policy 'ddpg': option hyper.joins={found.joins}: the critic has layers 0 to {len(found.critic_layers)}"
            )
        return found
