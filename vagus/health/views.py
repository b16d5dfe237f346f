"""Views: of each observer on each subject the ten newest reports, in the order (t_ns, origin, seq).

Keeping the newest ten of a set is commutative, associative and idempotent: stores that have seen the same reports
agree, in whatever order they came. A report whose own time to live has ended keeps its place until the store's has, so
that it supersedes the same reports on every node; it is only no longer shown.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from vagus.health.view import View
from vagus.model import Report

VIEW = 10
"""Reports that are kept of one observer on one subject."""

Panorama = dict[str, View]


class Dropped(NamedTuple):
    """A report that is not held; superseded: by newer ones, on every node that has these."""

    report: Report
    superseded: bool


class Views:
    """Panoramas by subject, within bounds. `counts` has evicted_subjects and evicted_observers.

    Too many observers of a subject: the one that was silent longest goes, the same on every node. Too many subjects
    or reports: the subject least recently heard of goes.
    """

    def __init__(
        self, ttl_ns: int, max_subjects: int, max_observers: int, max_reports: int, counts: Counter[str]
    ) -> None:
        self.ttl_ns = ttl_ns
        self.max_subjects = max_subjects
        self.max_observers = max_observers
        self.max_reports = max_reports
        self.counts = counts
        self.evicted: list[str] = []
        """Subjects that went to make room, for the owner to take note of and clear."""
        self._panoramas: dict[str, Panorama] = {}  # least recently heard of first
        self._brief: set[str] = set()  # subjects with reports that live shorter than the store's time to live
        self._size = 0
        self._dropped: list[Dropped] | None = None

    def __len__(self) -> int:
        return self._size

    def __contains__(self, subject: str) -> bool:
        return subject in self._panoramas

    def __iter__(self) -> Iterator[str]:
        return iter(self._panoramas)

    def place(self, report: Report) -> bool:
        """Puts a report into its view; False when it is there already, or older than the ten kept."""
        panoramas, subject = self._panoramas, report.subject
        panorama = panoramas.pop(subject, None)
        if panorama is None:
            panorama = {}
        panoramas[subject] = panorama
        view = panorama.get(report.observer)
        if view is None:
            if len(panorama) >= self.max_observers and not self._room(panorama, report):
                return False
            view = panorama[report.observer] = View([report])
        elif report.t_ns > view[-1].t_ns:
            view.append(report)
        else:
            order = order_of(report)
            at = bisect_left(view, order, key=order_of)
            if at < len(view) and order_of(view[at]) == order:
                return False
            if at == 0 and len(view) == VIEW:
                self.drop(report, superseded=True)
                return False
            view.insert(at, report)
        self._size += 1
        view.made.clear()
        if len(view) > VIEW:
            self.drop(view.pop(0), superseded=True)
            self._size -= 1
        if 0 < report.ttl_ns < self.ttl_ns:
            self._brief.add(subject)
        while len(panoramas) > self.max_subjects or (self._size > self.max_reports and len(panoramas) > 1):
            oldest = next(iter(panoramas))
            self.forget(oldest)
            self.evicted.append(oldest)
            self.counts["evicted_subjects"] += 1
        return True

    def _room(self, panorama: Panorama, report: Report) -> bool:
        """Makes room for one more observer; False if this report is older than any that could go."""
        self.counts["evicted_observers"] += 1
        silent = min(panorama, key=lambda observer: order_of(panorama[observer][-1]))
        if order_of(report) < order_of(panorama[silent][-1]):
            self.drop(report, superseded=True)
            return False
        view = panorama.pop(silent)
        self._size -= len(view)
        for one in view:
            self.drop(one, superseded=True)
        return True

    def expire(self, subject: str, now_ns: int) -> None:
        """Drops what neither the store's nor its own time to live keeps any longer."""
        before_ns = now_ns - self.ttl_ns
        for observer, view in list(self._panoramas[subject].items()):
            if view[0].t_ns <= before_ns:
                kept = [r for r in view if r.t_ns > before_ns or r.t_ns + r.ttl_ns > now_ns]
                self._keep_only(subject, observer, kept)
        if subject in self._brief and not any(0 < r.ttl_ns < self.ttl_ns for r in self.reports(subject)):
            self._brief.discard(subject)

    def withdraw(self, after_ns: int) -> list[str]:
        """Drops what is later than a time; the subjects that have lost something."""
        lost = [s for s, panorama in self._panoramas.items() if any(v[-1].t_ns > after_ns for v in panorama.values())]
        for subject in lost:
            for observer, view in list(self._panoramas[subject].items()):
                if view[-1].t_ns > after_ns:
                    self._keep_only(subject, observer, [report for report in view if report.t_ns <= after_ns])
        return lost

    def _keep_only(self, subject: str, observer: str, kept: list[Report]) -> None:
        panorama = self._panoramas[subject]
        view = panorama[observer]
        still = set(map(id, kept))
        for report in view:
            if id(report) not in still:
                self.drop(report, superseded=False)
        self._size -= len(view) - len(kept)
        if kept:
            view[:] = kept
            view.made.clear()
        else:
            del panorama[observer]

    def forget(self, subject: str) -> None:
        """Drops all of a subject."""
        self._brief.discard(subject)
        for view in self._panoramas.pop(subject, {}).values():
            self._size -= len(view)
            for report in view:
                self.drop(report, superseded=False)

    def live(self, subject: str, now_ns: int) -> Mapping[str, Sequence[Report]]:
        """The views of a subject, without reports whose own time has ended and observers of whom nothing else is left.

        Not to be changed: mostly it is what is stored.
        """
        panorama = self._panoramas.get(subject, {})
        if subject not in self._brief:
            return panorama
        return {
            observer: view
            for observer, all_of_it in panorama.items()
            if (view := [r for r in all_of_it if not r.ttl_ns or r.t_ns + r.ttl_ns > now_ns])
        }

    def reports(self, subject: str) -> Iterator[Report]:
        """All that is held of a subject."""
        return (report for view in self._panoramas.get(subject, {}).values() for report in view)

    def drop(self, report: Report, *, superseded: bool) -> None:
        """Notes that a report is not held, if somebody asked to know."""
        if self._dropped is not None:
            self._dropped.append(Dropped(report, superseded))

    def dropped(self) -> list[Dropped]:
        """What was dropped, or not taken, since the last call; collected from the first call on."""
        dropped, self._dropped = self._dropped or [], []
        return dropped


def order_of(report: Report) -> tuple[int, str, int]:
    """Where a report stands in its view."""
    return report.t_ns, report.origin, report.seq
