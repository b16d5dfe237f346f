"""What an actor's process uses: processor time, its share of a processor of late, memory."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from pathlib import Path

WINDOW_S = 60.0
MARK_S = 5.0  # between two marks
SHORTEST_S = 1.0  # over less than that a share says nothing


class Share:
    """The share of one processor over about the last minute, or since `begin` where that is less.

    What was used before, to load programs, is left out: it says nothing of what the actor costs.
    """

    def __init__(self) -> None:
        self._marks: deque[tuple[float, float]] = deque()

    def ratio(self, now_s: float, cpu_s: float) -> float | None:
        """The share by now, or None within the first second. now_s: monotonic; cpu_s: of the process so far."""
        marks = self._marks
        if not marks or now_s - marks[-1][0] >= MARK_S:
            marks.append((now_s, cpu_s))
        while len(marks) > 1 and now_s - marks[1][0] >= WINDOW_S:
            marks.popleft()
        since_s, before_s = marks[0]
        return (cpu_s - before_s) / (now_s - since_s) if now_s - since_s >= SHORTEST_S else None


def cpu_seconds() -> float:
    """Processor time of this process so far, user and system."""
    times = os.times()
    return times.user + times.system


def rss_bytes() -> float:
    """Resident memory of this process; NaN when unknown."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return float(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    return float("nan")
