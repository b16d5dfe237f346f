"""Pure deciders: one algorithm per file with its reference. They see numbers, never a system.

To add one: a file with a class like `Bandit` or `LimitPolicy`, and a line in its registry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Protocol

from vagus.registry import Registry


class Bandit(Protocol):
    """Chooses among arms, learns from rewards (larger is better). Built as `Bandit(rng, **options)`.

    `weights` gives the probability of each of the feasible `arms`, in their order (non-negative, sum 1): arms never
    seen included, any subset of those seen before allowed. `learn` takes rewards that may arrive late and in any
    order. `state`/`restore` round-trip through JSON-ready builtins.
    """

    name: str

    def __init__(self, rng: Random, **options: Any) -> None: ...

    def weights(self, arms: Sequence[str]) -> list[float]: ...

    def learn(self, rewards: Sequence[tuple[str, float]]) -> None: ...

    def tick(self) -> None:
        """One decay step: called at each tick of the service, with or without rewards."""

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: Mapping[str, Any]) -> None: ...


class LimitPolicy(Protocol):
    """Sets one limit from signals. Built as `LimitPolicy(**options)`.

    `step` sees the signals of the target (see controllers.resource: `usage_cores`, `limit_cores`, `throttled_ratio`,
    …; NaN where unknown) and returns the wanted limit, or None to leave it. Raises PolicyError when it cannot decide.
    """

    name: str

    def __init__(self, **options: Any) -> None: ...

    def step(self, signals: Mapping[str, float]) -> float | None: ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: Mapping[str, Any]) -> None: ...


BANDITS: Registry[Bandit] = Registry(
    "vagus.bandits",
    {
        "ucb": "vagus.policies.ucb:DiscountedUCB",
        "thompson": "vagus.policies.thompson:DiscountedThompson",
        "uniform": "vagus.policies.uniform:Uniform",
    },
)

LIMIT_POLICIES: Registry[LimitPolicy] = Registry(
    "vagus.limit_policies",
    {
        "throttle": "vagus.policies.throttle:ThrottleTarget",
    },
)
