"""Several steps seen as one: what a policy that decides once a second sees of a controller that steps more often."""

from __future__ import annotations

import math
from collections.abc import Mapping

Signals = dict[str, dict[str, float]]


class Frames:
    """Gathers steps of any length into frames of `every_s`.

    Uses and throttling become means over time, limits and the objective the latest that are known. hurt_s: for how long
    each target was throttled in the frame so far.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._begin()

    def _begin(self) -> None:
        self.elapsed_s = 0.0
        self.hurt_s: dict[str, float] = {}
        self._sums: dict[str, dict[str, tuple[float, float]]] = {}  # by target and signal: value · seconds, seconds
        self._latest: Signals = {}
        self._objective: dict[str, float] = {}

    def see(self, signals: Mapping[str, Mapping[str, float]], objective: Mapping[str, float], elapsed_s: float) -> bool:
        """A step; whether the frame is complete."""
        self.elapsed_s += elapsed_s
        for target, seen in signals.items():
            if not seen:
                continue
            for_s = seen.get("elapsed_s", math.nan)
            for_s = for_s if for_s > 0 else elapsed_s
            sums = self._sums.setdefault(target, {})
            latest = self._latest.setdefault(target, {})
            for name, value in seen.items():
                if name.startswith(("usage_", "use_")) or name == "throttled_ratio":
                    if value == value:
                        total, known_s = sums.get(name, (0.0, 0.0))
                        sums[name] = (total + value * for_s, known_s + for_s)
                else:
                    latest[name] = value
            self.hurt_s[target] = sums.get("throttled_ratio", (0.0, 0.0))[0]
        self._objective.update({name: value for name, value in objective.items() if value == value})
        return self.elapsed_s >= 0.95 * self._every_s  # timers are a little early at times

    def take(self) -> tuple[Signals, dict[str, float], float]:
        """Signals, objective and length of the frame; the next one begins."""
        signals: Signals = {}
        for target, latest in self._latest.items():
            means = {name: total / known_s for name, (total, known_s) in self._sums[target].items()}
            signals[target] = {**latest, **means, "elapsed_s": self.elapsed_s}
        taken = signals, self._objective, self.elapsed_s
        self._begin()
        return taken
