"""Groups that surely want the same arms become one, so that they learn from each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vagus.controllers.decide.splits import Bools, Cells, Floats, Ints, Scores, scores

MAX_KINDS = 256  # of sets of feasible arms; sessions of rarer ones are not asked
UNSURE = 0.1  # of a standard error, that may be lost by settling on the same arms: the best leads by about one


def merged(found: Cells, ups: Sequence[Ints]) -> Ints:
    """For each group of `found` the number of its part, from 0.

    Only groups whose sessions had the same sets of feasible arms come together: means of rewards of others cannot be
    compared. The largest first, a group joins the part where least is lost by choosing alike (by the plain means of all
    of the part), if next to nothing is: neither now nor by what would be learned of its own best arm. Else it makes a
    part of its own; then each is asked once more.
    """
    seen = scores(found, ups)[-1]
    ends = np.append(found.starts[1:], len(found.of))
    of_sets: dict[bytes, list[int]] = {}
    for group, (start, end) in enumerate(zip(found.starts.tolist(), ends.tolist(), strict=True)):
        of_sets.setdefault(found.sets[start:end].tobytes(), []).append(group)
    part = np.zeros(len(found.starts), np.int64)
    parts = 0
    for groups in of_sets.values():
        of_class = [0] if len(groups) == 1 else _merged(found, np.array(groups), seen)
        part[groups] = parts + np.array(of_class)
        parts += max(of_class) + 1
    return part


def _merged(found: Cells, groups: Ints, seen: Scores) -> list[int]:
    rows = np.flatnonzero(np.isin(found.of, groups))
    count = found.count.sum(axis=0)[rows]
    kinds, kind = np.unique(found.feasible[rows], axis=0, return_inverse=True)
    kind = kind.reshape(-1)
    if len(kinds) > MAX_KINDS:
        common = np.argsort(-np.bincount(kind, count), kind="stable")[:MAX_KINDS]
        numbers = np.full(len(kinds), -1)
        numbers[common] = np.arange(MAX_KINDS)
        kinds, kind = kinds[common], numbers[kind]
    many = np.zeros((len(groups), len(kinds)))
    known = kind >= 0
    np.add.at(many, (np.searchsorted(groups, found.of[rows][known]), kind[known]), count[known])
    weight = found.summed(found.weight)[groups]
    sums = found.summed(found.above if found.usual is None else found.above + found.usual)[groups]
    above, error = seen.above[groups], seen.error[groups]
    parts = _Parts(kinds)
    part = [0] * len(groups)
    for again in (False, True):
        for at in np.argsort(-many.sum(axis=1), kind="stable").tolist():
            sessions = many[at][:, None]
            it = _Part(weight[at], sums[at], sessions * above[at], sessions**2 * error[at])
            if again:
                parts.add(part[at], it, -1.0)
            part[at] = parts.where(it)
            parts.add(part[at], it, 1.0)
    numbered = {number: at for at, number in enumerate(dict.fromkeys(part))}
    return [numbered[number] for number in part]


@dataclass(slots=True)
class _Part:
    """weight, sums: (arms,), of rewards; worth, error: (kinds, arms), what each arm would bring to these sessions."""

    weight: Floats
    sums: Floats
    worth: Floats
    error: Floats


class _Parts:
    """Parts, stacked; kinds: (kinds, arms), the feasible arms of each kind of session."""

    def __init__(self, kinds: Bools) -> None:
        self.kinds = kinds
        arms = kinds.shape[1]
        empty = np.zeros((0, *kinds.shape))
        self.all = _Part(np.zeros((0, arms)), np.zeros((0, arms)), empty, empty)

    def choices(self, weight: Floats, sums: Floats) -> Ints:
        """(parts, kinds)."""
        mean = np.divide(sums, weight, out=np.full_like(sums, -np.inf), where=weight > 1e-9)
        found: Ints = np.where(self.kinds, mean[:, None, :], -np.inf).argmax(axis=2)
        return found

    def where(self, it: _Part) -> int:
        """The part that it should join; the number after the last: a new one."""
        if not len(self.all.weight):
            return 0
        own = self.choices(it.weight[None], it.sums[None])
        before = self.choices(self.all.weight, self.all.sums)
        after = self.choices(self.all.weight + it.weight, self.all.sums + it.sums)
        worth, error = np.where(self.kinds, it.worth, -np.inf), np.where(self.kinds, it.error, 0.0)
        unsure, scale = _open(worth, error)
        loss = _lost(it.worth[None], own, after) + _lost(self.all.worth, before, after) + unsure
        best = int(np.argmin(loss))
        return best if loss[best] <= UNSURE * scale else len(loss)

    def add(self, at: int, it: _Part, sign: float) -> None:
        """Adds a group to a part, or takes it away (sign -1)."""
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


def _open(worth: Floats, error: Floats) -> tuple[float, float]:
    """What knowing the best arm is expected to bring over taking the one that seems so (of the best two, normal)."""
    if worth.shape[1] < 2:
        return 0.0, 0.0
    order = np.argsort(-worth, axis=1)[:, :2]
    best, second = (np.take_along_axis(worth, order[:, at : at + 1], axis=1)[:, 0] for at in (0, 1))
    spread = np.take_along_axis(error, order, axis=1).sum(axis=1) ** 0.5
    asked = np.isfinite(second) & (spread > 0)
    lead = (best[asked] - second[asked]) / spread[asked]
    brings = spread[asked] * (np.exp(-(lead**2) / 2) / np.sqrt(2 * np.pi) - lead * _above(lead))
    return float(brings.sum()), float(np.sqrt((spread[asked] ** 2).sum()))


def _above(lead: Floats) -> Floats:
    """The chance that a standard normal number is larger (to 1e-7; Abramowitz and Stegun, 26.2.17; lead >= 0)."""
    t = 1.0 / (1.0 + 0.2316419 * lead)
    tail = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    found: Floats = np.exp(-(lead**2) / 2) / np.sqrt(2 * np.pi) * tail
    return found
