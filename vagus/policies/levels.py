"""What arms are worth, as levels that drift and jump: how much they do and how noisy rewards are is learned.

Each arm's worth is a random walk seen through noise (the local level model: West and Harrison, "Bayesian Forecasting
and Dynamic Models", chapter 2), followed by Kalman filters that differ in the drift they believe in. The filters of a
row are weighed by how well they foretold its rewards (Student's t, so that a dip is no proof), with forgetting; each
measures the noise from its own errors. An arm not seen for a while grows uncertain at the speed that its row showed.
That a level may jump instead (jumps.py) is weighed at each reward, and both cases are mixed into one mean and variance
(a generalised pseudo-Bayes filter: Bar-Shalom, Li and Kirubarajan 2001, "Estimation with Applications to Tracking and
Navigation", chapter 11).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from vagus.policies.bank import Floats, Ints, check_rewards
from vagus.policies.jumps import Jumps
from vagus.policies.rates import LEAST, NEVER

DRIFTS = (1e-4, 1e-2, 1e-1)  # variance that a level gains in a tick, in variances of a tick's mean reward
MODELS = range(len(DRIFTS))
FORGET = 0.98  # of the filters' weights, at each tick with rewards: what foretells best may change
TAIL = 8.0  # degrees of freedom of foretold rewards
STEP = 0.02  # of the measured noise, at least
PART = 1 << 14  # rows worked on at once: what fits a core's cache
PENDING = 1 << 16  # rewards kept until the tick
FARTHEST = 1e8  # squared deviations from what was foretold, at most: powers stay finite


class Levels(Jumps):
    """Columns: per cell each filter's mean and variance when last seen; per row its noise and score.

    Rewards are learned at the tick, those of one cell as one observation of their mean. Nothing fades while no
    rewards come: what time does is worked out where it is asked for.
    """

    cells: ClassVar[Mapping[str, float]] = {
        **Jumps.cells,
        **{f"{column}{model}": 0.0 for column in ("mean", "variance") for model in MODELS},
    }
    whole: ClassVar[Mapping[str, float]] = {
        **Jumps.whole,
        "steps": 0.0,
        **{f"{column}{model}": 0.0 for column in ("noise", "score") for model in MODELS},
    }
    counts: ClassVar[frozenset[str]] = frozenset(
        Jumps.counts | {"steps"} | {f"{column}{model}" for column in ("variance", "noise") for model in MODELS}
    )
    steps: Floats

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__(rng)
        self._news: list[tuple[Ints, Ints, Floats]] = []
        self._pending = 0

    def of(self, column: str, model: int) -> Floats:
        """A filter's column."""
        found: Floats = getattr(self, f"{column}{model}")
        return found

    def resize(self, rows: int, width: int) -> None:
        """As of all banks."""
        self.fold()
        super().resize(rows, width)

    def learn(self, rows: Ints, places: Ints, rewards: Floats) -> None:
        """Kept until the tick. Raises ConfigError, with nothing learned, unless all are within ±1e100."""
        check_rewards(rewards)
        self._news.append((rows.copy(), places.copy(), rewards.copy()))
        self._pending += len(rewards)
        if self._pending > PENDING:
            self.fold()

    def tick(self) -> None:
        """What came since the last one is learned."""
        self.fold()
        self.now += 1.0

    def fold(self) -> None:
        """Learns what is kept."""
        news, self._news = self._news, []
        if not self._pending:
            return
        self._pending = 0
        rows, places, rewards = (np.concatenate(column) for column in zip(*news, strict=True))
        keys = rows * self.width + places
        order = np.argsort(keys, kind="stable")
        keys, rewards = keys[order], rewards[order]
        starts = _starts(keys)
        counts = np.diff(starts, append=len(keys))
        means = np.add.reduceat(rewards, starts) / counts
        off = rewards - np.repeat(means, counts)
        within = np.add.reduceat(off * off, starts)
        cells = keys[starts]
        heads = _starts(cells // self.width)
        at = cells[heads] // self.width
        self.measure(at, heads, counts.astype(np.float64), means, within)
        ends = np.append(heads, len(cells))
        for first in range(0, len(at), PART):
            last = min(first + PART, len(at))
            some = slice(ends[first], ends[last])
            here = heads[first:last] - ends[first]
            self._filter(at[first:last], here, cells[some], counts[some].astype(np.float64), means[some])

    def _filter(self, at: Ints, heads: Ints, cells: Ints, counts: Floats, means: Floats) -> None:
        """One step of every filter; `cells` are flat places of the columns."""
        sizes = np.diff(heads, append=len(cells))
        seen = self.seen.reshape(-1)
        known = seen[cells] > NEVER / 2
        gaps = np.where(known, self.now - seen[cells], 0.0)
        knowing = np.add.reduceat(known.astype(np.float64), heads)
        some, divisor = knowing > 0.0, np.maximum(knowing, 1.0)
        self.widen(at, self.spread(at))
        chance, shared = self.chances(at, cells, sizes, gaps)
        expected = chance / (1.0 - chance)
        size = np.repeat(self.size(at), sizes)
        shares, jumped = self.shares(at), np.zeros(len(cells))
        inner, rate = self.inner(at), self.rate(at)
        step = np.maximum(STEP, 1.0 / (self.steps[at] + 4.0))
        least = np.repeat(1e-12 * self.spread(at), sizes) + LEAST
        each_inner = np.repeat(inner, sizes)
        for model in MODELS:
            mean, variance = self.of("mean", model).reshape(-1), self.of("variance", model).reshape(-1)
            noise, score = self.of("noise", model), self.of("score", model)
            noise[at] = np.where(self.steps[at] > 0.0, noise[at], inner)
            whole = np.repeat(noise[at], sizes)
            # Several rewards in a tick: what is noise within it averages out, what all of them share does not.
            less = np.minimum(each_inner, whole) * (1.0 - 1.0 / counts)
            seeing = whole - less + least
            before = variance[cells] + gaps * np.repeat(self.drift(at, model, inner, rate), sizes)
            total = before + seeing
            error = np.where(known, means - mean[cells], 0.0)
            squared = error * error
            far = total + size
            stays = _unlikely(squared, total)
            odds = expected * np.sqrt(stays / _unlikely(squared, far))
            likelihood = np.log1p(odds) - 0.5 * np.log(stays)
            score[at] = np.where(some, FORGET, 1.0) * score[at] + np.add.reduceat(known * likelihood, heads)
            jump = odds / (1.0 + odds)
            jumped += jump * np.repeat(shares[model], sizes)
            # What errors show beyond the filter's own doubt; one of more than three deviations counts as three.
            # Jumps show too: what jumps at every tick is noise.
            shown = np.add.reduceat(known * (np.minimum(squared, 9.0 * total) - before + less), heads) / divisor
            noise[at] = np.where(some, np.maximum(noise[at] + step * (shown - noise[at]), 0.0), noise[at])
            gain = before / total
            more = (size / far) * (seeing / total)  # of the gain, if it was a jump
            after = seeing * (gain + jump * more) + jump * (1.0 - jump) * more * more * squared
            mean[cells] = np.where(known, mean[cells] + (gain + jump * more) * error, means)
            variance[cells] = np.where(known, after, seeing)
        self.steps[at] += some
        self.witness(at, heads, cells, gaps, known * jumped, shared)
        seen[cells] = self.now

    def drift(self, at: Any, model: int, inner: Floats, rate: Floats) -> Floats:
        """Variance that levels gain in a tick, as a filter believes, (m,)."""
        noise = self.of("noise", model)[at]
        found: Floats = DRIFTS[model] * (noise - np.minimum(inner, noise) * (1.0 - 1.0 / np.maximum(rate, 1.0)))
        return found

    def shares(self, at: Any) -> Floats:
        """How much each filter is believed, (filters, m)."""
        scores = np.stack([self.of("score", model)[at] for model in MODELS])
        found: Floats = np.exp(scores - scores.max(axis=0))
        found /= found.sum(axis=0)
        return found

    def variances(self, at: Any) -> list[Floats]:
        """Each filter's variances (m, width) as of now; of cells never seen they mean nothing."""
        inner, rate, ages = self.inner(at), self.rate(at), self.now - self.seen[at]
        return [
            self.of("variance", model)[at] + ages * self.drift(at, model, inner, rate)[:, np.newaxis] + LEAST
            for model in MODELS
        ]

    def beliefs(self, at: Any) -> tuple[Floats, Floats, Floats]:
        """Of m rows, all filters mixed: means and variances (m, width) as of now, drift in a tick (m,).

        Of cells never seen they mean nothing.
        """
        shares = self.shares(at)
        inner, rate = self.inner(at), self.rate(at)
        drifts = [self.drift(at, model, inner, rate) for model in MODELS]
        drift: Floats = np.einsum("ij,ij->j", shares, np.stack(drifts))
        # Means relative to the first filter's: exact for rewards with a large offset.
        first = self.of("mean", 0)[at]
        variance = self.now - self.seen[at]
        variance *= drift[:, np.newaxis]
        variance += self.of("variance", 0)[at] * shares[0][:, np.newaxis]
        shift = np.zeros_like(variance)
        for model in MODELS[1:]:
            off = self.of("mean", model)[at] - first
            part = off * shares[model][:, np.newaxis]
            shift += part
            part *= off
            variance += part
            np.multiply(self.of("variance", model)[at], shares[model][:, np.newaxis], out=part)
            variance += part
        mean: Floats = first + shift
        shift *= shift
        variance -= shift
        return mean, variance, drift

    def row(self, row: int) -> dict[str, Any]:
        """The row's columns; ticks as how long ago, -1 for never."""
        self.fold()
        found = super().row(row)
        found["seen"] = [self.now - seen if seen > NEVER / 2 else -1.0 for seen in found["seen"]]
        found["latest"] = self.now - found["latest"] if found["latest"] > NEVER / 2 else -1.0
        return found

    def set_row(self, row: int, state: Mapping[str, Any]) -> None:
        """What `row` gave, of this or a smaller width. Raises ConfigError, with nothing changed."""
        self._put(row, *self.checked(state))

    def _put(self, row: int, cells: Mapping[str, Floats], whole: Mapping[str, float]) -> None:
        self.clear(row)
        for name, values in cells.items():
            getattr(self, name)[row, : len(values)] = values
        for name, value in whole.items():
            getattr(self, name)[row] = value
        for ages in (self.seen[row : row + 1].reshape(-1), self.latest[row : row + 1]):
            ages[:] = np.where(ages >= 0.0, self.now - np.minimum(ages, -NEVER / 4), NEVER)

    def clear(self, row: int) -> None:
        """An empty row again."""
        self.fold()
        super().clear(row)

    def absorb(self, row: int, state: Mapping[str, Any], share: float) -> None:
        """Filters combine as two observers' reports, by precision; rates, counts and the filters' scores add up."""
        self.fold()
        cells, whole = self.checked(state)
        if share <= 0.0 or whole["latest"] < 0.0:
            return
        width = len(cells["seen"])
        other = Levels(self.rng)
        other.resize(1, width)
        other._put(0, cells, whole)
        theirs, there = other.seen[0] > NEVER / 2, other.variances(slice(0, 1))
        ours, here = self.seen[row, :width] > NEVER / 2, self.variances(slice(row, row + 1))
        steps = self.steps[row] + share * whole["steps"]
        for model in MODELS:
            mean, variance = (self.of(column, model)[row, :width] for column in ("mean", "variance"))
            noise, score = self.of("noise", model), self.of("score", model)
            mine, their = here[model][0, :width], there[model][0] / share
            gain = np.where(ours, mine / (mine + their), 1.0)
            mean[:] = np.where(theirs, mean + gain * (cells[f"mean{model}"] - mean), mean)
            variance[:] = np.where(theirs, np.where(ours, mine * (1.0 - gain), their), variance)
            if steps > 0.0:
                change = (whole[f"noise{model}"] - noise[row]) * share * whole["steps"] / steps
                noise[row] = max(noise[row] + change, 0.0)  # rounding
            score[row] += share * whole[f"score{model}"]
        self.absorb_jumps(row, other, share)
        self.seen[row, :width] = np.where(theirs, self.now, self.seen[row, :width])
        self.steps[row] = steps
        self.absorb_rates(row, whole, share)


def _starts(keys: Ints) -> Ints:
    """Where runs of equal keys begin."""
    found: Ints = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    return found


def _unlikely(squared: Floats, variance: Floats) -> Floats:
    """Student's t: the density's -2nd power, without what depends on TAIL alone."""
    found: Floats = squared / (variance * TAIL)
    np.minimum(found, FARTHEST, out=found)
    found += 1.0
    for _ in range(2):  # to the power of TAIL + 1 = 9, cheaply
        found *= found * found
    found *= variance
    return found
