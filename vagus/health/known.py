"""Which numbers of an origin are known: sorted disjoint intervals, bounded in number."""

from __future__ import annotations

from bisect import bisect_right

Gap = tuple[int, int]


class Known:
    """A set of sequence numbers from 1 up, as intervals; 0 is always known.

    At most `max_gaps` gaps are kept: beyond that the lowest is given up, which means counted as known.
    """

    def __init__(self, max_gaps: int = 64) -> None:
        self.max_gaps = max_gaps
        self.given_up = 0
        self._lows = [0]
        self._highs = [0]

    @property
    def high(self) -> int:
        """The highest number known."""
        return self._highs[-1]

    def __contains__(self, seq: int) -> bool:
        at = bisect_right(self._lows, seq) - 1
        return at >= 0 and seq <= self._highs[at]

    def add(self, seq: int) -> bool:
        """Adds a number of at least 1; False if it was known."""
        lows, highs = self._lows, self._highs
        if seq == highs[-1] + 1:  # the usual case
            highs[-1] = seq
            return True
        at = bisect_right(lows, seq) - 1
        if seq <= highs[at]:
            return False
        joins_left = seq == highs[at] + 1
        joins_right = at + 1 < len(lows) and seq == lows[at + 1] - 1
        if joins_left and joins_right:
            highs[at] = highs[at + 1]
            del lows[at + 1], highs[at + 1]
        elif joins_left:
            highs[at] = seq
        elif joins_right:
            lows[at + 1] = seq
        else:
            lows.insert(at + 1, seq)
            highs.insert(at + 1, seq)
            if len(lows) - 1 > self.max_gaps:
                self.given_up += 1
                self.cover(lows[1] - 1)
        return True

    def cover(self, seq: int) -> None:
        """Counts everything up to `seq` as known: it will not be asked for."""
        at = bisect_right(self._lows, seq + 1) - 1  # the last interval that begins at or next to seq
        self._highs[: at + 1] = [max(seq, self._highs[at])]
        self._lows[: at + 1] = [0]

    def gaps(self) -> tuple[Gap, ...]:
        """The gaps below `high`, lowest first, as inclusive (first, last)."""
        return tuple((high + 1, low - 1) for high, low in zip(self._highs[:-1], self._lows[1:], strict=True))
