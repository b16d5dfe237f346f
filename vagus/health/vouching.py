"""What this node saw of its peers, as evidence: reports on `node:NAME`, context `swim`, never hearsay.

A member asks for a HEALTHY about every 15 s, and gets it from whoever pings it then, so that the rate does not grow
with the square of the nodes. Failures are told at once and repeated ever more seldom; taken back at once.
"""

from __future__ import annotations

from vagus.clock import NS
from vagus.health.members import ALIVE, DEAD, LEFT
from vagus.health.swim import VOUCH_S, VOUCHED_S, Changed, Probed
from vagus.model import Metric, Report, Status

REPEAT_S = 60.0
"""An accusation that stands is repeated at least so often."""


class _Said:
    """The last word on a member, and since when it is the same."""

    __slots__ = ("last_s", "since_s", "status")

    def __init__(self, status: Status, now_s: float) -> None:
        self.status = status
        self.since_s = self.last_s = now_s


class Vouching:
    """Turns what Swim saw into reports. Score: the round trip in ms, or seconds since the member was heard last."""

    def __init__(self, node: str, period_s: float) -> None:
        self.observer = f"vagus:observer@{node}"
        self.period_s = period_s
        self.ttl_ns = round(max(VOUCHED_S, 120 * period_s) * NS)
        self._said: dict[str, _Said] = {}

    def report(self, seen: Probed | Changed, now_s: float, t_ns: int) -> Report | None:
        """The evidence in a directive, if it is due. now_s: monotonic; t_ns: wall time."""
        said = self._said.get(seen.member)
        if isinstance(seen, Changed):
            if seen.state is LEFT:
                self._left(seen.member, now_s)
            if said is None or seen.state is not DEAD or said.status != Status.MAYBE_UNHEALTHY:
                return None
            return self._say(seen.member, Metric(Status.DEAD, round(seen.silent_s, 3)), now_s, t_ns)
        if seen.ok:
            accused = said is not None and said.status != Status.HEALTHY
            silent = said is None or now_s - said.last_s >= VOUCH_S
            if not (accused or seen.vouch or (seen.check and silent)):
                return None
            return self._say(seen.member, Metric(Status.HEALTHY, round(seen.rtt_s * 1e3, 3)), now_s, t_ns)
        if seen.state is ALIVE or seen.state is LEFT:
            return None
        status = Status.DEAD if seen.state is DEAD else Status.MAYBE_UNHEALTHY
        if said is not None and said.status == status:
            spacing_s = min(REPEAT_S, max(self.period_s, said.last_s - said.since_s))
            if now_s - said.last_s < spacing_s * 0.9:
                return None
        return self._say(seen.member, Metric(status, round(seen.silent_s, 3)), now_s, t_ns)

    def _left(self, member: str, now_s: float) -> None:
        """It is not accused any more: the time to live ends what was said, or its return, until then, takes it back."""
        self._said = {
            name: said
            for name, said in self._said.items()
            if name != member or (said.status != Status.HEALTHY and now_s - said.last_s < self.ttl_ns / NS)
        }

    def _say(self, member: str, metric: Metric, now_s: float, t_ns: int) -> Report:
        said = self._said.get(member)
        if said is None or said.status != metric.status:
            self._said[member] = _Said(metric.status, now_s)
        else:
            said.last_s = now_s
        return Report(self.observer, f"node:{member}", t_ns, {"swim": metric}, ttl_ns=self.ttl_ns)
