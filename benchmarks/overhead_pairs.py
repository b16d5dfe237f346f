"""Rounds with something on and off, in pairs: their order, and what the pairs say. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

ON, OFF = "on", "off"
DRAWS = 10_000


class Cost(NamedTuple):
    """Of how much less is done with it on, in per cent; low, high: the middle 95 % of the bootstrap's draws."""

    percent: float
    low: float
    high: float
    pairs: int


def order(rng: Random, pairs: int) -> list[tuple[str, str]]:
    """Which comes first in each pair: either in half of the pairs, so that a machine that warms up favours none."""
    if pairs < 1:
        raise ValueError(f"{pairs} pairs: at least one is needed")
    first = [ON, OFF] * (pairs // 2) + [rng.choice((ON, OFF))] * (pairs % 2)
    rng.shuffle(first)
    return [(one, OFF if one == ON else ON) for one in first]


def cost(rates: Sequence[tuple[float, float]], rng: Random, draws: int = DRAWS) -> Cost:
    """From pairs of (done a second with it on, with it off): by the geometric mean of their ratios.

    The interval is the percentile bootstrap over pairs (Efron, 1979); of a few pairs it is rather too narrow.
    """
    if not rates or any(not (math.isfinite(rate) and rate > 0) for pair in rates for rate in pair):
        raise ValueError(f"rates {list(rates)[:10]} are not pairs of positive numbers")
    logs = [math.log(on / off) for on, off in rates]
    means = sorted(math.fsum(rng.choices(logs, k=len(logs))) / len(logs) for _ in range(draws))
    low, high = means[int(0.025 * (draws - 1))], means[math.ceil(0.975 * (draws - 1))]
    return Cost(_percent(math.fsum(logs) / len(logs)), _percent(high), _percent(low), len(logs))


def _percent(log_ratio: float) -> float:
    return 100.0 * (1.0 - math.exp(log_ratio))
