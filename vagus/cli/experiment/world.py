"""Where simulated sessions live: cities, in each of which one arm is best, for a while. Pure, seeded."""

from __future__ import annotations

from random import Random

BEST = 0.9
OTHERS = (0.2, 0.5)
"""Mean qualities: of the best arm; of the others, evenly between these."""
NOISE = 0.1


class World:
    """groups, arms: how many; period_s: after so long another arm is the best of a group. Groups change in turn, so
    that there is always something to learn, and quality tells at once when nobody does.
    """

    def __init__(self, groups: int, arms: int, period_s: float, seed: int) -> None:
        rng = Random(seed)
        self.groups = tuple(f"city-{n + 1}" for n in range(groups))
        self.arms = tuple(f"cdn-{n + 1}" for n in range(arms))
        self._period_s = period_s
        self._first = [rng.randrange(arms) for _ in range(groups)]
        low, high = OTHERS
        self._means = [low + (high - low) * n / max(1, arms - 2) for n in range(arms - 1)]

    @property
    def random(self) -> float:
        """Mean quality of an arm that is drawn uniformly."""
        return (BEST + sum(self._means)) / len(self.arms)

    def best(self, group: int, t_s: float) -> int:
        """The best arm of a group."""
        turn = t_s / self._period_s + group / len(self.groups)
        return (self._first[group] + int(turn)) % len(self.arms)

    def mean(self, group: int, arm: int, t_s: float) -> float:
        """The mean quality of an arm."""
        ahead = (arm - self.best(group, t_s)) % len(self.arms)
        return BEST if ahead == 0 else self._means[ahead - 1]

    def score(self, group: int, arm: int, t_s: float) -> float:
        """The arm's mean quality, 0 at a random arm's and 1 at the best one's."""
        return (self.mean(group, arm, t_s) - self.random) / (BEST - self.random)

    def quality(self, group: int, arm: int, t_s: float, rng: Random) -> float:
        """What one session sees."""
        return self.mean(group, arm, t_s) + rng.gauss(0.0, NOISE)
