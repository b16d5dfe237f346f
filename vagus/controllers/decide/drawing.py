"""What is drawn from: cumulated probabilities in lines, many of them in one flat array, or a few of one group alone."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from vagus.controllers.decide.records import Row

if TYPE_CHECKING:
    from vagus.policies import Contextual

SHARPNESS = 10.0
MOST_EVIDENCE = 1e6
ROUNDING = 1e-9  # sums this near to 1 are 1: a weight of 0.3 is a propensity of 0.3


class Lists:
    """Lines of `width` places, one after the other: probabilities, and these cumulated (from the last possible on: 1).

    A place is drawn by `bisect_right(cumulated, random(), at, at + width) - at` for the line that begins at `at`.
    """

    __slots__ = ("cumulated", "flags", "probabilities", "width")

    def __init__(self, width: int) -> None:
        self.width = width
        self.flags = bytearray()  # a learner's: a byte a line, set where it was drawn from
        self.cumulated = array("d")
        self.probabilities = array("d")

    def add(self, weights: Sequence[float]) -> int:
        """Another line, of weights that are not all 0; returns where it begins."""
        at = len(self.cumulated)
        probabilities = shares(weights)
        self.probabilities.extend(probabilities)
        self.cumulated.extend(cumulated(probabilities))
        return at


class Known:
    """A group that can be drawn for: its arms by place, the line for all of them, and lines for smaller sets.

    sets: where the lines of other feasible sets begin, by the arms in any order met; under its sorted arms each is
    found. at: -1 as long as there is no line. policy: weighs the arms at each request instead. values: see Row.
    """

    __slots__ = (
        "arms",
        "at",
        "banked",
        "cell",
        "lists",
        "names",
        "policy",
        "sets",
        "values",
    )  # what is hot is together

    def __init__(self, arms: tuple[str, ...], lists: Lists, at: int) -> None:
        self.arms = arms
        self.lists = lists
        self.at = at
        self.sets: dict[tuple[str, ...], int] | None = None
        self.policy: Contextual | None = None
        self.values: tuple[float, ...] = ()

    def line(self, at: int) -> dict[str, float]:
        """Probabilities by arm of the line that begins at `at`; arms that are not in it have 0."""
        return dict(zip(self.arms, self.lists.probabilities[at : at + len(self.arms)], strict=True))


def known_of(row: Row) -> Known:
    """A row of the table, ready to draw from."""
    lists = Lists(len(row.arms))
    known = Known(row.arms, lists, lists.add(row.weights) if row.arms else -1)
    known.values = row.values
    if row.sets:
        known.sets = {}
        for one in row.sets:
            by_arm = dict(zip(one.arms, one.weights, strict=True))
            if by_arm.keys() <= set(row.arms):
                known.sets[tuple(sorted(one.arms))] = lists.add([by_arm.get(arm, 0.0) for arm in row.arms])
    return known


def shares(weights: Sequence[float]) -> list[float]:
    """Probabilities in proportion to weights that are not all 0; themselves where they sum to 1."""
    total = math.fsum(weights)
    return list(weights) if abs(total - 1.0) < ROUNDING else [weight / total for weight in weights]


def cumulated(probabilities: Sequence[float]) -> list[float]:
    """Sums up to each; 1 from the last possible one on, since rounding may leave it below what random() can return."""
    sums = list(accumulate(probabilities))
    last = sums[-1]
    at = len(sums) - 1
    while at >= 0 and sums[at] == last:
        sums[at] = 1.0
        at -= 1
    return sums


def worth(said: Sequence[Mapping[str, float]]) -> tuple[float, ...]:
    """Values of arms for `by_gaps`, from what a policy says of each: means in units of their range, times how sure.

    NaN for arms without evidence. Sure: SHARPNESS by the root of all evidence, as SquareCB's learning rate grows.
    """
    known = [one["mean"] for one in said if one.get("evidence", 0.0) > 0.0]
    if not known:
        return ()
    reach = max(known) - min(known)
    evidence = min(math.fsum(max(0.0, one.get("evidence", 0.0)) for one in said), MOST_EVIDENCE)
    rate = SHARPNESS * math.sqrt(evidence) / reach if reach > 0.0 else 0.0
    if not math.isfinite(rate):
        rate = 0.0
    low = min(known)
    return tuple((one["mean"] - low) * rate if one.get("evidence", 0.0) > 0.0 else math.nan for one in said)


def by_gaps(values: Mapping[str, float], feasible: Sequence[str]) -> list[float]:
    """Probabilities of any feasible set by what its arms are worth: the best mostly, the others by the inverse of gaps.

    SquareCB (Foster and Rakhlin 2020, "Beyond UCB"). Arms of which nothing is known get 1/n each.
    """
    known = {arm: value for arm in feasible if (value := values.get(arm, math.nan)) == value}
    if not known:
        return [1.0] * len(feasible)
    best = max(known, key=lambda arm: known[arm])
    share = len(known) / len(feasible)
    odds = {arm: share / (len(known) + known[best] - value) for arm, value in known.items() if arm != best}
    odds[best] = share - math.fsum(odds.values())
    return [odds.get(arm, 1.0 / len(feasible)) for arm in feasible]
