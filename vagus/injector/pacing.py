"""Keeps a rate: how long to wait after so much was done. Lost time is not made up for, or a stall would become a burst."""

from __future__ import annotations

_BEHIND_S = 0.05


class Pace:
    """`wait_s` after each piece. rate: per second; None: as fast as it goes."""

    def __init__(self, rate: float | None, now_s: float) -> None:
        self.rate = rate
        self._due_s = now_s

    def wait_s(self, done: float, now_s: float) -> float:
        """Seconds until the next piece, after a piece of the size `done`."""
        if self.rate is None:
            return 0.0
        self._due_s = max(self._due_s + done / self.rate, now_s - _BEHIND_S)
        return max(0.0, self._due_s - now_s)
