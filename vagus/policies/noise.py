"""Noise for exploring actions: Ornstein and Uhlenbeck's, which lingers, or plain Gaussian.

Uhlenbeck and Ornstein (1930); as in Lillicrap et al. (2016), with steps of length 1: x += -θ x + σ N(0, 1).
"""

from __future__ import annotations

import numpy as np

from vagus.policies.networks import Floats


class Noise:
    """theta: how fast it returns to 0 (1: Gaussian, without memory); sigma: standard deviation of each step's news."""

    __slots__ = ("_sigma", "_theta", "value")

    def __init__(self, theta: float, sigma: float) -> None:
        self._theta, self._sigma = theta, sigma
        self.value = np.zeros((0,), np.float32)

    def begin(self) -> None:
        """From 0 again, as at the begin of an episode."""
        self.value = np.zeros((0,), np.float32)

    def next(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        """The next values, of a shape: each a process of its own. Another shape than before begins from 0."""
        fresh = rng.standard_normal(shape, np.float32)
        fresh *= self._sigma
        if self.value.shape == shape:
            fresh += (1.0 - self._theta) * self.value
        self.value = fresh
        return fresh
