"""What a node knows of the reports that one origin numbered, and which of them it holds."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from itertools import islice

from vagus.health.known import Gap, Known
from vagus.model import Report


class Origin:
    """known: numbers that need not be sent here. held: those that a view holds.

    A number that is known and not held was superseded, so that nobody needs it, unless it is in `foreign` (not wanted
    here, maybe elsewhere) or in `stale` (gone for other reasons: this node's clock or bounds may be wrong).
    """

    def __init__(self, now_ns: int) -> None:
        self.known = Known()
        self.foreign = Known(fill=True)
        self.stale = Known(fill=True)
        self.held: dict[int, Report] = {}
        self.heard_ns = now_ns
        self._seqs: list[int] = []  # sorted; some may be held no longer
        self._mark_ns = now_ns
        self._mark = 0

    def hold(self, report: Report) -> None:
        """Retains a report."""
        seq = report.seq
        self.held[seq] = report
        if not self._seqs or seq > self._seqs[-1]:
            self._seqs.append(seq)
        else:
            at = bisect_left(self._seqs, seq)
            if self._seqs[at] != seq:
                self._seqs.insert(at, seq)
        if len(self._seqs) > 2 * len(self.held) + 64:
            self._seqs = [one for one in self._seqs if one in self.held]

    def drop(self, count: int) -> int:
        """Retains no longer the `count` reports with the lowest numbers; how many these were."""
        gone = list(islice((seq for seq in self._seqs if seq in self.held), count))
        for seq in gone:
            del self.held[seq]
            self.stale.add(seq)
        return len(gone)

    def between(self, first: int, last: int) -> Iterator[Report]:
        """The reports held with these numbers, lowest first."""
        for seq in self._seqs[bisect_left(self._seqs, first) : bisect_right(self._seqs, last)]:
            report = self.held.get(seq)
            if report is not None:
                yield report

    def vouched(self, first: int, last: int) -> Iterator[Gap]:
        """The numbers between these of which this node knows that nobody needs more than what it holds."""
        for low, high in self.known.within(first, last):
            doubtful: list[Gap] = []
            for gap in (*self.foreign.within(low, high), *self.stale.within(low, high)):
                insort(doubtful, gap)
            for start, end in doubtful:
                if low < start:
                    yield low, start - 1
                low = max(low, end + 1)
            if low <= high:
                yield low, high

    def unlearn(self) -> None:
        """Interest has grown: what was not wanted may be now, and is asked for again."""
        for first, last in list(self.foreign.within(1, self.known.high)):
            self.known.remove(first, last)
            for report in self.between(first, last):
                self.known.add(report.seq)
        self.foreign = Known(fill=True)

    def close(self, now_ns: int, age_ns: int) -> None:
        """Gives up gaps that have been asked for `age_ns`: what was missed has expired everywhere."""
        if now_ns - self._mark_ns >= age_ns:
            if self._mark:
                self.known.extend(0, self._mark)
                self.stale.extend(0, self._mark)
            self._mark_ns, self._mark = now_ns, self.known.high
