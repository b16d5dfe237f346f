"""Panorama's local observation store: what this node knows of each subject, and what it infers from that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from random import Random

import msgspec
from msgspec.structs import force_setattr

from vagus.clock import NS
from vagus.errors import ConfigError
from vagus.health import Strategy
from vagus.health.handles import Handle, Handles
from vagus.health.interest import Interest, Named
from vagus.health.views import VIEW, Dropped, Views, order_of
from vagus.model import Ack, Inference, Report, Status

__all__ = ["MAX_AHEAD_NS", "MAX_REPORT_BYTES", "VIEW", "LocalStore"]

MAX_AHEAD_NS = 60 * NS
"""A report from further in the future is refused: it would be the latest for ever."""
MAX_REPORT_BYTES = 16 << 10
"""A report's MessagePack; one report must fit a datagram."""
SET_BACK_NS = NS
"""A clock that goes back by less was read a moment earlier; one that goes back by more was set."""
_SMALL = 8  # contexts: so few always fit, whatever their names

_encoder = msgspec.msgpack.Encoder()


class LocalStore:
    """Views, inferences and bounds of one node; a pure core, time is an argument.

    subjects, interest, watch: what counts here (see `Interest`); rng: draws handles.
    `counts` has refused, filtered, late, duplicate, withdrawn (subjects, when the clock was set back),
    evicted_subjects and evicted_observers; `last_refused` says why one was.
    """

    def __init__(
        self,
        node: str,
        strategy: Strategy,
        *,
        ttl_ns: int = 300 * NS,
        pending_ns: int = 3 * NS,
        subjects: Iterable[str] = ("*",),
        interest: str = "all",
        watch: Iterable[str] = (),
        rng: Random | None = None,
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
        self.interest = Interest(subjects, interest, watch)
        self.counts: Counter[str] = Counter()
        self.last_refused = ""
        self._views = Views(ttl_ns, max_subjects, max_observers, max_reports, self.counts)
        self._handles = Handles(rng)
        self._inferences: dict[str, Inference] = {}
        self._due: dict[str, int] = {}  # when a subject must be judged anew: something expires or a PENDING ages
        self._unsettled: set[str] = set()
        self._now_ns = 0
        self._seq = 0
        self._numbered = False

    # --- writes ----------------------------------------------------------------------------------------------------

    def submit(
        self, report: Report, now_ns: int, handle: int = 0, *, judge: bool = True
    ) -> tuple[Ack, Report, Inference | None]:
        """Takes a report made on this node: the answer, the report with origin and seq, the verdict if it changed.

        FAILED (see `last_refused`): no time, too far ahead, too large, or not the observer that has `handle`.
        IGNORED: older than its time to live, or not among the subjects of this store. A local report puts its subject
        on the watch list. Without `judge` the verdict waits for `settle`, once for any number of reports.
        """
        self._look_at(now_ns)
        wrong = self._wrong(report, now_ns) or (self._handles.wrong(handle, report.observer) if handle else "")
        if wrong:
            self._refuse(wrong)
            return Ack.FAILED, report, None
        if not self.interest.allows(report.subject):
            self.counts["filtered"] += 1
            return Ack.IGNORED, report, None
        if report.t_ns + (report.ttl_ns or self.ttl_ns) <= now_ns:
            self.counts["late"] += 1
            return Ack.IGNORED, report, None
        self.interest.reported(report.subject)
        report = copy(report)  # its checks have passed once; a new one would run them again
        force_setattr(report, "origin", self.node)
        force_setattr(report, "seq", self._next_seq(now_ns))
        if not self._place(report, now_ns):
            self.counts["duplicate"] += 1
        elif judge:
            return Ack.ACCEPTED, report, self._judge(report.subject, now_ns)
        else:
            self._unsettled.add(report.subject)
        return Ack.ACCEPTED, report, None

    def merge(self, report: Report, now_ns: int, *, judge: bool = True) -> tuple[Ack, Inference | None]:
        """Takes a report that another node accepted; taking it twice changes nothing. `judge` as in `submit`."""
        self._look_at(now_ns)
        wrong = self._wrong(report, now_ns)
        if not report.origin or report.seq <= 0:
            wrong = wrong or f"the report on {report.subject!r} names no origin and seq"
        if wrong:
            self._refuse(wrong)
            self._views.drop(report, superseded=False)
            return Ack.FAILED, None
        if report.origin == self.node:
            self.advance(report.seq)
        if not self.interest.wants(report.subject):
            self._views.drop(report, superseded=False)
            return Ack.IGNORED, None
        if self._ended(report, now_ns):
            self.counts["late"] += 1
            self._views.drop(report, superseded=False)
            return Ack.IGNORED, None
        if not self._place(report, now_ns):
            self.counts["duplicate"] += 1
            return Ack.IGNORED, None
        if judge:
            return Ack.ACCEPTED, self._judge(report.subject, now_ns)
        self._unsettled.add(report.subject)
        return Ack.ACCEPTED, None

    def settle(self, now_ns: int, failed: Callable[[str, Exception], None] | None = None) -> list[Inference]:
        """Judges what was taken without `judge`, each subject once; the verdicts that changed.

        failed: told of a subject on which the strategy raised, and why; else it is raised.
        """
        subjects, self._unsettled = sorted(self._unsettled & self._due.keys()), set()
        changes = []
        for subject in subjects:
            try:
                change = self._judge(subject, now_ns)
            except Exception as error:
                if failed is None:
                    raise
                failed(subject, error)
                continue
            if change is not None:
                changes.append(change)
        return changes

    def restore(self, reports: Iterable[Report], now_ns: int) -> int:
        """Takes history back after a restart, in any order; no change is told. Returns how many still count."""
        self._look_at(now_ns)
        kept = 0
        theirs = []
        for report in reports:
            if report.origin == self.node:  # first: what was reported here is watched
                kept += self._take_back(report, now_ns, local=True)
            else:
                theirs.append(report)
        for report in theirs:
            kept += self._take_back(report, now_ns, local=False)
        for subject in list(self._views):
            self._judge(subject, now_ns)
        self.interest.changes()
        return kept

    def tick(self, now_ns: int, failed: Callable[[str, Exception], None] | None = None) -> list[Inference]:
        """Judges anew where observations expired or a PENDING aged; returns the verdicts that changed.

        A subject of which nothing is left is told once more, as NA, and forgotten. failed: as for `settle`.
        """
        self._look_at(now_ns)
        self._unsettled.update(subject for subject, due_ns in self._due.items() if due_ns <= now_ns)
        return self.settle(now_ns, failed)

    @property
    def seq(self) -> int:
        """The number of the newest report made here, or of one that came back from before."""
        return self._seq

    def advance(self, seq: int) -> None:
        """Numbers after `seq` only: it was used here before a restart."""
        self._seq = max(self._seq, seq)

    # --- who reports, and what is watched --------------------------------------------------------------------------

    def register(self, module: str, observer: str) -> int:
        """A handle for an observer, the same for the same pair; it goes on the watch list. Raises ConfigError."""
        handle = self._handles.register(module, observer)
        self.interest.registered(observer)
        return handle

    def unregister(self, handle: int) -> bool:
        """Ends a registration; reports with its handle are refused from now on. False if there was none."""
        observer = self._handles.unregister(handle)
        if observer is None:
            return False
        if not self._handles.observed(observer):
            self.interest.unregistered(observer)
        return True

    def handles(self) -> list[Handle]:
        """Every handle that was ever given, for `restore_handles`."""
        return self._handles.all()

    def restore_handles(self, handles: Iterable[Handle]) -> None:
        """Honours handles of before a restart, and gives them to nobody else."""
        self._handles.restore(handles)
        for handle in self._handles.all():
            if handle.active:
                self.interest.registered(handle.observer)
        self.interest.changes()

    def wants(self, subject: str) -> bool:
        """Whether other nodes' reports on `subject` count here."""
        return self.interest.wants(subject)

    def watching(self) -> tuple[str, ...]:
        """The watch list: names and globs asked for, registered observers, subjects reported on here."""
        return self.interest.watching()

    def watch(self, subject: str) -> None:
        """Reports of other nodes on `subject`, a name or a glob, count. Raises ConfigError."""
        self.interest.watch(subject)

    def unwatch(self, subject: str) -> None:
        """Forgets `subject`, a name or a glob, and what others say of it until it is watched or reported on here."""
        self.interest.unwatch(subject)
        named = Named([subject])
        for known in [known for known in self._views if named(known)]:
            self._forget(known)

    def dropped(self) -> list[Dropped]:
        """Reports that left a view, expired or were not taken since the last call; collected from the first call on."""
        return self._views.dropped()

    # --- reads -----------------------------------------------------------------------------------------------------

    def subjects(self) -> dict[str, int]:
        """Every subject with the time of its newest report."""
        return {subject: latest.t_ns for subject in self._inferences if (latest := self.latest(subject)) is not None}

    def latest(self, subject: str) -> Report | None:
        """The newest report on a subject, whoever made it; None for an unknown one."""
        return max((view[-1] for view in self._live(subject).values()), key=order_of, default=None)

    def view(self, observer: str, subject: str) -> tuple[Report, ...]:
        """One observer's last reports on a subject, oldest first, at most ten."""
        return tuple(self._live(subject).get(observer, ()))

    def panorama(self, subject: str) -> dict[str, tuple[Report, ...]]:
        """All views of a subject, by observer."""
        return {observer: tuple(view) for observer, view in self._live(subject).items()}

    def panoramas(self, limit: int = 1000) -> dict[str, dict[str, tuple[Report, ...]]]:
        """All views of the subjects heard of last, at most `limit`."""
        newest = sorted(self.subjects().items(), key=lambda item: (-item[1], item[0]))[:limit]
        return {subject: self.panorama(subject) for subject, _ in newest}

    def inference(self, subject: str) -> Inference | None:
        """The verdict with the reports behind it, oldest first; None for an unknown subject."""
        inference = self._inferences.get(subject)
        if inference is None:
            return None
        reports = sorted((report for view in self._live(subject).values() for report in view), key=order_of)
        return msgspec.structs.replace(inference, reports=tuple(reports))

    def inferences(self) -> list[Inference]:
        """All verdicts, by subject, without their reports."""
        return [self._inferences[subject] for subject in sorted(self._inferences)]

    def verdict(self, subject: str) -> Inference | None:
        """The verdict without its reports; None for an unknown subject."""
        return self._inferences.get(subject)

    def verdicts(self, prefix: str) -> list[Inference]:
        """The verdicts on subjects whose names begin so, in no order."""
        return [found for subject, found in self._inferences.items() if subject.startswith(prefix)]

    def __len__(self) -> int:
        """Reports held."""
        return len(self._views)

    # --- inside ----------------------------------------------------------------------------------------------------

    def _refuse(self, wrong: str) -> None:
        self.counts["refused"] += 1
        self.last_refused = wrong

    def _look_at(self, now_ns: int) -> None:
        """Takes note of the time. After a clock was set back, what is ahead of it would supersede all that comes."""
        if now_ns < self._now_ns - SET_BACK_NS:
            for subject in self._views.withdraw(now_ns + MAX_AHEAD_NS):
                self.counts["withdrawn"] += 1
                self._due[subject] = now_ns
                self._unsettled.add(subject)
        self._now_ns = now_ns

    def _wrong(self, report: Report, now_ns: int) -> str:
        if report.t_ns <= 0:
            return f"the report on {report.subject!r} has no time: set t_ns to nanoseconds since the epoch"
        if report.t_ns > now_ns + MAX_AHEAD_NS:
            ahead_s = (report.t_ns - now_ns) / NS
            return f"the report on {report.subject!r} is {ahead_s:.0f} s ahead of this node's clock: check both clocks"
        if len(report.contexts) > _SMALL and (size := len(_encoder.encode(report))) > MAX_REPORT_BYTES:
            return f"the report on {report.subject!r} has {size} bytes; at most {MAX_REPORT_BYTES}: split its contexts"
        return ""

    def _ended(self, report: Report, now_ns: int) -> bool:
        return report.t_ns + max(self.ttl_ns, report.ttl_ns) <= now_ns

    def _next_seq(self, now_ns: int) -> int:
        # Starting at the time in µs, a node that lost its disk does not use a number again; from then on by one.
        if not self._numbered:
            self._numbered = True
            self._seq = max(self._seq, now_ns // 1000)
        self._seq += 1
        return self._seq

    def _take_back(self, report: Report, now_ns: int, *, local: bool) -> bool:
        if local:
            self.advance(report.seq)
            if self.interest.allows(report.subject):
                self.interest.reported(report.subject)
        if not self.interest.wants(report.subject) or self._ended(report, now_ns) or self._wrong(report, now_ns):
            self._views.drop(report, superseded=False)
            return False
        return self._place(report, now_ns)

    def _place(self, report: Report, now_ns: int) -> bool:
        if not self._views.place(report):
            return False
        for subject in self._views.evicted:
            self._inferences.pop(subject, None)
            self._due.pop(subject, None)
        self._views.evicted.clear()
        due_ns = self._due_of(report, now_ns)
        if due_ns < self._due.get(report.subject, due_ns + 1):
            self._due[report.subject] = due_ns
        return True

    def _due_of(self, report: Report, now_ns: int) -> int:
        """When this report next changes what is inferred, or may go."""
        ends_ns = report.t_ns + (report.ttl_ns or self.ttl_ns)
        if ends_ns <= now_ns:
            return report.t_ns + self.ttl_ns
        ages_ns = report.t_ns + self.pending_ns
        if now_ns < ages_ns < ends_ns:
            for metric in report.contexts.values():
                if metric.status == Status.PENDING:
                    return ages_ns
        return ends_ns

    def _judge(self, subject: str, now_ns: int) -> Inference | None:
        """Infers, after dropping what expired; the inference if its status or one of its contexts' changed."""
        if self._due[subject] <= now_ns:
            self._views.expire(subject, now_ns)
            dues = (self._due_of(report, now_ns) for report in self._views.reports(subject))
            self._due[subject] = min(dues, default=now_ns)
        live = self._views.live(subject, now_ns)
        was = self._inferences.get(subject)
        inference = self.strategy.infer(subject, live, now_ns)
        if live:
            self._inferences[subject] = inference
            return None if was is not None and _same(was, inference) else inference
        self._inferences.pop(subject, None)
        if not any(True for _ in self._views.reports(subject)):
            self._forget(subject)
        return None if was is None else inference

    def _live(self, subject: str) -> Mapping[str, Sequence[Report]]:
        return self._views.live(subject, self._now_ns)

    def _forget(self, subject: str) -> None:
        self._views.forget(subject)
        self._inferences.pop(subject, None)
        self._due.pop(subject, None)


def _same(one: Inference, other: Inference) -> bool:
    """Whether two inferences differ in no status."""
    if one.status != other.status or one.contexts.keys() != other.contexts.keys():
        return False
    return all(verdict.status == other.contexts[context].status for context, verdict in one.contexts.items())
