"""The prediction-based system that Pytheas was compared with (NSDI'17, section 5): C3 and CFA's way to decide.

After Jiang et al. (NSDI'16, "CFA: A Practical Prediction System for Video QoE Optimization") and Ganjam et al. (NSDI'15,
"C3"): the quality of each arm is predicted as the mean of the group's sessions over a longer history, the predictions
are made anew every few minutes, and in between the best predicted arm serves all but a small share of sessions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from vagus.policies.bank import Bools, Floats, Ints, even
from vagus.policies.fading import FORGOTTEN, Fading
from vagus.policies.options import number, whole
from vagus.policies.summed import absorb_means


class Prediction(Fading):
    """Predictions are the means of a fading history of about `window` ticks, made anew every `refresh` ticks.

    epsilon: share of sessions that gathers the history, spread evenly. A group without a prediction yet is served
    evenly. Costs: a tick nothing, but for each `refresh`th, about 5 ns a place.
    """

    name: ClassVar[str] = "prediction"
    cells: ClassVar[Mapping[str, float]] = {"count": 0.0, "mean": 0.0, "based": 0.0, "predicted": 0.0}
    counts: ClassVar[frozenset[str]] = frozenset({"count", "squares", "based"})
    based: Floats  # evidence of a prediction
    predicted: Floats

    def __init__(
        self, rng: np.random.Generator, *, window: int = 1200, refresh: int = 120, epsilon: float = 0.05
    ) -> None:
        self.window = whole(self.name, "window", window, 1, 10_000_000)
        super().__init__(rng, 1.0 - 1.0 / (self.window + 1.0))
        self.refresh = whole(self.name, "refresh", refresh, 1, 10_000_000)
        self.epsilon = number(self.name, "epsilon", epsilon, 0.0, 1.0)
        self._ticks = 0

    def tick(self) -> None:
        """History fades; at times it becomes the new predictions."""
        super().tick()
        self._ticks += 1
        if self._ticks % self.refresh == 0:
            np.divide(self.count, self.grown, out=self.based)
            self.based[self.based < FORGOTTEN] = 0.0
            np.copyto(self.predicted, self.mean)

    def weights(self, rows: Ints, feasible: Bools) -> Floats:
        """Exact: ties share."""
        seen = (self.based[rows] > 0.0) & feasible
        predicted = np.where(seen, self.predicted[rows], -np.inf)
        best = seen & (predicted == predicted.max(axis=1, keepdims=True))
        nothing = ~seen.any(axis=1)
        best[nothing] = feasible[nothing]
        shares: Floats = (1.0 - self.epsilon) * even(best) + self.epsilon * even(feasible)
        return shares

    def absorb(self, row: int, state: Mapping[str, Any], share: float) -> None:
        """Counts add up, means are weighed by them; predictions too."""
        cells, _ = self.checked(state)
        super().absorb(row, state, share)
        absorb_means(self.based[row], self.predicted[row], cells["based"] * share, cells["predicted"])

    def explain(self, row: int, places: int) -> list[dict[str, float]]:
        """Also what is predicted, and on how much evidence."""
        found = super().explain(row, places)
        for at, one in enumerate(found):
            one["predicted"] = float(self.predicted[row, at])
            one["based"] = float(self.based[row, at])
        return found
