"""Round-trip time as NTP computes it (RFC 5905, section 8): (t4 - t1) - (t3 - t2), from times that the kernel took.

t1 and t4 are the prober's clock, t2 and t3 the other's, so their offset cancels. t2 and t4 are the kernel's times of
arrival: a process that is busy when the datagram comes does not make the network look slow. t3 is known only once the
answer has left, so an answer carries the times of those before it (as PTP's follow-up does), and one more echo ends
the series. One-way delay is not claimed: the clocks are not compared.
"""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from vagus.probes.messages import MAX_ECHOES, Answer

ECHOES = 5
"""Datagrams that count in a series."""
GIVE_UP = 3
"""Unanswered ones in a row, with none answered before, after which nobody is there."""
MAX_SERIES = 1024
"""Series that a responder remembers: one for each node that probes it."""


class Latency(NamedTuple):
    """Of one series; NaN where no echo was answered. jitter_s: mean difference of successive round trips (RFC 3550)."""

    rtt_min_s: float
    rtt_median_s: float
    jitter_s: float
    lost_ratio: float


class Series:
    """The prober's side of one series of echoes."""

    def __init__(self, series: int, echoes: int = ECHOES) -> None:
        self.series = series
        self.echoes = echoes
        self._sent_ns: list[tuple[int, int]] = []
        self._arrived_ns: dict[int, int] = {}
        self._longest_ns: dict[int, int] = {}
        self._others: dict[int, tuple[int, int]] = {}

    def next(self) -> int | None:
        """The number of the next echo to send; None when the series is at its end, or nobody is there."""
        number = len(self._sent_ns)
        if number > self.echoes or (number >= GIVE_UP and not self._arrived_ns):
            return None
        if number == self.echoes and not self._arrived_ns:
            return None
        return number

    def sent(self, t1_ns: int, monotonic_ns: int) -> None:
        """The next echo leaves now, by both clocks."""
        self._sent_ns.append((t1_ns, monotonic_ns))

    def answered(self, answer: Answer, t4_ns: int, monotonic_ns: int) -> bool:
        """An answer arrived at t4_ns and is read at monotonic_ns. False: it is not of this series, or came before."""
        if answer.series != self.series or answer.number >= len(self._sent_ns) or answer.number in self._arrived_ns:
            return False
        self._arrived_ns[answer.number] = t4_ns
        self._longest_ns[answer.number] = monotonic_ns - self._sent_ns[answer.number][1]
        for number, t2_ns, t3_ns in answer.times:
            self._others.setdefault(number, (t2_ns, t3_ns))
        return True

    def round_trips_ns(self) -> list[int]:
        """In the order of sending. What a clock that was set makes impossible is left out."""
        found, rough = [], []
        for number, t4_ns in sorted(self._arrived_ns.items()):
            if number >= self.echoes:
                continue
            longest_ns = self._longest_ns[number]
            t2_ns, t3_ns = self._others.get(number, (0, 0))
            whole_ns = t4_ns - self._sent_ns[number][0]
            rtt_ns = whole_ns - (t3_ns - t2_ns)
            if number in self._others and t3_ns >= t2_ns and 0 < rtt_ns <= longest_ns:
                found.append(rtt_ns)
            elif 0 < whole_ns <= longest_ns:
                rough.append(whole_ns)
        return found or rough  # the later answers were lost, and with them the times: an upper bound

    def result(self) -> Latency:
        """What the series says."""
        counted = min(len(self._sent_ns), self.echoes)
        answered = sum(number < self.echoes for number in self._arrived_ns)
        lost = (counted - answered) / counted if counted else math.nan
        rtts = self.round_trips_ns()
        if not rtts:
            return Latency(math.nan, math.nan, math.nan, lost)
        steps = [abs(b - a) for a, b in pairwise(rtts)]
        jitter_ns = sum(steps) / len(steps) if steps else math.nan
        return Latency(min(rtts) / 1e9, median(rtts) / 1e9, jitter_ns / 1e9, lost)


class Responder:
    """The other side: remembers the times of the newest series of each node."""

    def __init__(self) -> None:
        self._series: dict[str, tuple[int, dict[int, tuple[int, int]]]] = {}

    def answer(self, node: str, series: int, number: int) -> Answer:
        """The answer to an echo of `node`, with what is known of the earlier ones."""
        return Answer(series, number, tuple((n, *times) for n, times in self._of(node, series).items()))

    def answered(self, node: str, series: int, number: int, t2_ns: int, t3_ns: int) -> None:
        """The answer has left."""
        times = self._of(node, series)
        if len(times) < MAX_ECHOES:
            times[number] = (t2_ns, t3_ns)

    def _of(self, node: str, series: int) -> dict[int, tuple[int, int]]:
        known = self._series.get(node)
        if known is None or known[0] != series:
            self._series.pop(node, None)
            if len(self._series) >= MAX_SERIES:
                del self._series[next(iter(self._series))]
            known = self._series[node] = (series, {})
        return known[1]
