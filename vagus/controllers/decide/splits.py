"""What is won if groups are split by a feature: measured on outcomes that the choice of arms did not see.

Numbers are "above what is usual": rewards less a baseline of the features alone (`baseline`), so that a feature that
makes everything better or worse, whatever the arm, is no reason to split. Estimates are self-normalised inverse
propensity means for each cell (a group with a set of feasible arms), as in doubly robust evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
MAX_CELLS = 20_000_000
SHRUNK = 20.0  # sessions that a value needs until its baseline counts half
PASSES = 3


@dataclass(slots=True)
class Sessions:
    """Outcomes as columns of length n. feasible: (sets, arms); above: reward less `usual`, its baseline.

    All numbers stand as they are summed: above and usual times the weight, squared the weight's square, scatter the
    weight times the square of above.
    """

    arm: Ints
    sets: Ints
    fold: Ints  # from 0; each is judged by what the others chose
    weight: Floats
    squared: Floats
    above: Floats
    scatter: Floats
    usual: Floats
    feasible: Bools

    def take(self, rows: Ints | Bools | slice) -> Sessions:
        """Some of them."""
        return Sessions(
            self.arm[rows],
            self.sets[rows],
            self.fold[rows],
            self.weight[rows],
            self.squared[rows],
            self.above[rows],
            self.scatter[rows],
            self.usual[rows],
            self.feasible,
        )


def baseline(columns: Sequence[Ints], arm: Ints, sets: Ints, reward: Floats, weight: Floats) -> Floats:
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
    """Sums by pair (a group with a set of feasible arms, in order of group) and arm; leading axis: the folds.

    of, sets: the pair's group and set of arms; starts: the first pair of each group; feasible: (pairs, arms), and seen there.
    """

    of: Ints
    sets: Ints
    starts: Ints
    feasible: Bools
    count: Floats  # (folds, pairs)
    weight: Floats  # (folds, pairs, arms), as are the others
    squared: Floats
    above: Floats
    usual: Floats | None  # where sets differ: then it matters from whose sessions an arm's rewards come
    noise: float  # the variance of `above` around an arm's mean

    def summed(self, sums: Floats, without: int | None = None) -> Floats:
        """(groups, arms), of all folds but one."""
        whole = sums.sum(axis=0)
        found: Floats = np.add.reduceat(whole if without is None else whole - sums[without], self.starts, axis=0)
        return found


def cells(sessions: Sessions, group: Ints) -> Cells | None:
    """Sessions by group (0 to G-1, each at least once among them); None where there are too many cells."""
    arms, sets = sessions.feasible.shape[1], sessions.feasible.shape[0]
    pair = group * sets + sessions.sets
    size = int(pair.max(initial=0)) + 1
    if size <= 8 * len(pair):
        present = np.bincount(pair, minlength=size) > 0
        pairs = np.flatnonzero(present)
        pair = (np.cumsum(present) - 1)[pair]
    else:
        pairs, pair = np.unique(pair, return_inverse=True)
    many, folds = len(pairs), int(sessions.fold.max(initial=0)) + 1
    if folds * many * arms > MAX_CELLS:
        return None
    pair = sessions.fold * many + pair
    key = pair * arms + sessions.arm

    def sums(of: Floats) -> Floats:
        return np.asarray(np.bincount(key, of, folds * many * arms), np.float64).reshape(folds, many, arms)

    weight, above = sums(sessions.weight), sums(sessions.above)
    set_of_pair = pairs % sets
    played = weight.sum(axis=0)
    total = played.sum(axis=0)
    means = over(above.sum(axis=(0, 1)), total)
    squares = float(sessions.scatter.sum())
    return Cells(
        of=pairs // sets,
        sets=set_of_pair,
        starts=np.flatnonzero(np.diff(pairs // sets, prepend=-1)),
        feasible=sessions.feasible[set_of_pair] & (played > 0),
        count=np.bincount(pair, minlength=folds * many).reshape(folds, many).astype(float),
        weight=weight,
        squared=sums(sessions.squared),
        above=above,
        usual=sums(sessions.usual) if len(np.unique(set_of_pair)) > 1 else None,
        noise=max(1e-12, (squares - float((total * means**2).sum())) / max(1e-12, float(total.sum()))),
    )


def over(numerator: Floats, denominator: Floats) -> Floats:
    """The quotient, 0 where the denominator is not positive."""
    found: Floats = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
    return found


@dataclass(slots=True)
class Scores:
    """How good the arms look in each group, (groups, arms); -inf: never seen. above: the estimates behind; error: their
    variances.
    """

    score: Floats
    above: Floats
    error: Floats


def scores(found: Cells, ups: Sequence[Ints], without: int | None = None) -> list[Scores]:
    """Arms' scores by all folds but one, for each level from all sessions together (one group) down to the groups.

    ups: for each level below the first the number of the group above, the last of them for the groups of `found`. A
    group's estimates are drawn towards those of the group above as far as its like turn out alike (empirical Bayes; the
    variance between them by the method of moments). Where the sets of feasible arms differ, a score is a plain mean of
    rewards, as a bandit of this group would see it: with all that distorts it there.
    """
    columns = [found.weight, found.above, found.squared, *(() if found.usual is None else (found.usual,))]
    sums = [[found.summed(column, without) for column in columns]]
    for one in reversed(ups):
        sums.append([_gathered(column, one) for column in sums[-1]])
    levels: list[Scores] = []
    above_each: list[Ints | None] = [None, *ups]
    for (weight, above, squared, *usual), up in zip(reversed(sums), above_each, strict=True):
        weight = np.where(weight < 1e-9, 0.0, weight)  # what a difference left
        mean, sure = over(above, weight), over(weight**2, squared)
        if up is None:
            estimate, error = mean, over(np.full_like(sure, found.noise), sure)
        else:
            above_it = levels[-1].above[up]
            apart = (mean - above_it) * (weight > 0)
            spare = np.count_nonzero(weight) - np.count_nonzero(levels[-1].score > -np.inf)
            between = max(0.0, float((sure * apart**2).sum()) - spare * found.noise) / max(1e-12, float(sure.sum()))
            trust = sure * between / (sure * between + found.noise)
            estimate = above_it + trust * apart
            error = between * (1.0 - trust) + (1.0 - trust) ** 2 * levels[-1].error[up]
        score = estimate.copy()
        if usual:
            level = over(usual[0], weight)
            score += level if up is None else np.where(weight > 0, level, levels[-1].score[up] - levels[-1].above[up])
        seen = weight > 0 if up is None else (weight > 0) | (levels[-1].score[up] > -np.inf)
        levels.append(Scores(np.where(seen, score, -np.inf), estimate, error))
    return levels


def _gathered(column: Floats, up: Ints) -> Floats:
    found = np.zeros((int(up.max()) + 1, column.shape[1]))
    np.add.at(found, up, column)
    return found


@dataclass(slots=True)
class Gain:
    """What is won in reward by so many sessions in all, and how sure that is (one standard error)."""

    total: float
    error: float

    @property
    def ratio(self) -> float:
        """In standard errors; 0 where nothing is won."""
        return self.total / self.error if self.error > 0 and self.total > 0 else 0.0


def gain(found: Cells, ups: Sequence[Ints]) -> tuple[Gain, Floats]:
    """Of choosing by the groups rather than by those above them: arms chosen by all folds but one, which judges.

    Second: the gain within each group above.
    """
    total, variance = np.zeros(len(found.of)), 0.0
    for fold in range(len(found.count)):
        seen = scores(found, ups, fold)
        apart = choose(seen[-1].score[found.of], found.feasible)
        alike = choose(seen[-2].score[ups[-1][found.of]], found.feasible)
        rows = np.flatnonzero(apart != alike)
        for arms, sign in ((apart[rows], 1.0), (alike[rows], -1.0)):
            value, error = judged(found, fold, rows, arms)
            total[rows] += sign * value
            variance += float(error.sum())
    within: Floats = np.asarray(np.bincount(ups[-1][found.of], total), np.float64)
    return Gain(float(total.sum()), variance**0.5), within


def choose(score: Floats, feasible: Bools) -> Ints:
    """The best feasible arm of each row, (rows, arms)."""
    found: Ints = np.where(feasible, score, -np.inf).argmax(axis=1)
    return found


def judged(found: Cells, fold: int, rows: Ints, arms: Ints) -> tuple[Floats, Floats]:
    """What the arms would have brought in these pairs, by what that fold saw of them, and the variances."""
    weight = found.weight[fold, rows, arms]
    count = found.count[fold, rows]
    value = count * over(found.above[fold, rows, arms], weight)
    return value, over(count**2 * found.noise, over(weight**2, found.squared[fold, rows, arms]))
