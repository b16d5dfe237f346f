"""Replay memory: the last transitions as rows of one array, sampled evenly (Lin 1992).

A row is state, action, reward, next state, done (terminated, not truncated): 2·s + a + 2 numbers.
"""

from __future__ import annotations

import numpy as np

from vagus.policies.networks import Floats


class Replay:
    """A ring of `capacity` rows of `width` float32. Memory is used as it fills."""

    __slots__ = ("_rows", "next", "size")

    def __init__(self, capacity: int, width: int) -> None:
        self._rows = np.empty((capacity, width), np.float32)
        self.size = 0
        self.next = 0

    @property
    def capacity(self) -> int:
        return len(self._rows)

    def add(self, rows: Floats) -> None:
        """(n, width), oldest first."""
        rows = rows[-self.capacity :]
        while len(rows):
            room = min(len(rows), self.capacity - self.next)
            self._rows[self.next : self.next + room] = rows[:room]
            self.next = (self.next + room) % self.capacity
            self.size = min(self.size + room, self.capacity)
            rows = rows[room:]

    def add_one(self, row: Floats) -> None:
        """(width,)."""
        self._rows[self.next] = row
        self.next = (self.next + 1) % self.capacity
        self.size = min(self.size + 1, self.capacity)

    def sample(self, rng: np.random.Generator, out: Floats) -> None:
        """Fills `out` (n, width) with rows drawn evenly, with replacement. There must be one."""
        # mode clip: `take` then writes straight into `out`
        np.take(self._rows, rng.integers(self.size, size=len(out)), axis=0, out=out, mode="clip")

    def kept(self) -> Floats:
        """All rows, as they lie: a view (size, width)."""
        return self._rows[: self.size]

    def restore(self, rows: Floats, following: int) -> None:
        """What `kept` gave, and `next`."""
        self._rows[: len(rows)] = rows
        self.size, self.next = len(rows), following
