"""Panorama's local observation store: what this node knows of each subject, and what it infers from that.

A view is the ten newest reports of an observer in the order (t_ns, origin, seq). Keeping the newest ten of a set is
commutative, associative and idempotent: stores that have seen the same reports agree, in whatever order they came.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

import msgspec

from vagus.clock import NS
from vagus.errors import ConfigError
from vagus.health import Strategy
from vagus.model import Ack, Inference, Report, Status

VIEW = 10
"""Reports that are kept of one observer on one subject."""
MAX_AHEAD_NS = 60 * NS
"""A report from further in the future is refused: it would be the latest for ever."""
MAX_REPORT_BYTES = 16 << 10
"""A report's MessagePack; one report must fit a datagram."""
_SMALL = 8  # contexts: so few always fit, whatever their names

_encoder = msgspec.msgpack.Encoder()


class LocalStore:
    """Views, inferences and bounds of one node; a pure core, time is an argument.

    `counts` has refused, late, duplicate, evicted_subjects and evicted_observers; `last_refused` says why one was.
    """

    def __init__(
        self,
        node: str,
        strategy: Strategy,
        *,
        ttl_ns: int = 300 * NS,
        pending_ns: int = 3 * NS,
        max_subjects: int = 10_000,
        max_observers: int = 100,
        max_reports: int = 200_000,
    ) -> None:
        if not (ttl_ns > 0 and max_subjects > 0 and max_observers > 0 and max_reports > 0):
            raise ConfigError("ttl_ns, max_subjects, max_observers and max_reports must be above 0")
        self.node = node
        self.strategy = strategy
        self.ttl_ns = ttl_ns
        self.pending_ns = pending_ns
        self.max_subjects = max_subjects
        self.max_observers = max_observers
        self.max_reports = max_reports
        self.counts: Counter[str] = Counter()
        self.last_refused = ""
        self._panoramas: dict[str, dict[str, list[Report]]] = {}  # both levels: least recently heard of first
        self._inferences: dict[str, Inference] = {}
        self._due: dict[str, int] = {}  # when a subject must be judged anew: something expires or a PENDING ages
        self._unwatched: dict[str, None] = {}
        self._seq = 0
        self._numbered = False
        self._size = 0

    # --- writes ----------------------------------------------------------------------------------------------------

    def submit(self, report: Report, now_ns: int) -> tuple[Ack, Report, Inference | None]:
        """Takes a report made on this node: the answer, the report with origin and seq, the verdict if it changed.

        FAILED (see `last_refused`): no time, too far ahead, or too large. IGNORED: older than the time to live.
        A local report puts its subject on the watch list.
        """
        wrong = self._wrong(report, now_ns)
        if wrong:
            self.counts["refused"] += 1
            self.last_refused = wrong
            return Ack.FAILED, report, None
        if report.t_ns + self.ttl_ns <= now_ns:
            self.counts["late"] += 1
            return Ack.IGNORED, report, None
        self._unwatched.pop(report.subject, None)
        report = Report(
            report.observer, report.subject, report.t_ns, report.contexts, self.node, self._next_seq(now_ns)
        )
        return Ack.ACCEPTED, report, self._insert(report, now_ns)

    def merge(self, report: Report, now_ns: int) -> tuple[Ack, Inference | None]:
        """Takes a report that another node accepted; taking it twice changes nothing."""
        wrong = self._wrong(report, now_ns)
        if wrong or not report.origin or report.seq <= 0:
            self.counts["refused"] += 1
            self.last_refused = wrong or f"the report on {report.subject!r} names no origin and seq"
            return Ack.FAILED, None
        if report.origin == self.node:
            self.advance(report.seq)
        if report.subject in self._unwatched:
            return Ack.IGNORED, None
        if report.t_ns + self.ttl_ns <= now_ns:
            self.counts["late"] += 1
            return Ack.IGNORED, None
        before = self.counts["duplicate"]
        change = self._insert(report, now_ns)
        return (Ack.IGNORED if self.counts["duplicate"] > before else Ack.ACCEPTED), change

    def restore(self, reports: Iterable[Report], now_ns: int) -> int:
        """Takes history back after a restart, in any order; no change is told. Returns how many still count."""
        kept = 0
        for report in reports:
            if report.origin == self.node:
                self.advance(report.seq)
            if report.t_ns + self.ttl_ns > now_ns and not self._wrong(report, now_ns):
                kept += self._place(report, now_ns)
        for subject in list(self._panoramas):
            self._judge(subject, now_ns)
        return kept

    def tick(self, now_ns: int) -> list[Inference]:
        """Judges anew where observations expired or a PENDING aged; returns the verdicts that changed.

        A subject of which nothing is left is told once more, as NA, and forgotten.
        """
        due = [subject for subject, due_ns in self._due.items() if due_ns <= now_ns]
        return [change for subject in due if (change := self._judge(subject, now_ns)) is not None]

    def watch(self, subject: str) -> None:
        """Reports of other nodes on `subject` count again."""
        self._unwatched.pop(subject, None)

    def unwatch(self, subject: str) -> None:
        """Forgets `subject` and ignores what other nodes say of it, until it is watched or reported on here."""
        self._forget(subject)
        self._unwatched[subject] = None
        if len(self._unwatched) > self.max_subjects:
            del self._unwatched[next(iter(self._unwatched))]

    def advance(self, seq: int) -> None:
        """Numbers after `seq` only: it was used here before a restart."""
        self._seq = max(self._seq, seq)

    # --- reads -----------------------------------------------------------------------------------------------------

    def subjects(self) -> dict[str, int]:
        """Every subject with the time of its newest report."""
        return {
            subject: max(view[-1].t_ns for view in panorama.values()) for subject, panorama in self._panoramas.items()
        }

    def view(self, observer: str, subject: str) -> tuple[Report, ...]:
        """One observer's last reports on a subject, oldest first, at most ten."""
        return tuple(self._panoramas.get(subject, {}).get(observer, ()))

    def panorama(self, subject: str) -> dict[str, tuple[Report, ...]]:
        """All views of a subject, by observer."""
        return {observer: tuple(view) for observer, view in self._panoramas.get(subject, {}).items()}

    def inference(self, subject: str) -> Inference | None:
        """The verdict with the reports behind it, oldest first; None for an unknown subject."""
        inference = self._inferences.get(subject)
        if inference is None:
            return None
        reports = sorted((r for view in self._panoramas[subject].values() for r in view), key=_order)
        return msgspec.structs.replace(inference, reports=tuple(reports))

    def inferences(self) -> list[Inference]:
        """All verdicts, by subject, without their reports."""
        return [self._inferences[subject] for subject in sorted(self._inferences)]

    def __len__(self) -> int:
        """Reports held."""
        return self._size

    # --- inside ----------------------------------------------------------------------------------------------------

    def _wrong(self, report: Report, now_ns: int) -> str:
        if report.t_ns <= 0:
            return f"the report on {report.subject!r} has no time: set t_ns to nanoseconds since the epoch"
        if report.t_ns > now_ns + MAX_AHEAD_NS:
            ahead_s = (report.t_ns - now_ns) / NS
            return f"the report on {report.subject!r} is {ahead_s:.0f} s ahead of this node's clock: check both clocks"
        if len(report.contexts) > _SMALL and (size := len(_encoder.encode(report))) > MAX_REPORT_BYTES:
            return f"the report on {report.subject!r} has {size} bytes; at most {MAX_REPORT_BYTES}: split its contexts"
        return ""

    def _next_seq(self, now_ns: int) -> int:
        # Starting at the time in µs, a node that lost its disk does not use a number again; from then on by one.
        if not self._numbered:
            self._numbered = True
            self._seq = max(self._seq, now_ns // 1000)
        self._seq += 1
        return self._seq

    def _insert(self, report: Report, now_ns: int) -> Inference | None:
        if not self._place(report, now_ns):
            self.counts["duplicate"] += 1
            return None
        return self._judge(report.subject, now_ns, report)

    def _place(self, report: Report, now_ns: int) -> bool:
        """Puts a report into its view; False when it is there already or older than the ten kept."""
        panorama = self._panoramas.pop(report.subject, None) or {}
        self._panoramas[report.subject] = panorama
        view = panorama.pop(report.observer, None) or []
        panorama[report.observer] = view
        if not view or _order(view[-1]) < _order(report):
            view.append(report)
        else:
            at = bisect_left(view, _order(report), key=_order)
            if _order(view[at]) == _order(report) or (at == 0 and len(view) == VIEW):
                return False
            view.insert(at, report)
        self._size += 1
        if len(view) > VIEW:
            del view[0]
            self._size -= 1
        if len(panorama) > self.max_observers:
            oldest = next(iter(panorama))
            self._size -= len(panorama.pop(oldest))
            self.counts["evicted_observers"] += 1
        while len(self._panoramas) > self.max_subjects or (self._size > self.max_reports and len(self._panoramas) > 1):
            self._forget(next(iter(self._panoramas)))
            self.counts["evicted_subjects"] += 1
        self._due[report.subject] = min(
            self._due.get(report.subject, report.t_ns + self.ttl_ns), self._due_of(report, now_ns)
        )
        return True

    def _due_of(self, report: Report, now_ns: int) -> int:
        ages_ns = report.t_ns + self.pending_ns
        if ages_ns > now_ns and any(metric.status == Status.PENDING for metric in report.contexts.values()):
            return min(ages_ns, report.t_ns + self.ttl_ns)
        return report.t_ns + self.ttl_ns

    def _judge(self, subject: str, now_ns: int, new: Report | None = None) -> Inference | None:
        """Infers, drops what expired before; the inference if its status or one of its contexts' changed."""
        panorama = self._panoramas[subject]
        if new is None or self._due[subject] <= now_ns:
            self._expire(panorama, now_ns)
            self._due[subject] = min(
                (self._due_of(report, now_ns) for view in panorama.values() for report in view), default=now_ns
            )
        was = self._inferences.get(subject)
        inference = self.strategy.infer(subject, panorama, now_ns)
        self._inferences[subject] = inference
        if not panorama:
            self._forget(subject)
        return None if was is not None and _statuses(was) == _statuses(inference) else inference

    def _expire(self, panorama: dict[str, list[Report]], now_ns: int) -> None:
        for observer, view in list(panorama.items()):
            expired = 0
            while expired < len(view) and view[expired].t_ns + self.ttl_ns <= now_ns:
                expired += 1
            del view[:expired]
            self._size -= expired
            if not view:
                del panorama[observer]

    def _forget(self, subject: str) -> None:
        self._size -= sum(len(view) for view in self._panoramas.pop(subject, {}).values())
        self._inferences.pop(subject, None)
        self._due.pop(subject, None)


def _order(report: Report) -> tuple[int, str, int]:
    return report.t_ns, report.origin, report.seq


def _statuses(inference: Inference) -> tuple[Status, dict[str, Status]]:
    return inference.status, {context: verdict.status for context, verdict in inference.contexts.items()}
