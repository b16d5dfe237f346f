"""How late this process runs, and how much its word is to be doubted for that: Lifeguard's local health awareness.

A program that was stopped, starved of CPU or busy collecting garbage sees others as slow who are not. The thread that
sends reports notices: it asked to be woken in a quarter of a second, and woke after five. Pure: times are arguments.
Source: Dadgar et al., "Lifeguard: local health awareness for more accurate failure detection", DSN-W 2018.
"""

from __future__ import annotations

from math import ceil, floor, log2

from vagus.model import MAX_DOUBT

LATE_S = 0.1
"""Up to here lateness is a machine's everyday: other threads, other processes."""
DECAY_PER_S = 1.0
"""A step of doubt less for each second in which all was in time."""


class Lateness:
    """The doubt from 0 to 8, out of what was late: one for 0.1 s, and one more for each doubling."""

    def __init__(self) -> None:
        self.late_s = 0.0  # in total
        self.worst_s = 0.0
        self._level = 0.0

    def note(self, asked_s: float, took_s: float) -> float:
        """A wait of `asked_s` seconds that took `took_s`; returns by how much it was late: 0 below LATE_S."""
        late_s = took_s - asked_s
        if late_s < LATE_S:
            self._level = max(0.0, self._level - took_s * DECAY_PER_S)
            return 0.0
        self.late_s += late_s
        self.worst_s = max(self.worst_s, late_s)
        self._level = max(self._level, min(float(MAX_DOUBT), 1.0 + floor(log2(late_s / LATE_S))))
        return late_s

    @property
    def doubt(self) -> int:
        """What reports of this moment say of their observer."""
        return ceil(self._level)
