"""Counts of durations in buckets that are the same everywhere, so that histograms of many workers add up exactly.

As HdrHistogram: within each power of two 128 buckets of equal width, so that a quantile is at most 1/128 too large and
never too small. Source: Gil Tene, HdrHistogram, https://hdrhistogram.org
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

BITS = 7
_WHOLE = 1 << (BITS + 1)


def bucket_of(value: int) -> int:
    """The bucket of a whole number >= 0."""
    if value < _WHOLE:
        return value
    shift = value.bit_length() - BITS - 1
    return (shift << BITS) + (value >> shift)


def highest_in(bucket: int) -> int:
    """The largest whole number of a bucket."""
    if bucket < _WHOLE:
        return bucket
    shift = (bucket >> BITS) - 1
    return ((bucket - (shift << BITS) + 1) << shift) - 1


def add(into: dict[int, int], more: Mapping[int, int]) -> None:
    """Adds the counts of another histogram."""
    for bucket, count in more.items():
        into[bucket] = into.get(bucket, 0) + count


def quantile(counts: Mapping[int, int], share: float, total: int = 0) -> float:
    """The value that `share` of all do not exceed; NaN when there is none.

    total: how many there are in all, when those that are not counted are larger than every other.
    """
    wanted = max(1, math.ceil(share * max(total, sum(counts.values())) - 1e-9))
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= wanted:
            return float(highest_in(bucket))
    return math.nan


def mean(counts: Mapping[int, int]) -> float:
    """The mean of the buckets' middles; NaN when there is none."""
    total = sum(counts.values())
    if not total:
        return math.nan
    return (
        sum(count * (highest_in(bucket - 1) + 1 + highest_in(bucket)) / 2 for bucket, count in counts.items()) / total
    )


def cumulative(counts: Mapping[int, int], total: int = 0) -> Iterator[tuple[float, float]]:
    """(value, share that does not exceed it), growing; total: as of `quantile`."""
    every = max(total, sum(counts.values()))
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        yield float(highest_in(bucket)), seen / every
