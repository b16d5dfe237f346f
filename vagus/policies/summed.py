"""Counts and means of columns: rewards of repeated cells added at once, and what another knows added in part."""

from __future__ import annotations

import numpy as np

from vagus.policies.bank import Floats, Ints


def add_rewards(count: Floats, mean: Floats, at: Ints, rewards: Floats, weight: float = 1.0, *, news: Floats) -> Floats:
    """Adds rewards, each of `weight`, to flat columns in place; `at` may repeat.

    Returns what each adds to the squares around the means: together at least 0, but for rounding.
    Means are kept as means (Welford 1962; Chan, Golub and LeVeque 1979 for several at once): an offset costs no
    digits. news: a scratch column of as many zeros, left so.
    """
    fresh = count[at] == 0.0
    if fresh.any():
        mean[at[fresh]] = rewards[fresh]  # any of its rewards: what is added up next is small then
    before = mean[at]
    off = rewards - before
    np.add.at(count, at, weight)
    np.add.at(news, at, off)
    after = before + news[at] * (weight / count[at])  # the same for all of a cell
    mean[at] = after
    news[at] = 0.0
    squares: Floats = off * (rewards - after)
    return squares


def absorb_means(count: Floats, mean: Floats, added: Floats, other: Floats) -> float:
    """Adds counts `added` with means `other` to the first places of a row, in place: means weigh by their counts.

    Returns by how much the sum of squares grows because the means differ.
    """
    places = slice(len(added))
    old = count[places].copy()
    total = old + added
    part = np.divide(added, total, out=np.zeros_like(total), where=total > 0.0)
    apart = np.where((old > 0.0) & (added > 0.0), other - mean[places], 0.0)
    mean[places] = np.where(old > 0.0, mean[places] + part * apart, np.where(added > 0.0, other, 0.0))
    count[places] = total
    return float((old * part * apart * apart).sum())
