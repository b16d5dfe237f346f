"""Sets of an origin's numbers as sorted disjoint intervals, bounded in number."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

Gap = tuple[int, int]
MAX_GAPS = 256


class Known:
    """A set of sequence numbers from 1 up; 0 is always in it.

    At most `max_gaps` gaps are kept. What gives way beyond that depends on which mistake is harmless: with `fill` the
    narrowest gap is counted in, else the shortest run of numbers is left out (and, here, asked for once more).
    """

    def __init__(self, max_gaps: int = MAX_GAPS, *, fill: bool = False) -> None:
        self.max_gaps = max_gaps
        self.fill = fill
        self._lows = [0]
        self._highs = [0]

    @property
    def high(self) -> int:
        """The highest number in the set."""
        return self._highs[-1]

    def __contains__(self, seq: int) -> bool:
        at = bisect_right(self._lows, seq) - 1
        return at >= 0 and seq <= self._highs[at]

    def add(self, seq: int) -> bool:
        """Adds a number of at least 1; False if it was in the set."""
        if seq == self._highs[-1] + 1:  # the usual case
            self._highs[-1] = seq
            return True
        if seq in self:
            return False
        self.extend(seq, seq)
        return True

    def extend(self, first: int, last: int) -> None:
        """Adds all numbers from `first` to `last`, both included."""
        lows, highs = self._lows, self._highs
        start = bisect_left(highs, first - 1)  # the first interval that reaches to, or next to, these
        stop = bisect_right(lows, last + 1)
        if start < stop:
            first, last = min(first, lows[start]), max(last, highs[stop - 1])
        lows[start:stop], highs[start:stop] = [first], [last]
        self._bound()

    def remove(self, first: int, last: int) -> None:
        """Takes out all numbers from `first`, at least 1, to `last`."""
        lows, highs = self._lows, self._highs
        start, stop = bisect_left(highs, first), bisect_right(lows, last)
        if start >= stop:
            return
        left = [(lows[start], first - 1)] if lows[start] < first else []
        right = [(last + 1, highs[stop - 1])] if highs[stop - 1] > last else []
        rest = left + right
        lows[start:stop], highs[start:stop] = [low for low, _ in rest], [high for _, high in rest]
        self._bound()

    def gaps(self) -> tuple[Gap, ...]:
        """The gaps below `high`, lowest first, as inclusive (first, last)."""
        return tuple((high + 1, low - 1) for high, low in zip(self._highs[:-1], self._lows[1:], strict=True))

    def within(self, first: int, last: int) -> Iterator[Gap]:
        """The intervals of the set between `first` and `last`, both included."""
        for at in range(bisect_left(self._highs, first), bisect_right(self._lows, last)):
            yield max(first, self._lows[at]), min(last, self._highs[at])

    def _bound(self) -> None:
        lows, highs = self._lows, self._highs
        while len(lows) - 1 > self.max_gaps:
            if self.fill:
                at = min(range(len(lows) - 1), key=lambda n: lows[n + 1] - highs[n])
                del highs[at], lows[at + 1]
            else:  # neither 0 nor the highest: that one is told as such
                at = min(range(1, len(lows) - 1), key=lambda n: highs[n] - lows[n], default=len(lows) - 1)
                del lows[at], highs[at]
