"""Systems to be controlled, for policies to learn on and to be compared on: simulated ones, and the real one.

A `World` gives what a controller of it sees, and takes limits. `Environment` makes any world a Gymnasium environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from vagus.policies import Field


class Seen(NamedTuple):
    """What is seen after a step: as `JointPolicy.step` gets it. now_s: of the world's own clock.

    violations, requests: of the step: requests later than the objective or failed, and all that ended.
    """

    signals: Mapping[str, Mapping[str, float]]
    objective: Mapping[str, float]
    now_s: float
    violations: float
    requests: float


class World(Protocol):
    """A controlled system. field: its targets and the bounds of their limits; period_s: of a step."""

    field: Field
    period_s: float

    def reset(self, seed: int) -> Seen:
        """Begins anew. The same seed gives the same run, where the world is simulated. Raises VagusError."""

    def step(self, limits: Mapping[tuple[str, str], float]) -> Seen:
        """Sets limits by target and resource (those that are not named stay), and lets a period pass. Raises VagusError."""

    def close(self) -> None: ...
