"""What would be won if a group were split by a feature: measured on outcomes that the choice of arms did not see.

Numbers are "above what is usual": rewards less a baseline of the features alone (`baseline`), so that a feature that
makes everything better or worse, whatever the arm, is no reason to split. Estimates are self-normalised inverse
propensity means for each cell (a value of the feature with a set of feasible arms), as in doubly robust evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
MAX_CELLS = 20_000_000
SHRUNK = 20.0  # sessions that a value needs until its baseline counts half
PASSES = 3
MAX_KINDS = 256  # of sets of feasible arms, when values are put together


@dataclass(slots=True)
class Sessions:
    """Outcomes as columns of length n. feasible: (sets, arms); above: reward less `usual`, its baseline."""

    arm: Ints
    sets: Ints
    fold: Ints  # 0 and 1 learn and judge each other; 2 judges in the end
    weight: Floats
    above: Floats
    usual: Floats
    feasible: Bools

    def take(self, rows: Ints | Bools | slice) -> Sessions:
        """Some of them."""
        return Sessions(
            self.arm[rows],
            self.sets[rows],
            self.fold[rows],
            self.weight[rows],
            self.above[rows],
            self.usual[rows],
            self.feasible,
        )


def baseline(columns: list[Ints], arm: Ints, sets: Ints, reward: Floats, weight: Floats) -> Floats:
    """What each session's reward usually is by its features, whatever the arm: a sum of an effect for each value.

    Fitted by going around (backfitting), together with an effect of the arm, which is left out of the answer.
    """
    mean = float(np.average(reward, weights=weight))
    parts = [*columns, sets, arm]
    totals = [np.bincount(codes, weight) + SHRUNK for codes in parts]
    effects = [np.zeros(len(total)) for total in totals]
    left = reward - mean
    for _ in range(PASSES):
        for at, codes in enumerate(parts):
            left += effects[at][codes]
            effects[at] = np.bincount(codes, weight * left) / totals[at]
            left -= effects[at][codes]
    usual: Floats = reward - left - effects[-1][arm]
    return usual


@dataclass(slots=True)
class Cells:
    """Sums by pair (a value with a set of feasible arms, in order of value) and arm; leading axis: fold 0 and 1.

    of: the pair's value; starts: the first pair of each value; feasible: (pairs, arms), and seen there.
    """

    of: Ints
    starts: Ints
    feasible: Bools
    count: Floats  # (2, pairs)
    weight: Floats  # (2, pairs, arms), as are the others
    squared: Floats
    above: Floats
    usual: Floats | None  # where sets differ: then it matters from whose sessions an arm's rewards come
    noise: float  # the variance of `above` around an arm's mean

    def by_value(self, sums: Floats) -> Floats:
        """(pairs, arms) summed up to (values, arms)."""
        found: Floats = np.add.reduceat(sums, self.starts, axis=0)
        return found


def cells(sessions: Sessions, value: Ints) -> Cells | None:
    """Sessions of folds 0 and 1 by value (0 to V-1, each at least once among them); None where too many cells."""
    arms, sets = sessions.feasible.shape[1], sessions.feasible.shape[0]
    pair = value * sets + sessions.sets
    size = int(pair.max(initial=0)) + 1
    if size <= 8 * len(pair):
        present = np.bincount(pair, minlength=size) > 0
        pairs = np.flatnonzero(present)
        pair = (np.cumsum(present) - 1)[pair]
    else:
        pairs, pair = np.unique(pair, return_inverse=True)
    many = len(pairs)
    if 2 * many * arms > MAX_CELLS:
        return None
    key = (sessions.fold * many + pair) * arms + sessions.arm

    def sums(of: Floats) -> Floats:
        found: Floats = np.bincount(key, of, 2 * many * arms).reshape(2, many, arms)
        return found

    weight, above = sums(sessions.weight), sums(sessions.weight * sessions.above)
    of_pair, set_of_pair = pairs // sets, pairs % sets
    played = weight.sum(axis=0)
    total = played.sum(axis=0)
    means = np.divide(above.sum(axis=(0, 1)), total, out=np.zeros(arms), where=total > 0)
    squares = float(sessions.weight @ sessions.above**2)
    return Cells(
        of=of_pair,
        starts=np.flatnonzero(np.diff(of_pair, prepend=-1)),
        feasible=sessions.feasible[set_of_pair] & (played > 0),
        count=np.bincount(sessions.fold * many + pair, minlength=2 * many).reshape(2, many).astype(float),
        weight=weight,
        squared=sums(sessions.weight**2),
        above=above,
        usual=sums(sessions.weight * sessions.usual) if len(np.unique(set_of_pair)) > 1 else None,
        noise=max(1e-12, (squares - float(total @ means**2)) / max(1e-12, float(total.sum()))),
    )


def _over(numerator: Floats, denominator: Floats) -> Floats:
    found: Floats = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
    return found


@dataclass(slots=True)
class Scores:
    """How good each arm looks: (values, arms) for each value, (arms,) for all together; -inf: never seen.

    above: the estimates behind them; error: their variances, (values, arms).
    """

    each: Floats
    whole: Floats
    above: Floats
    error: Floats


def scores(found: Cells, folds: slice) -> Scores:
    """Arms' scores from some folds. A value's estimates are drawn towards the whole's as far as values are alike.

    (Empirical Bayes: the variance between values by the method of moments.) Where the sets of feasible arms differ, a
    score is a plain mean of rewards, as a bandit of this group would see it: with all that distorts it there.
    """
    pairs_weight, pairs_above = found.weight[folds].sum(axis=0), found.above[folds].sum(axis=0)
    weight, above = found.by_value(pairs_weight), found.by_value(pairs_above)
    sure = _over(weight**2, found.by_value(found.squared[folds].sum(axis=0)))  # as good as so many sessions
    total = weight.sum(axis=0)
    mean = _over(above.sum(axis=0), total)
    apart = (_over(above, weight) - mean) * (weight > 0)
    spare = np.count_nonzero(weight) - np.count_nonzero(total)
    between = max(0.0, float((sure * apart**2).sum()) - spare * found.noise) / max(1e-12, float(sure.sum()))
    trust = sure * between / (sure * between + found.noise)
    each, whole = mean + trust * apart, mean.copy()
    estimates = each.copy()
    if found.usual is not None:
        usual = found.usual[folds].sum(axis=0)
        level = _over(usual.sum(axis=0), total)
        whole = mean + level
        own = found.by_value(usual)
        each = each + np.where(weight > 0, _over(own, weight), level)
    return Scores(
        np.where(total > 0, each, -np.inf),
        np.where(total > 0, whole, -np.inf),
        estimates,
        between * found.noise / np.maximum(1e-12, sure * between + found.noise),
    )


@dataclass(slots=True)
class Gain:
    """What is won in reward by so many sessions in all, and how sure that is (one standard error)."""

    total: float
    error: float

    @property
    def ratio(self) -> float:
        """In standard errors; 0 where nothing is won."""
        return self.total / self.error if self.error > 0 and self.total > 0 else 0.0


def gain(found: Cells) -> Gain:
    """Of choosing by value rather than for all alike: arms chosen by one fold, judged by the other, and vice versa."""
    total = variance = 0.0
    for fold in (0, 1):
        seen = scores(found, slice(fold, fold + 1))
        apart = choose(seen.each[found.of], found.feasible)
        alike = choose(np.broadcast_to(seen.whole, found.feasible.shape), found.feasible)
        rows = np.flatnonzero(apart != alike)
        for arms, sign in ((apart[rows], 1.0), (alike[rows], -1.0)):
            value, error = judged(found, 1 - fold, rows, arms)
            total += sign * value
            variance += error
    return Gain(total, variance**0.5)


def choose(score: Floats, feasible: Bools) -> Ints:
    """The best feasible arm of each row, (rows, arms)."""
    found: Ints = np.where(feasible, score, -np.inf).argmax(axis=1)
    return found


def judged(found: Cells, fold: int, rows: Ints, arms: Ints) -> tuple[float, float]:
    """What the arms would have brought in these pairs, by what that fold saw of them, and the variance of this sum."""
    weight = found.weight[fold, rows, arms]
    count = found.count[fold, rows]
    value = count * _over(found.above[fold, rows, arms], weight)
    sure = _over(weight**2, found.squared[fold, rows, arms])
    return float(value.sum()), float(_over(count**2 * found.noise, sure).sum())


def clusters(found: Cells, rest: int) -> Ints:
    """For each value the number of its part, 0 for those that stay together as the rest; parts want the same arms.

    The largest first, a value joins the part where least is lost by choosing alike (by the values already there, or by
    itself), if that is within one standard error; else it makes a new one. Then each is asked once more. rest: a value
    that must stay, or -1.
    """
    seen = scores(found, slice(0, 2))
    count = found.count.sum(axis=0)
    weight = found.by_value(found.weight.sum(axis=0))
    sums = found.by_value((found.above if found.usual is None else found.above + found.usual).sum(axis=0))
    kinds, kind = np.unique(found.feasible, axis=0, return_inverse=True)
    kind = kind.reshape(-1)
    if len(kinds) > MAX_KINDS:  # the rarest are left out
        common = np.argsort(-np.bincount(kind, count), kind="stable")[:MAX_KINDS]
        numbers = np.full(len(kinds), -1)
        numbers[common] = np.arange(MAX_KINDS)
        kinds, kind = kinds[common], numbers[kind]
    parts = _Parts(kinds, weight.sum(axis=0), sums.sum(axis=0))
    many = np.zeros((len(found.starts), len(kinds)))
    known = kind >= 0
    np.add.at(many, (found.of[known], kind[known]), count[known])
    sizes = many.sum(axis=1)
    if rest >= 0:
        sizes[rest] = np.inf  # it comes first
    order = np.argsort(-sizes, kind="stable").tolist()
    part = np.zeros(len(order), np.int64)
    for again in (False, True):
        for value in order:
            it = _Part(
                weight[value],
                sums[value],
                many[value][:, None] * seen.above[value],
                many[value][:, None] ** 2 * seen.error[value],
            )
            if again:
                parts.add(int(part[value]), it, -1.0)
            best = 0 if value == rest else parts.where(it)
            parts.add(best, it, 1.0)
            part[value] = best
    _, numbered = np.unique(np.append(part, 0), return_inverse=True)  # 0 stays 0; parts that emptied are gone
    result: Ints = numbered[:-1].astype(np.int64)
    return result


@dataclass(slots=True)
class _Part:
    """weight, sums: (arms,), of rewards; worth, error: (kinds, arms), what each arm would bring to these sessions."""

    weight: Floats
    sums: Floats
    worth: Floats
    error: Floats


class _Parts:
    """Parts of values, stacked; kinds: (kinds, arms), the feasible arms of each kind of session."""

    def __init__(self, kinds: Bools, weight: Floats, sums: Floats) -> None:
        self.kinds = kinds
        empty = np.zeros((1, *kinds.shape))
        # The rest begins with a trace of everything, so that it chooses as the whole does.
        self.all = _Part(weight[None] * 1e-6, sums[None] * 1e-6, empty, empty.copy())

    def choices(self, weight: Floats, sums: Floats) -> Ints:
        """(parts, kinds)."""
        mean = np.divide(sums, weight, out=np.full_like(sums, -np.inf), where=weight > 1e-9)
        found: Ints = np.where(self.kinds, mean[:, None, :], -np.inf).argmax(axis=2)
        return found

    def where(self, it: _Part) -> int:
        """The part that it should join; the number after the last: a new one."""
        own = self.choices(it.weight[None], it.sums[None])
        before = self.choices(self.all.weight, self.all.sums)
        after = self.choices(self.all.weight + it.weight, self.all.sums + it.sums)
        loss = _lost(it.worth[None], own, after) + _lost(self.all.worth, before, after)
        changed = _changed(it.error[None], own, after) + _changed(self.all.error, before, after)
        allowed = changed**0.5
        best = 0 if loss[0] <= allowed[0] else int(np.argmin(loss))
        return best if loss[best] <= allowed[best] else len(loss)

    def add(self, at: int, it: _Part, sign: float) -> None:
        """Adds a value to a part, or takes it away (sign -1)."""
        for name in ("weight", "sums", "worth", "error"):
            column = getattr(self.all, name)
            if at == len(column):
                column = np.concatenate([column, np.zeros((1, *column.shape[1:]))])
                setattr(self.all, name, column)
            column[at] += sign * getattr(it, name)


def _lost(worth: Floats, before: Ints, after: Ints) -> Floats:
    kept = np.take_along_axis(worth, before[..., None], axis=2) - np.take_along_axis(worth, after[..., None], axis=2)
    found: Floats = kept.sum(axis=(1, 2))
    return found


def _changed(error: Floats, before: Ints, after: Ints) -> Floats:
    both = np.take_along_axis(error, before[..., None], axis=2) + np.take_along_axis(error, after[..., None], axis=2)
    found: Floats = np.where((before != after)[..., None], both, 0.0).sum(axis=(1, 2))
    return found
