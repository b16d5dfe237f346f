"""Discounted statistics of arms: what both bandits know. Old rewards fade by a factor at each tick."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vagus.errors import ConfigError

FORGOTTEN = 1e-3  # an arm with less evidence than this counts as never seen
MAX_ARMS = 10_000
MAX_REWARD = 1e100  # squares stay finite


class DiscountedMeans:
    """Per arm a discounted count and mean, and over all arms the discounted spread of rewards.

    Means and sums of squares are kept centred (Welford): exact for rewards with a large offset, and decay touches
    only the weights. gamma: factor at each tick, 0 < gamma <= 1.
    """

    def __init__(self, gamma: float) -> None:
        if not 0.0 < gamma <= 1.0:
            raise ConfigError(f"gamma={gamma} must be above 0 and at most 1 (1: never forget)")
        self.gamma = gamma
        self.arms: dict[str, tuple[float, float]] = {}  # count, mean
        self.count = 0.0
        self.mean = 0.0
        self.squares = 0.0  # sum of squared distances from the mean

    @property
    def spread(self) -> float:
        """Standard deviation of all rewards, between arms included; 0.0 while all were equal."""
        return math.sqrt(self.squares / self.count) if self.count > 0.0 else 0.0

    def add(self, arm: str, reward: float) -> None:
        """One reward. Raises ConfigError unless it is a number between -1e100 and 1e100."""
        if not -MAX_REWARD <= reward <= MAX_REWARD:
            raise ConfigError(f"reward {reward} of arm {arm[:50]!r} must be a finite number within ±{MAX_REWARD:g}")
        count, mean = self.arms.get(arm, (0.0, 0.0))
        count += 1.0
        self.arms[arm] = (count, mean + (reward - mean) / count)
        self.count += 1.0
        off = reward - self.mean
        self.mean += off / self.count
        self.squares += off * (reward - self.mean)
        if len(self.arms) > MAX_ARMS:
            del self.arms[min(self.arms, key=lambda known: self.arms[known][0])]

    def decay(self) -> None:
        """One tick: every arm fades, also those that had no reward; what has faded away is forgotten."""
        gamma = self.gamma
        if gamma == 1.0:
            return
        self.arms = {
            arm: (count * gamma, mean) for arm, (count, mean) in self.arms.items() if count * gamma >= FORGOTTEN
        }
        self.count *= gamma
        self.squares *= gamma
        if not self.arms:
            self.count = self.mean = self.squares = 0.0

    def state(self) -> dict[str, Any]:
        """JSON-ready builtins."""
        return {
            "arms": {arm: list(known) for arm, known in self.arms.items()},
            "pooled": [self.count, self.mean, self.squares],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """What `state` gave. Raises ConfigError and changes nothing when it is something else."""
        try:
            arms = {str(arm): (float(count), float(mean)) for arm, (count, mean) in state["arms"].items()}
            count, mean, squares = (float(part) for part in state["pooled"])
            numbers = [count, mean, squares, *(part for known in arms.values() for part in known)]
            sound = all(math.isfinite(number) for number in numbers) and squares >= 0.0 and count >= 0.0
            sound = sound and all(known[0] > 0.0 for known in arms.values())
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"not a saved state of a discounted bandit: {error!r}") from error
        if not sound:
            raise ConfigError("saved state of a discounted bandit has counts or means that cannot be")
        self.arms, self.count, self.mean, self.squares = arms, count, mean, squares


class Learner:
    """A bandit whose knowledge is discounted means: all but the choice. Subclasses set `_means`."""

    _means: DiscountedMeans

    def learn(self, rewards: Sequence[tuple[str, float]]) -> None:
        """Rewards by arm, in any order. Raises ConfigError for one that is not finite; those before it count."""
        for arm, reward in rewards:
            self._means.add(arm, reward)

    def tick(self) -> None:
        """Fades all arms by gamma."""
        self._means.decay()

    def state(self) -> dict[str, Any]:
        """Counts and means."""
        return self._means.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Counts and means from `state`."""
        self._means.restore(state)


def mixed(counts: list[int], floor: float) -> list[float]:
    """Slots as probabilities: count / slots, of which the share `floor` is spread evenly."""
    slots, even = sum(counts), floor / len(counts)
    return [(1.0 - floor) * count / slots + even for count in counts]


def check_options(slots: int, floor: float) -> None:
    """1 to 10000 slots, a floor from 0 to 1; else ConfigError."""
    if not (isinstance(slots, int) and 1 <= slots <= 10_000):
        raise ConfigError(f"slots={slots} must be a whole number from 1 to 10000")
    if not 0.0 <= floor <= 1.0:
        raise ConfigError(f"floor={floor} must be from 0 to 1")
