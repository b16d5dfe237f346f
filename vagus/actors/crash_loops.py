"""Whether something crash-loops: it ended often of late, and has not stayed up since. Pure."""

from __future__ import annotations

from collections.abc import Sequence

WINDOW_S = 300.0
ENDS = 3  # within the window: a start that hangs for a minute, with the longest back-off, comes to as many
STEADY_S = 60.0  # up for so long without an end, it loops no more
KEPT = 100


def with_end(ends_s: Sequence[float], now_s: float) -> tuple[float, ...]:
    """The times of its ends with another one now, without those that no longer count."""
    return (*(end_s for end_s in ends_s[-KEPT + 1 :] if now_s - end_s <= WINDOW_S), now_s)


def ends_of_late(ends_s: Sequence[float], now_s: float) -> int:
    """How often it ended within the window."""
    return sum(now_s - end_s <= WINDOW_S for end_s in ends_s)


def crash_loops(ends_s: Sequence[float], up_s: float | None, now_s: float) -> bool:
    """ends_s: when it ended; up_s: since when it is up, None: it is down; now_s: of the same clock."""
    return ends_of_late(ends_s, now_s) >= ENDS and (up_s is None or now_s - up_s < STEADY_S)
