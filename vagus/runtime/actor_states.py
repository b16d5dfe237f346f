"""What the supervisor says of actors that crash-loop, as reports on the actor, context `restarts`.

Told to the observers, since the collector of that node may be the one that ends again and again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vagus.actors.crash_loops import crash_loops, ends_of_late
from vagus.clock import NS
from vagus.model import Metric, Report, Status
from vagus.runtime.names import SUPERVISOR
from vagus.runtime.plan import Observed

REPEAT_S = 60.0
TTL_NS = 180 * NS


class ActorStates:
    """What was told of which actor. Pure: `now_s` is monotonic, `t_ns` wall time. Score: its ends within five minutes."""

    def __init__(self) -> None:
        self._told_s: dict[str, float] = {}  # actors that are accused

    def due(self, seen: Mapping[str, Observed], now_s: float, t_ns: int) -> list[Report]:
        """Reports that are due: of those that loop, again and again; once of those that do no more."""
        for name in self._told_s.keys() - seen.keys():
            del self._told_s[name]  # nobody wants it any more: what was said ends with its time to live
        reports = []
        for name, one in seen.items():
            if not one.ends_s:
                continue
            ends = ends_of_late(one.ends_s, now_s)
            if crash_loops(one.ends_s, one.since_s if one.state == "HEALTHY" else None, now_s):
                if now_s - self._told_s.get(name, -REPEAT_S) >= REPEAT_S:
                    reports.append(self._report(name, Status.UNHEALTHY, ends, t_ns))
            elif name in self._told_s:
                reports.append(self._report(name, Status.HEALTHY, ends, t_ns))
        return reports

    def taken(self, reports: Iterable[Report], now_s: float) -> None:
        """An observer has them."""
        for report in reports:
            if report.contexts["restarts"].status is Status.HEALTHY:
                self._told_s.pop(report.subject, None)
            else:
                self._told_s[report.subject] = now_s

    def _report(self, name: str, status: Status, ends: int, t_ns: int) -> Report:
        return Report(SUPERVISOR, name, t_ns, {"restarts": Metric(status, float(ends))}, ttl_ns=TTL_NS)
