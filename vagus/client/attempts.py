"""Which of several addresses is asked, how often, and how long: pure; time and randomness come from outside."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

PAUSE_S = 0.01
"""Before an address is asked a second time within one call; doubles with each further time, half to one and a half."""
MAX_PAUSE_S = 0.1
FIRST_LOOK_S = 0.1
MAX_LOOK_S = 2.0
"""After a failure, when an address is looked at again: the first time and, doubling, at most."""


class Attempt(NamedTuple):
    """Ask this address (which: its index), after a pause, for at most so long."""

    which: int
    pause_s: float
    timeout_s: float


class Addresses:
    """What is known of each address. The one that answered last goes first, those that failed go last, the one whose
    failure is longest ago before the others.
    """

    def __init__(self, count: int, rng: Random) -> None:
        self._rng = rng
        self._good = 0
        self._failed_s: list[float | None] = [None] * count
        self._look_s = [0.0] * count
        self._wait_s = [FIRST_LOOK_S] * count

    @property
    def down(self) -> bool:
        """Whether none has answered since it failed."""
        return None not in self._failed_s

    def order(self) -> list[int]:
        """Indices, in the order in which they are to be asked."""

        def rank(i: int) -> tuple[bool, float, bool, int]:
            failed_s = self._failed_s[i]
            return failed_s is not None, failed_s or 0.0, i != self._good, i

        return sorted(range(len(self._failed_s)), key=rank)

    def answered(self, index: int) -> None:
        """It answered a request."""
        if self._good != index or self._failed_s[index] is not None:
            self._good = index
            self._failed_s[index] = None
        self._wait_s[index] = FIRST_LOOK_S

    def failed(self, index: int, now_s: float) -> None:
        """It did not answer. It is looked at after a while, later each time until it answers a request."""
        self._failed_s[index] = now_s
        self._look_s[index] = now_s + self._wait_s[index] * self._rng.uniform(0.5, 1.5)
        self._wait_s[index] = min(2 * self._wait_s[index], MAX_LOOK_S)

    def to_look_at(self, now_s: float, urgent: bool) -> list[int]:
        """Those that failed and are worth a look now: all while none answers, else those before the one in use."""
        return [
            i
            for i, failed_s in enumerate(self._failed_s)
            if failed_s is not None and (self.down or i < self._good) and (urgent or now_s >= self._look_s[i])
        ]

    def back(self, index: int) -> None:
        """A look showed that it is there again: an earlier address is preferred to a later one."""
        if self.down or index < self._good:
            self._good = index
        self._failed_s[index] = None


class Attempts:
    """The attempts of one call. After each that got no answer, `next` says what to do; None: give up."""

    def __init__(self, order: list[int], tries: int, timeout_s: float, deadline_s: float, rng: Random) -> None:
        self._order = order
        self._round: Iterator[int] = iter(order)
        self._left = tries
        self._rounds = 0
        self._timeout_s = timeout_s
        self._deadline_s = deadline_s
        self._rng = rng
        self._refused: set[int] = set()

    def next(self, now_s: float) -> Attempt | None:
        """The next attempt; None when the number of tries or the time is used up, or nobody is left to ask."""
        if self._left <= 0:
            return None
        pause_s = 0.0
        index = next(self._round, None)
        if index is None:
            self._order = [i for i in self._order if i not in self._refused]
            if not self._order:
                return None
            self._round = iter(self._order)
            index = next(self._round)
            pause_s = min(PAUSE_S * 2**self._rounds, MAX_PAUSE_S) * self._rng.uniform(0.5, 1.5)
            self._rounds += 1
        left_s = self._deadline_s - now_s - pause_s
        if left_s <= 0:
            return None
        self._left -= 1
        return Attempt(index, pause_s, min(self._timeout_s, left_s))

    def refused(self, index: int) -> None:
        """It answered that it will not: asking it again is no use."""
        self._refused.add(index)
