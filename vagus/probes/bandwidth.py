"""The rate of a bulk transfer from when its bytes arrived, by the kernel's clock.

What comes first tells little: the sender begins slowly, and a shaper's token bucket lets a burst pass at the speed of
the line. Both are over after a while, so the rate is the slope of the later half of the bytes. Segments come in
lumps (of up to 64 KiB), so the curve is a staircase: behind a store-and-forward link its upper corners lie on the
line, behind a token bucket, which goes into debt for a lump and then waits, its lower ones. The better fit counts.
After Wolski et al., FGCS 15 (1999), who time the whole of 64 KiB; Dovrolis et al., ToN 12 (2004), on dispersion.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LATER_RATIO = 0.5
"""Of the bytes; those before it are not counted."""
LEAST_ARRIVALS = 4
"""Of the later half; with fewer, two lines would both fit."""


class Line(NamedTuple):
    """A line through points, and the mean square of what it does not explain."""

    slope: float
    residual: float


def rate_bytes_s(arrivals: Sequence[tuple[int, int]]) -> float:
    """Bytes per second from (t_ns, bytes so far) of each arrival, in order; 0 when too little came to tell.

    Whole lumps are at the same time as their last byte. Arrivals of the same time count as one.
    """
    curve = _staircase(arrivals)
    if len(curve) < 2:
        return 0.0
    enough = curve[-1][1] * LATER_RATIO
    begin = next(i for i, (_, so_far) in enumerate(curve) if so_far >= enough)
    later = curve[max(0, min(begin, len(curve) - LEAST_ARRIVALS)) :]
    lines = [_fit(later)]
    if len(later) >= LEAST_ARRIVALS:
        lines.append(_fit([(t, before) for (t, _), (_, before) in zip(later[1:], later, strict=False)]))
    return max(0.0, min(lines, key=lambda line: line.residual).slope * 1e9)


def _staircase(arrivals: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Strictly later, strictly more; what a clock that was set back says is left out."""
    curve: list[tuple[int, int]] = []
    for t_ns, so_far in arrivals:
        if curve and t_ns <= curve[-1][0]:
            curve[-1] = (curve[-1][0], max(curve[-1][1], so_far))
        elif not curve or so_far > curve[-1][1]:
            curve.append((t_ns, so_far))
    return curve


def _fit(points: Sequence[tuple[int, int]]) -> Line:
    """Least squares of bytes over time. Two points at least, at different times."""
    n = len(points)
    t0, b0 = points[0]
    mean_t = sum(t - t0 for t, _ in points) / n
    mean_b = sum(b - b0 for _, b in points) / n
    square = sum((t - t0 - mean_t) ** 2 for t, _ in points)
    product = sum((t - t0 - mean_t) * (b - b0 - mean_b) for t, b in points)
    slope = product / square
    rest = sum((b - b0 - mean_b - slope * (t - t0 - mean_t)) ** 2 for t, b in points)
    return Line(slope, rest / n)
