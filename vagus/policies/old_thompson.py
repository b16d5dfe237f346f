"""Discounted Thompson sampling with Gaussian posteriors.

After Qi, Wang and Zhu (2023), "Discounted Thompson Sampling for Non-Stationary Bandit Problems". What is drawn from is
a list of sampled winners, as Pytheas' lists: the probability of each arm is then exact, not an estimate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from vagus.errors import ConfigError
from vagus.policies.discounted import DiscountedMeans, Learner, check_options, mixed


class DiscountedThompson(Learner):
    """Samples each arm's mean from its posterior; each slot goes to the arm that won that round.

    Posterior of an arm with discounted count n: normal around the mean of its rewards and `prior` rewards at the
    common mean, with the spread of all rewards over √(n + prior). gamma: discount at each tick; slots: rounds;
    floor: share of decisions spread evenly, so that every arm keeps a probability.
    """

    name = "thompson"

    def __init__(
        self, rng: Random, *, gamma: float = 0.98, prior: float = 0.5, slots: int = 50, floor: float = 0.02
    ) -> None:
        check_options(slots, floor)
        if not 0.0 < prior < math.inf:
            raise ConfigError(f"prior={prior} must be a finite number above 0")
        self._rng = rng
        self._means = DiscountedMeans(gamma)
        self._prior = prior
        self._slots = slots
        self._floor = floor

    def weights(self, arms: Sequence[str]) -> list[float]:
        """Slot shares, the floor mixed in; arms never seen have the prior alone."""
        means, prior, gauss = self._means, self._prior, self._rng.gauss
        spread = means.spread or 1.0  # all rewards equal so far: any scale will do
        posteriors = []  # relative to the common mean: exact for rewards with a large offset
        for arm in arms:
            count, mean = means.arms.get(arm, (0.0, 0.0))
            weight = count + prior
            posteriors.append(((mean - means.mean) * (count / weight), spread / math.sqrt(weight)))
        taken = [0] * len(arms)
        for _ in range(self._slots):
            drawn = [gauss(centre, width) for centre, width in posteriors]
            taken[drawn.index(max(drawn))] += 1
        return mixed(taken, self._floor)
