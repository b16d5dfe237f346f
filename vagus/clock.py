"""Time as an argument: cores take a clock, tests turn one by hand."""

from __future__ import annotations

import time
from typing import Protocol

NS = 1_000_000_000


class Clock(Protocol):
    """Two clocks: `time_ns` is wall time (may step), `monotonic_ns` never goes back."""

    def time_ns(self) -> int: ...
    def monotonic_ns(self) -> int: ...


class SystemClock:
    """The machine's clocks."""

    time_ns = staticmethod(time.time_ns)
    monotonic_ns = staticmethod(time.monotonic_ns)


class ManualClock:
    """A clock that moves only when told; `step` moves wall time alone, as an administrator would."""

    def __init__(self, time_ns: int = 1_700_000_000 * NS) -> None:
        self._wall = time_ns
        self._monotonic = 0

    def time_ns(self) -> int:
        return self._wall

    def monotonic_ns(self) -> int:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Both clocks go forward by `seconds`."""
        delta = round(seconds * NS)
        self._wall += delta
        self._monotonic += delta

    def step(self, seconds: float) -> None:
        """Only wall time moves, forward or back."""
        self._wall += round(seconds * NS)
