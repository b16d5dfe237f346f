"""Every arm alike: the baseline, and what gathers data without bias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any


class Uniform:
    """Equal probabilities; learns nothing."""

    name = "uniform"

    def __init__(self, rng: Random) -> None:
        pass

    def weights(self, arms: Sequence[str]) -> list[float]:
        """1/n for each of the n arms."""
        return [1.0 / len(arms)] * len(arms)

    def learn(self, rewards: Sequence[tuple[str, float]]) -> None:
        """Nothing to learn."""

    def tick(self) -> None:
        """Nothing to forget."""

    def state(self) -> dict[str, Any]:
        """Empty."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore."""
