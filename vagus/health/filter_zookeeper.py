"""ZooKeeper's log: a peer that cannot reach another, a peer too busy to snap.

A line is `2017-05-26 17:26:04,937 [myid:0] - WARN  [tag:class@line] - content`. Observers and subjects are `peer@ID`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import NamedTuple

from vagus.errors import ConfigError
from vagus.model import Metric, Report, Status

MAX_LINE = 4096

_LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) \[myid:(?P<myid>\d{1,9})\] - (?P<level>[A-Z]{4,5}) {1,4}"
    r"\[(?P<tag>.{1,400}?):(?P<class>[A-Za-z0-9_.$]{1,200})@\d{1,9}\] - (?P<content>.*)"
)


class _Rule(NamedTuple):
    """Lines whose content matches say this; the group `id` of the content, if any, names the subject."""

    content: Callable[[str], re.Match[str] | None]
    context: str
    status: Status
    score: float


_RULES = (
    _Rule(
        re.compile(r"Cannot open channel to (?P<id>\d{1,9}) at election address ").match,
        "WorkerSender",
        Status.MAYBE_UNHEALTHY,
        40,
    ),
    _Rule(re.compile(r"Too busy to snap, skipping").match, "Snapshot", Status.UNHEALTHY, 20),
)


class ZooKeeperFilter:
    """Reports of ZooKeeper's own lines. Their times are local times: of `zone`, by default the machine's.

    The node is of no matter: peers are named by the ensemble's ids.
    """

    name = "zookeeper"

    def __init__(self, node: str = "", *, zone: tzinfo | None = None) -> None:
        self.zone = zone

    def read(self, line: str, path: str, t_ns: int) -> Report | None:
        """The report in a line, at the line's own time (`t_ns` where that is no date), or None. Never raises."""
        if " - DEBUG " in line[:80]:
            return None
        found = _LINE.match(line[:MAX_LINE])
        if found is None:
            return None
        for rule in _RULES:
            event = rule.content(found["content"])
            if event is not None:
                observer = f"peer@{int(found['myid'])}"
                subject = f"peer@{int(event['id'])}" if "id" in event.re.groupindex else observer
                contexts = {rule.context: Metric(rule.status, rule.score)}
                return _report(observer, subject, self._time_ns(found["time"], t_ns), contexts)
        return None

    def _time_ns(self, text: str, t_ns: int) -> int:
        try:
            moment = datetime.strptime(text, "%Y-%m-%d %H:%M:%S,%f")
            aware = moment.astimezone() if self.zone is None else moment.replace(tzinfo=self.zone)
            return max(0, int(aware.timestamp()) * 10**9 + moment.microsecond * 1000)
        except (ValueError, OverflowError, OSError):
            return t_ns


def _report(observer: str, subject: str, t_ns: int, contexts: dict[str, Metric]) -> Report | None:
    try:
        return Report(observer, subject, t_ns, contexts)
    except ConfigError:
        return None  # a time beyond 2100
