"""Discounted UCB (Garivier and Moulines 2011, "On Upper-Confidence Bound Policies for Switching Bandit Problems").

As in Pytheas (NSDI'17, section 4) the result is a short list of decisions, here with two changes: the bonus is in
units of the rewards' own spread instead of a constant of 1000, and arms never seen lead the list.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from vagus.errors import ConfigError
from vagus.policies.discounted import DiscountedMeans, Learner, check_options, mixed


class DiscountedUCB(Learner):
    """Optimism: mean plus bonus · spread · √(2 ln n / nᵢ), over discounted counts n and means.

    gamma: discount at each tick; bonus: exploration, in standard deviations; slots: length of the list, whose shares
    are the probabilities; floor: share of decisions spread evenly, so that every arm keeps a probability.
    """

    name = "ucb"

    def __init__(
        self, rng: Random, *, gamma: float = 0.98, bonus: float = 0.5, slots: int = 10, floor: float = 0.02
    ) -> None:
        check_options(slots, floor)
        if not 0.0 <= bonus < math.inf:
            raise ConfigError(f"bonus={bonus} must be a finite number, 0 or more")
        self._rng = rng
        self._means = DiscountedMeans(gamma)
        self._bonus = bonus
        self._slots = slots
        self._floor = floor

    def weights(self, arms: Sequence[str]) -> list[float]:
        """Slot shares, the floor mixed in. Each slot taken counts as evidence to come, with the mean unchanged."""
        known = [self._means.arms.get(arm, (0.0, 0.0)) for arm in arms]
        unseen = [at for at, (count, _) in enumerate(known) if not count]
        if len(unseen) == len(arms):
            return [1.0 / len(arms)] * len(arms)
        taken = [0] * len(arms)
        self._rng.shuffle(unseen)
        for at in unseen[: self._slots]:
            taken[at] = 1
        seen = [at for at, (count, _) in enumerate(known) if count]
        counts = [count for count, _ in known]
        total = math.fsum(counts)
        # A slot stands for its part of a tick's rewards: (1 - gamma) n of them arrive at each tick in a steady state.
        step = max(1.0, (1.0 - self._means.gamma) * total / self._slots)
        self._rng.shuffle(seen)  # ties go to the first
        for _ in range(self._slots - sum(taken)):
            reach = self._bonus * self._means.spread * math.sqrt(2.0 * math.log(max(total, math.e)))
            best = max(seen, key=lambda at: known[at][1] + reach / math.sqrt(counts[at]))
            taken[best] += 1
            counts[best] += step
            total += step
        return mixed(taken, self._floor)
