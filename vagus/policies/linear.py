"""LinUCB for one group: each arm's reward is linear in the request's features; old rewards fade.

Li, Chu, Langford and Schapire (2010), "A Contextual-Bandit Approach to Personalized News Article Recommendation",
algorithm 1 (disjoint models), with the discount of Russac, Vernade and Cappé (2019). The probabilities are those of
SquareCB (Foster and Rakhlin 2020), inverse gap weighting, over LinUCB's optimistic scores: exact, and never 0.
Instead of updating inverses (Sherman and Morrison), which lose their regularisation as they fade and gather rounding
errors, the sums fade, and are inverted once for as long as nothing is learned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec
import numpy as np

from vagus.errors import ConfigError
from vagus.model import Scalar
from vagus.policies.bank import MAX_REWARD, MAX_STATE, Floats
from vagus.policies.encoding import Encoding, Place
from vagus.policies.options import number, whole

MAX_MODEL_BYTES = 1 << 20
MAX_ARMS = 1000
MAX_SETS = 16  # of feasible arms, kept ready
TOO_GROWN = 2.0**100
FORMAT = 1


class _Model(msgspec.Struct, array_like=True):
    format: int
    dimension: int
    places: list[Place]
    pooled: tuple[float, float, float]  # count, mean, squares of all rewards
    arms: list[str]
    sums: bytes  # per arm, float32: the upper triangle of Σ x xᵀ, then Σ x (reward - mean) / spread


class LinearUCB:
    """Rewards in standard deviations around the group's mean: ridge regression per arm, optimism by `bonus`.

    gamma: discount at each tick; bonus: width of optimism; sharpness: how steeply the probability falls with the gap to
    the best score (p = 1 / (K + sharpness · √(K n / d) · gap)); ridge: regularisation; dimension: of the vector of
    features, the constant included. Costs: weights about 20 µs, learn about 10 µs; a model 1.3 KB an arm at 24.
    """

    name: ClassVar[str] = "linear"

    def __init__(
        self,
        *,
        gamma: float = 0.995,
        bonus: float = 0.6,
        sharpness: float = 10.0,
        ridge: float = 1.0,
        dimension: int = 24,
    ) -> None:
        self.gamma = number(self.name, "gamma", gamma, 0.01, 1.0)
        self.bonus = number(self.name, "bonus", bonus, 0.0, 1e6)
        self.sharpness = number(self.name, "sharpness", sharpness, 0.0, 1e6)
        self.ridge = number(self.name, "ridge", ridge, 1e-6, 1e6)
        self.dimension = whole(self.name, "dimension", dimension, 1, 128)
        self._empty()

    def _empty(self) -> None:
        self.encoding = Encoding(self.dimension)
        self.arms: dict[str, int] = {}
        self._squares = np.zeros((0, self.dimension, self.dimension))  # Σ x xᵀ by arm, weighted by grown
        self._sums = np.zeros((0, self.dimension))  # Σ x (reward - anchor), weighted
        self._grown = 1.0
        self._anchor = 0.0
        self._pooled = (0.0, 0.0, 0.0)  # count and squares unweighted
        self._ready: dict[tuple[str, ...], tuple[Floats, Floats]] = {}
        self._solved: tuple[Floats, Floats] | None = None

    def weights(self, features: Mapping[str, Scalar], arms: Sequence[str]) -> list[float]:
        """Exact probabilities of the arms, in their order; even while nothing is known."""
        total = self._pooled[0]
        if not total > 0.0:
            return [1.0 / len(arms)] * len(arms)
        vector = self.encoding.vector(features)
        means, inverses = self._gathered(tuple(arms))
        spread = self._spread()
        width = np.sqrt(np.maximum(((inverses @ vector) * vector).sum(axis=1), 0.0))
        scores = (means @ vector) / spread + self.bonus * width
        best = int(scores.argmax())
        steep = self.sharpness * math.sqrt(len(arms) * total / self.dimension)
        shares = 1.0 / (len(arms) + steep * (scores[best] - scores))
        shares[best] = 0.0
        shares[best] = max(0.0, 1.0 - float(shares.sum()))
        found: list[float] = shares.tolist()
        return found

    def _spread(self) -> float:
        count, _, squares = self._pooled
        return math.sqrt(squares / count) if squares > 0.0 else 1.0

    def _gathered(self, arms: tuple[str, ...]) -> tuple[Floats, Floats]:
        ready = self._ready.get(arms)
        if ready is None:
            means, inverses = self._solve()
            at = [self.arms.get(arm, len(self.arms)) for arm in arms]
            if len(self._ready) >= MAX_SETS:
                self._ready.clear()
            ready = self._ready[arms] = (means[at], inverses[at])
        return ready

    def _solve(self) -> tuple[Floats, Floats]:
        """Coefficients and inverses by arm; the last stands for arms never seen."""
        if self._solved is None:
            self._anchored()
            known, ridge = len(self.arms), self.ridge * np.eye(self.dimension)
            inverses = np.empty((known + 1, self.dimension, self.dimension))
            inverses[known] = ridge / self.ridge**2
            inverses[:known] = np.linalg.inv(self._squares[:known] / self._grown + ridge)
            means = np.zeros((known + 1, self.dimension))
            means[:known] = np.einsum("kij,kj->ki", inverses[:known], self._sums[:known] / self._grown)
            self._solved = means, inverses
        return self._solved

    def _anchored(self) -> None:
        """Sums around the group's mean as it is now: regularisation draws arms to it. Exact, as x[0] = 1."""
        mean = self._pooled[1]
        if mean != self._anchor:
            self._sums += (self._anchor - mean) * self._squares[:, :, 0]
            self._anchor = mean

    def learn(self, features: Mapping[str, Scalar], arm: str, reward: float) -> None:
        """One reward. Raises ConfigError, with nothing learned, unless it is within ±1e100."""
        if not -MAX_REWARD <= reward <= MAX_REWARD:
            raise ConfigError(f"reward {reward} of arm {arm[:50]!r} must be a finite number within ±{MAX_REWARD:g}")
        for at, centre, scale in self.encoding.see(features):
            self._transform(self.encoding.rescaled(at, centre, scale))
        vector = self.encoding.vector(features)
        which = self._arm(arm)
        count, mean, squares = self._pooled
        if not count:
            mean = self._anchor = reward
        off, count = reward - mean, count + 1.0
        mean += off / count
        self._pooled = (count, mean, squares + off * (reward - mean))
        self._squares[which] += np.outer(vector, vector) * self._grown
        self._sums[which] += vector * ((reward - self._anchor) * self._grown)
        self._changed()

    def _changed(self) -> None:
        self._solved = None
        self._ready.clear()

    def _transform(self, change: Floats) -> None:
        self._squares = change.T @ self._squares @ change
        self._sums = self._sums @ change

    def _arm(self, arm: str) -> int:
        at = self.arms.get(arm)
        if at is None and len(self.arms) >= MAX_ARMS:  # the one of which least is known makes room
            weakest = min(self.arms, key=lambda known: float(self._squares[self.arms[known], 0, 0]))
            at = self.arms[arm] = self.arms.pop(weakest)
            self._squares[at] = self._sums[at] = 0.0
        elif at is None:
            at = self.arms[arm] = len(self.arms)
            if at == len(self._sums):
                room = max(4, 2 * at)
                self._squares, before = np.zeros((room, self.dimension, self.dimension)), self._squares
                self._squares[:at] = before
                self._sums, sums = np.zeros((room, self.dimension)), self._sums
                self._sums[:at] = sums
        return at

    def tick(self) -> None:
        """All fade."""
        if self.gamma == 1.0:
            return
        self._grown /= self.gamma
        count, mean, squares = self._pooled
        self._pooled = (count * self.gamma, mean, squares * self.gamma)
        if count < 1e-6:
            self._pooled = (0.0, 0.0, 0.0)
            self._squares[:] = self._sums[:] = 0.0
        if self._grown > TOO_GROWN:
            self._squares /= TOO_GROWN
            self._sums /= TOO_GROWN
            self._grown /= TOO_GROWN
        self._changed()

    def model(self) -> bytes:
        """All of it, at most 1 MiB: beyond that the arms of which least is known are left out."""
        self._anchored()
        arms = sorted(self.arms, key=lambda arm: -float(self._squares[self.arms[arm], 0, 0]))
        kept = len(arms)
        while True:
            chosen = sorted(arms[:kept], key=self.arms.__getitem__)
            encoded = self._encoded(chosen)
            if len(encoded) <= MAX_MODEL_BYTES:
                return encoded
            kept = min(kept - 1, int(kept * MAX_MODEL_BYTES / len(encoded)))

    def _encoded(self, arms: list[str]) -> bytes:
        at = [self.arms[arm] for arm in arms]
        upper = np.triu_indices(self.dimension)
        squares = self._squares[at][:, upper[0], upper[1]] / self._grown
        lines = np.concatenate([squares, self._sums[at] / (self._grown * self._spread())], axis=1)
        model = _Model(FORMAT, self.dimension, self.encoding.places, self._pooled, arms, lines.astype("<f4").tobytes())
        return msgspec.msgpack.encode(model)

    def load(self, model: bytes) -> None:
        """What `model` gave. Raises ConfigError, with nothing changed."""
        other = self._decoded(model)
        self.dimension = other.dimension
        self.encoding, self.arms = other.encoding, other.arms
        self._squares, self._sums, self._grown = other._squares, other._sums, 1.0
        self._anchor, self._pooled = other._anchor, other._pooled
        self._changed()

    def _decoded(self, data: bytes) -> LinearUCB:
        if len(data) > MAX_MODEL_BYTES:
            raise ConfigError(f"a linear model of {len(data)} bytes; at most {MAX_MODEL_BYTES}")
        try:
            model = msgspec.msgpack.decode(data, type=_Model)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"not a linear model: {error}") from error
        if model.format != FORMAT or model.dimension != self.dimension:
            raise ConfigError(
                f"a linear model of format {model.format} with {model.dimension} dimensions; "
                f"this one has format {FORMAT} and {self.dimension}"
            )
        size = self.dimension * (self.dimension + 1) // 2 + self.dimension
        found = LinearUCB(
            gamma=self.gamma, bonus=self.bonus, sharpness=self.sharpness, ridge=self.ridge, dimension=self.dimension
        )
        known = len(set(model.arms))
        if len(model.sums) != 4 * size * known or not known == len(model.arms) <= MAX_ARMS:
            raise ConfigError(f"a linear model with {len(model.sums)} bytes for {len(model.arms)} arms")
        lines = np.frombuffer(model.sums, "<f4").astype(np.float64).reshape(len(model.arms), size)
        numbers = [*model.pooled, *(value for place in model.places for value in msgspec.structs.astuple(place)[1:])]
        sound = np.isfinite(lines).all() and all(abs(value) <= MAX_STATE for value in numbers)
        sound = sound and model.pooled[0] >= 0.0 and model.pooled[2] >= 0.0
        if not sound or not all(place.scale > 0.0 and found.encoding.give(place) for place in model.places):
            raise ConfigError("a linear model with numbers or places that cannot be")
        found.arms = {arm: at for at, arm in enumerate(model.arms)}
        found._pooled, found._anchor = model.pooled, model.pooled[1]
        upper = np.triu_indices(self.dimension)
        found._squares = np.zeros((len(model.arms), self.dimension, self.dimension))
        found._squares[:, upper[0], upper[1]] = found._squares[:, upper[1], upper[0]] = lines[:, : len(upper[0])]
        found._sums = lines[:, len(upper[0]) :] * found._spread()
        return found

    def absorb(self, model: bytes, share: float) -> None:
        """Adds a share of what another knows: sums add up, in our encoding and around our mean. ConfigError."""
        other = self._decoded(model)
        change = self.encoding.taking(other.encoding)
        other._transform(change)
        count, mean, squares = self._pooled
        added, apart = other._pooled[0] * share, other._pooled[1] - mean
        total = count + added
        if not total > 0.0:
            return
        if not count:
            self._anchor = mean = other._pooled[1]
        else:
            mean += apart * added / total
            squares += count * added / total * apart * apart
        other._sums += (other._anchor - self._anchor) * other._squares[:, :, 0]
        for arm, at in other.arms.items():
            which = self._arm(arm)
            self._squares[which] += other._squares[at] * (share * self._grown)
            self._sums[which] += other._sums[at] * (share * self._grown)
        self._pooled = (total, mean, squares + other._pooled[2] * share)
        self._changed()
