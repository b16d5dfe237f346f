"""What a pair of throttle targets costs at a rate of requests: the contextual bandit of the tower (`policies/tower`).

Autothrottle (Wang et al., NSDI'24, section 5) regresses one cost: the normalised CPU in [0, 1] where the objective is
met, else 2 plus the normalised latency. That cost jumps where it matters most, and each sample tells of one side only.
Here the two parts are regressed, which are smooth: the logarithm of latency ÷ objective, and that of requested ÷ used
cores, which sways less with the load than the requested ones do. The expected cost follows from both, with the
probability of a violation from the regression's own uncertainty. Bayesian linear regression (Bishop 2006, section 3.3) on
squares and products of both targets' places and of the rate, with old samples fading; a prior that knows what anyone
knows (more throttling: longer, cheaper) acts from the first decision on, and is safe until samples say otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FEATURES = 9
MOST_LATENCY = 10.0  # in objectives: what is later still is as bad
MOST_CORES = 100.0  # requested ÷ used
MOST_NUMBER = 1e12
PRIOR_SAMPLES = 20.0  # that the noise of the prior counts for
MOST_ERROR = 4.0  # squared
LEAST_ERROR = 1e-2


def features(first: Floats, second: Floats, rate: float) -> Floats:
    """(n, FEATURES) of n pairs of places in [0, 1]; rate: logarithm of the rate to the usual one."""
    one = np.ones_like(first)
    return np.stack(
        [one, first, second, first**2, second**2, first * second, one * rate, first * rate, second * rate], axis=1
    )


class Regression:
    """Bayesian linear regression of one number. mean, deviation: of the prior's coefficients; noise: of a sample."""

    def __init__(
        self, mean: Sequence[float] | Floats, deviation: Sequence[float] | Floats, noise: float, fade: float
    ) -> None:
        self._prior = np.asarray(mean, dtype=np.float64)
        self._precision = np.diag(1.0 / np.square(np.asarray(deviation, dtype=np.float64)))
        self._fade = fade
        self.errors = (PRIOR_SAMPLES, PRIOR_SAMPLES * noise**2)  # count and Σ squared errors: what a sample sways
        self.squares = np.zeros((FEATURES, FEATURES))  # Σ x xᵀ
        self.sums = np.zeros(FEATURES)  # Σ x (y - x · prior)

    def learn(self, x: Floats, y: float) -> None:
        """One sample; those before it fade."""
        error = y - float(self.foretell(x[None])[0][0])
        count, total = self.errors
        self.errors = (count * self._fade + 1, total * self._fade + min(max(error**2, LEAST_ERROR), MOST_ERROR))
        self.squares = self.squares * self._fade + np.outer(x, x)
        self.sums = self.sums * self._fade + x * (y - float(x @ self._prior))

    def foretell(self, x: Floats) -> tuple[Floats, Floats]:
        """Means and standard deviations, (n,) each, of what is seen at x (n, FEATURES): noise included."""
        variance = self.errors[1] / self.errors[0]
        covariance = np.linalg.inv(self._precision + self.squares / variance)
        mean = self._prior + covariance @ self.sums / variance
        return x @ mean, np.sqrt(np.einsum("ij,jk,ik->i", x, covariance, x) + variance)

    def weigh(self, most: float) -> None:
        """What was learned counts for so many samples at most."""
        share = min(1.0, most / max(float(self.squares[0, 0]), 1e-9))
        self.squares, self.sums = self.squares * share, self.sums * share
        count, total = self.errors
        share = min(1.0, most / count)
        self.errors = (count * share, total * share)

    def state(self) -> dict[str, Any]:
        return {"squares": self.squares.tolist(), "sums": self.sums.tolist(), "errors": list(self.errors)}

    def restored(self, state: Mapping[str, Any]) -> tuple[Floats, Floats, tuple[float, float]]:
        """Sums of a saved state, checked. Raises KeyError, TypeError, ValueError, OverflowError."""
        squares = np.asarray(state["squares"], dtype=np.float64)
        sums = np.asarray(state["sums"], dtype=np.float64)
        if squares.shape != (FEATURES, FEATURES) or sums.shape != (FEATURES,):
            raise ValueError(f"a regression of shapes {squares.shape} and {sums.shape}")
        if not (np.abs(squares) <= MOST_NUMBER).all() or not (np.abs(sums) <= MOST_NUMBER).all():
            raise ValueError("a regression with numbers that cannot be")
        if not np.allclose(squares, squares.T) or np.linalg.eigvalsh(squares)[0] < -1e-6 * (1 + np.abs(squares).max()):
            raise ValueError("a regression whose squares are none")
        count, total = (float(value) for value in state["errors"])
        if not (1 <= count <= MOST_NUMBER and 1e-3 * count <= total <= MOST_NUMBER):
            raise ValueError("a regression whose errors cannot be")
        return squares, sums, (count, total)


class ThrottleCosts:
    """Costs of all pairs of places (0 … places - 1), as (places, places) arrays. violation: what one costs beside CPU."""

    def __init__(self, places: int, violation: float, fade: float) -> None:
        self.places, self._violation = places, violation
        at = np.linspace(0.0, 1.0, places) if places > 1 else np.zeros(1)
        self._first, self._second = (grid.ravel() for grid in np.meshgrid(at, at, indexing="ij"))
        # log(latency ÷ objective): a third of it unthrottled, all of it beyond the middle; longer with the rate
        self._latency = Regression(
            (-1.1, 0.4, 0.4, 0.4, 0.4, 0.1, 0.3, 0, 0), (0.4, 0.4, 0.4, 0.4, 0.4, 0.3, 0.5, 0.3, 0.3), 0.4, fade
        )
        # log(requested ÷ used): a third less at the highest targets; what bursts, bursts less where there is more of it
        self._cores = Regression(
            (0.9, -0.3, -0.3, 0.05, 0.05, 0, -0.2, 0, 0), (0.5, 0.15, 0.15, 0.1, 0.1, 0.1, 0.3, 0.1, 0.1), 0.2, fade
        )
        self._usual = (0.0, 0.0)  # count and mean of log(rate)
        self.samples = 0

    def rate(self, rate_hz: float) -> float:
        """The rate as the regressions take it; the usual one where it is not known."""
        if not (math.isfinite(rate_hz) and rate_hz > 0) or not self._usual[0]:
            return 0.0
        return min(max(math.log(rate_hz) - self._usual[1], -3.0), 3.0)

    def learn(self, pair: tuple[int, int], rate_hz: float, latency_ratio: float, cores: float) -> None:
        """What was seen with a pair of places. latency_ratio: latency ÷ objective; cores: requested ÷ used."""
        if math.isfinite(rate_hz) and rate_hz > 0 and self._usual[0] < 30:  # then it is what rates are measured by
            count = self._usual[0] + 1
            self._usual = (count, self._usual[1] + (math.log(rate_hz) - self._usual[1]) / count)
        x = features(self._place(pair[0]), self._place(pair[1]), self.rate(rate_hz))[0]
        if latency_ratio > 0:
            self._latency.learn(x, math.log(min(max(latency_ratio, 1e-3), MOST_LATENCY)))
        if cores > 0 and math.isfinite(cores):
            self._cores.learn(x, math.log(min(max(cores, 1.0), MOST_CORES)))
        self.samples += 1

    def weigh(self, most: float) -> None:
        """What was learned, elsewhere maybe, counts for so many samples at most."""
        self._latency.weigh(most)
        self._cores.weigh(most)

    def _place(self, at: int) -> Floats:
        return np.array([at / max(self.places - 1, 1)])

    def foretell(self, rate_hz: float) -> tuple[Floats, Floats]:
        """Expected costs, and probabilities of missing the objective; (places, places) each."""
        x = features(self._first, self._second, self.rate(rate_hz))
        latency, spread = self._latency.foretell(x)
        missed = np.array([0.5 * math.erfc(-float(z) / math.sqrt(2)) for z in latency / spread])
        cores = np.exp(np.clip(self._cores.foretell(x)[0], -20, 20))
        late = np.clip(np.exp(np.clip(latency, -5, 5)) - 1.0, 0.0, 1.0)
        cost = (1 - missed) * cores / cores.max() + missed * (self._violation + late)
        shape = (self.places, self.places)
        return cost.reshape(shape), missed.reshape(shape)

    def state(self) -> dict[str, Any]:
        return {
            "places": self.places,
            "samples": self.samples,
            "usual": list(self._usual),
            "latency": self._latency.state(),
            "cores": self._cores.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Raises KeyError, TypeError, ValueError, OverflowError, with nothing changed."""
        if state["places"] != self.places:
            raise ValueError(f"costs of {state['places']!r} throttle targets, not {self.places}")
        latency, cores = self._latency.restored(state["latency"]), self._cores.restored(state["cores"])
        count, mean = (float(value) for value in state["usual"])
        samples = state["samples"]
        if isinstance(samples, bool) or not isinstance(samples, int) or samples < 0:
            raise ValueError(f"{samples!r} samples")
        if not (0 <= count <= MOST_NUMBER and abs(mean) <= 100):
            raise ValueError("a usual rate that cannot be")
        self._latency.squares, self._latency.sums, self._latency.errors = latency
        self._cores.squares, self._cores.sums, self._cores.errors = cores
        self._usual, self.samples = (count, mean), samples
