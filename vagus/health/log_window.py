"""Which of a log's events are news: not stale, not from the future, not the same again within a moment."""

from __future__ import annotations

from collections import OrderedDict

from vagus.clock import NS
from vagus.model import Report, Status

STALE_S = 300.0
MERGE_S = 1.0
AHEAD_S = 60.0  # a line that is further in the future was read in the wrong time zone
MAX_REMEMBERED = 10_000

_Same = tuple[str, str, Status, float]


class LogWindow:
    """stale_s: older events are none; negative: none is too old, nor in the future. merge_s: 0 merges nothing."""

    def __init__(self, stale_s: float = STALE_S, merge_s: float = MERGE_S) -> None:
        self.stale = 0  # how many were
        self.ahead = 0
        self.merged = 0
        self._stale_ns = round(stale_s * NS)
        self._merge_ns = round(merge_s * NS)
        self._seen: OrderedDict[_Same, int] = OrderedDict()

    def fresh(self, report: Report, now_ns: int) -> bool:
        """Whether an event is recent enough to be one."""
        if self._stale_ns < 0:
            return True
        old, ahead = now_ns - report.t_ns > self._stale_ns, report.t_ns - now_ns > AHEAD_S * NS
        self.stale += old
        self.ahead += ahead
        return not old and not ahead

    def news(self, report: Report) -> bool:
        """Whether an event is to be reported: no other of that subject, context, status and score was just before."""
        news = False
        for context, metric in report.contexts.items():
            same = (report.subject, context, metric.status, metric.score)
            last = self._seen.get(same)
            if last is None or abs(report.t_ns - last) >= self._merge_ns:
                self._seen[same] = report.t_ns
                self._seen.move_to_end(same)
                news = True
        while len(self._seen) > MAX_REMEMBERED:
            self._seen.popitem(last=False)
        self.merged += not news
        return news
