"""What a node can give its peers: the reports that its views hold, by origin and number."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from vagus.health.gossip_messages import Cover
from vagus.health.known import Gap
from vagus.health.local import MAX_AHEAD_NS, LocalStore
from vagus.health.origin import Origin
from vagus.model import MAX_NAME, Report

MAX_SEQ = 1 << 62
MAX_ORIGINS = 4096


class Retained:
    """Origins by name; what is new is taken, what the local store dropped is released. See `Gossip` for the counts."""

    def __init__(self, local: LocalStore | None, window_ns: int, max_reports: int, counts: Counter[str]) -> None:
        self.window_ns = window_ns
        self.max_reports = max_reports
        self.counts = counts
        self.origins: dict[str, Origin] = {}
        self._local = local
        self._size = 0
        if local is not None:
            local.dropped()  # from now on it collects

    def __len__(self) -> int:
        """Reports retained."""
        return self._size

    def keep(self, report: Report, now_ns: int, *, wanted: bool) -> bool:
        """Retains a report; False if it was known or cannot count. wanted: whatever its subject."""
        seq = report.seq
        origin = self._origin(report.origin, now_ns) if 0 < seq < MAX_SEQ else None
        if origin is None:
            self.counts["bad"] += 1
            return False
        if report.t_ns > now_ns + MAX_AHEAD_NS:  # not known: it is wanted once the clocks agree
            self.counts["ahead"] += 1
            return False
        if not origin.known.add(seq) or seq in origin.held:
            self.counts["duplicate"] += 1
            return False
        origin.heard_ns = now_ns
        if report.t_ns + max(self.window_ns, report.ttl_ns) <= now_ns:
            self.counts["late"] += 1
            origin.stale.add(seq)
            return False
        if not wanted and self._local is not None and not self._local.wants(report.subject):
            self.counts["foreign"] += 1
            origin.foreign.add(seq)
            return False
        origin.hold(report)
        self._size += 1
        return True

    def cover(self, cover: Cover, now_ns: int) -> None:
        """Counts numbers as known that a peer says need not be sent."""
        origin = self._origin(cover.origin, now_ns) if 0 < cover.count <= cover.last < MAX_SEQ else None
        if origin is None:
            self.counts["bad"] += 1
            return
        origin.heard_ns = now_ns
        first = cover.last - cover.count + 1
        origin.known.extend(first, cover.last)
        if cover.foreign:
            origin.foreign.extend(first, cover.last)

    def release(self, now_ns: int) -> None:
        """Retains no longer what no view holds, nor more than `max_reports`: the oldest go."""
        for report, superseded in self._local.dropped() if self._local is not None else ():
            origin = self.origins.get(report.origin)
            if origin is None or origin.held.pop(report.seq, None) is None:
                continue
            self._size -= 1
            if report.t_ns > now_ns + MAX_AHEAD_NS:  # the clock was set back: wanted once it is right
                origin.known.remove(report.seq, report.seq)
            elif not superseded:
                wanted = self._local is None or self._local.wants(report.subject)
                (origin.stale if wanted else origin.foreign).add(report.seq)
        while self._size > self.max_reports:
            largest = max(self.origins.values(), key=lambda origin: len(origin.held))
            dropped = largest.drop(self._size - self.max_reports)
            self._size -= dropped
            self.counts["dropped"] += dropped

    def unlearn(self) -> None:
        """Interest has grown: what was not wanted counts as unknown."""
        for origin in self.origins.values():
            origin.unlearn()

    def age(self, now_ns: int) -> None:
        """Gives up old gaps, and forgets origins that have been silent for two windows."""
        for name, origin in list(self.origins.items()):
            origin.close(now_ns, self.window_ns + MAX_AHEAD_NS)
            if not origin.held and origin.heard_ns + 2 * self.window_ns <= now_ns:
                del self.origins[name]  # whatever still travels is too old to be taken

    def between(self, after: str, upto: str) -> list[str]:
        """The names of origins after `after` up to `upto` ("": no bound), sorted."""
        return sorted(name for name in self.origins if (not after or after < name) and (not upto or name <= upto))

    def beyond(self, names: Iterable[str], theirs: dict[str, tuple[int, Sequence[Gap]]]) -> Iterator[tuple[str, Gap]]:
        """What a peer does not know of these origins, as far as it is known here."""
        for name in names:
            high, gaps = theirs.get(name, (0, ()))
            for gap in gaps:
                yield name, gap
            mine = self.origins[name].known.high
            if mine > high:
                yield name, (high + 1, mine)

    def lacks(self, name: str, high: int, gaps: Sequence[Gap]) -> bool:
        """Whether a peer that knows an origin up to `high`, but for sorted `gaps`, knows more of it."""
        origin = self.origins.get(name)
        if origin is None:
            return high > 0
        if high > origin.known.high:
            return True
        for first, last in origin.known.gaps():
            at = bisect_right(gaps, (first, MAX_SEQ)) - 1
            if first <= high and (at < 0 or last > gaps[at][1]):
                return True
        return False

    def _origin(self, name: str, now_ns: int) -> Origin | None:
        origin = self.origins.get(name)
        if origin is None and 0 < len(name) <= MAX_NAME and len(self.origins) < MAX_ORIGINS:
            origin = self.origins[name] = Origin(now_ns)
        return origin
