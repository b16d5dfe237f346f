"""A policy as what decides for simulated players: a bank that ticks by the trace's time, or always the same arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from vagus.controllers.decide.players import Chooser
from vagus.controllers.decide.trace import Trace
from vagus.errors import ConfigError
from vagus.policies import BANDITS, Bandit
from vagus.policies.bank import Floats

_Choice = tuple[int, int]  # row and place


def chooser_of(
    policy: str, trace: Trace, *, options: Mapping[str, Any] | None = None, tick_s: float = 0.5, seed: int = 0
) -> Chooser:
    """A name of BANDITS, made with `options`, or `static:ARM`. Raises ConfigError for another."""
    if policy.startswith("static:"):
        return Always(policy.partition(":")[2], trace)
    return Chosen(BANDITS.make(policy, np.random.default_rng([7, seed]), **(options or {})), trace, tick_s, seed)


class Always:
    """One arm, whatever comes; where it cannot be had, the first that can."""

    def __init__(self, arm: str, trace: Trace) -> None:
        if arm not in trace.arms:
            raise ConfigError(f"static:{arm[:80]}: there is no such arm; there are: {', '.join(trace.arms)[:400]}")
        self._arm = arm

    def advance(self, t_s: float) -> None:
        """Nothing changes."""

    def decide(self, group: str, arms: Sequence[str]) -> tuple[str, None]:
        """The arm."""
        return self._arm if self._arm in arms else arms[0], None

    def update(self, decision_id: Any, reward: float) -> None:
        """Learns nothing."""


class Fixed:
    """The same as what replay asks."""

    def __init__(self, arm: str) -> None:
        self._arm = arm

    def decide(self, features: Mapping[str, Any], arms: Sequence[str]) -> Drawn:
        """The arm, or the first that can be had."""
        return Drawn(self._arm if self._arm in arms else arms[0])

    def update(self, decision_id: None, reward: float) -> None:
        """Learns nothing."""


class Drawn(NamedTuple):
    """An answer that nobody needs to be told the outcome of."""

    arm: str
    decision_id: None = None


class Chosen:
    """Draws by a bank's weights of the last tick; what came since is learned at the next, as the service does."""

    def __init__(self, bank: Bandit, trace: Trace, tick_s: float, seed: int) -> None:
        if not tick_s > 0.0:
            raise ConfigError(f"tick is {tick_s} s; it must be above 0")
        self._bank, self._trace, self._tick_s = bank, trace, tick_s
        self._rng = np.random.default_rng([11, seed])
        self._row = {group.group: at for at, group in enumerate(trace.groups)}
        self._place = {arm: at for at, arm in enumerate(trace.arms)}
        self._next_s = min(float(group.t_s[0]) for group in trace.groups)
        self._came: list[tuple[_Choice, float]] = []
        self._weights: dict[tuple[int, tuple[str, ...]], Floats] = {}
        bank.resize(len(trace.groups), len(trace.arms))
        for row in range(len(trace.groups)):
            bank.named(row, trace.arms)

    def advance(self, t_s: float) -> None:
        """Every tick until then."""
        while self._next_s <= t_s:
            if self._came:
                cells = np.array([cell for cell, _ in self._came], dtype=np.int64)
                self._bank.learn(cells[:, 0], cells[:, 1], np.array([reward for _, reward in self._came]))
                self._came.clear()
            self._bank.tick()
            self._weights.clear()
            self._next_s += self._tick_s

    def decide(self, group: str, arms: Sequence[str]) -> tuple[str, _Choice]:
        """A draw."""
        row, feasible = self._row[group], tuple(arms)
        shares = self._weights.get((row, feasible))
        if shares is None:
            can = np.zeros((1, len(self._trace.arms)), dtype=bool)
            can[0, [self._place[arm] for arm in feasible]] = True
            weights = self._bank.weights(np.array([row], dtype=np.int64), can)[0]
            shares = self._weights[row, feasible] = np.cumsum(weights)
        place = int(np.searchsorted(shares, self._rng.random() * shares[-1], side="right"))
        place = min(place, len(self._trace.arms) - 1)
        return self._trace.arms[place], (row, place)

    def update(self, decision_id: _Choice, reward: float) -> None:
        """To be learned at the next tick."""
        self._came.append((decision_id, reward))
