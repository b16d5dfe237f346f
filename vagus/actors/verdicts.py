"""What becomes of a changed verdict: events that say what changed, a record with the evidence, and who is told."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from typing import NamedTuple

import msgspec

from vagus.actors.keeping import Kept
from vagus.model import Event, Inference, Level, Report, Scalar, Status

MAX_SUBJECTS = 20_000
MAX_EVIDENCE = 20
"""Reports kept with a changed verdict: the newest of each accuser."""
MAX_EVIDENCE_BYTES = 32 << 10
MAX_TOLD = 500
"""Characters of names in one field of an event."""

Views = Callable[[str], "dict[str, tuple[Report, ...]]"]
Changed = Callable[[Inference, Status], None]

_encode = msgspec.msgpack.Encoder().encode


class Change(NamedTuple):
    """A verdict that changed: the inference with its evidence, the subject's status before, what is told of it."""

    inference: Inference
    was: Status
    events: tuple[Event, ...]

    def kept(self) -> list[Kept]:
        """Its record: the inference with its evidence (kind "inference"); events go the way of all events."""
        return [Kept("inference", self.inference, self.inference.t_ns, {"subject": self.inference.subject})]


def kept_event(event: Event) -> Kept:
    """An event's record in the observer's own store, where no collector took it."""
    subject = event.fields.get("subject")
    return Kept("event", event, event.t_ns, {"event": event.event, **({"subject": str(subject)} if subject else {})})


class _Known(NamedTuple):
    status: Status
    contexts: dict[str, Status]


class Verdicts:
    """Compares each verdict with the one before. `views`: a subject's reports by observer.

    The seam for whoever acts on verdicts: callbacks in `changed` get each (Inference, was), the inference with the
    accusers' newest reports, `was` the subject's status before (equal to its status when only contexts changed);
    those in `told` get each event. What they raise goes to `failed`.

    Event `health.changed`: `was` and `status` never are the same. Without `context` it is about the subject as a
    whole, and `contexts` names those that changed with it; with `context` only that context changed, and `verdict`,
    which all have, is the subject's status, which stayed. `accusers`: of the subject, or of the context.
    """

    def __init__(self, node: str, source: str, views: Views, failed: Callable[[str, BaseException], None]) -> None:
        self.node = node
        self.source = source
        self.changed: list[Changed] = []
        self.told: list[Callable[[Event], None]] = []
        self._views = views
        self._failed = failed
        self._known: dict[str, _Known] = {}  # the longest unchanged first

    def restore(self, inferences: Iterable[Inference]) -> None:
        """Takes what was told before a restart as known: it is no change."""
        for inference in inferences:
            self._known[inference.subject] = _known(inference)

    def keep_only(self, subjects: Container[str]) -> None:
        """Forgets the others: whatever is said of them next is new."""
        for subject in [subject for subject in self._known if subject not in subjects]:
            del self._known[subject]

    def note(self, inference: Inference) -> Change | None:
        """Tells of a verdict that may have changed; None when nothing has that anybody was told."""
        before = self._known.pop(inference.subject, _NOTHING)
        now = _known(inference)
        if inference.observers:  # else it is told once more, as NA, and forgotten
            self._known[inference.subject] = now
            if len(self._known) > MAX_SUBJECTS:
                del self._known[next(iter(self._known))]
        events = self._events(inference, before, now)
        if not events:
            return None
        accusers = sorted({name for verdict in inference.contexts.values() for name in verdict.accusers})
        evidence = _evidence(self._views(inference.subject), accusers)
        change = Change(msgspec.structs.replace(inference, reports=evidence), before.status, events)
        for tell in list(self.changed):
            try:
                tell(change.inference, change.was)
            except Exception as error:
                self._failed("verdict", error)
        for event in events:
            for told in list(self.told):
                try:
                    told(event)
                except Exception as error:
                    self._failed("subscriber", error)
        return change

    def _events(self, inference: Inference, before: _Known, now: _Known) -> tuple[Event, ...]:
        moved = sorted(
            context
            for context in before.contexts.keys() | now.contexts.keys()
            if before.contexts.get(context, Status.NA) != now.contexts.get(context, Status.NA)
        )
        if before.status != now.status:
            accusers = {name for verdict in inference.contexts.values() for name in verdict.accusers}
            fields = {"contexts": _joined(moved), "accusers": _joined(accusers)}
            return (self._event(inference, before.status, now.status, fields),)
        events = []
        for context in moved:
            was, status = before.contexts.get(context, Status.NA), now.contexts.get(context, Status.NA)
            verdict = inference.contexts.get(context)
            accusers = set(verdict.accusers if verdict else ())
            fields = {"context": context, "accusers": _joined(accusers)}
            events.append(self._event(inference, was, status, fields))
        return tuple(events)

    def _event(self, inference: Inference, was: Status, status: Status, more: dict[str, str]) -> Event:
        fields: dict[str, Scalar] = {
            "subject": inference.subject,
            "status": status.name,
            "was": was.name,
            "verdict": inference.status.name,
            **more,
        }
        level = Level.WARNING if status > Status.PENDING else Level.INFO
        return Event(inference.t_ns, "health.changed", self.node, level, self.source, fields)


_NOTHING = _Known(Status.NA, {})


def _known(inference: Inference) -> _Known:
    return _Known(inference.status, {context: verdict.status for context, verdict in inference.contexts.items()})


def _joined(names: Iterable[str]) -> str:
    text = ",".join(sorted(names))
    return text if len(text) <= MAX_TOLD else text[: MAX_TOLD - 1] + "…"


def _evidence(views: dict[str, tuple[Report, ...]], accusers: Sequence[str]) -> tuple[Report, ...]:
    """The newest report of each accuser, oldest first, bounded in number and bytes; the newest ones are preferred."""
    newest = sorted((_accusing(views[name]) for name in accusers if views.get(name)), key=_age, reverse=True)
    kept: list[Report] = []
    size = 0
    for report in newest[:MAX_EVIDENCE]:
        size += len(_encode(report))
        if kept and size > MAX_EVIDENCE_BYTES:
            break
        kept.append(report)
    return tuple(reversed(kept))


def _accusing(view: Sequence[Report]) -> Report:
    """The newest report of a view that accuses; the newest at all when it is one that waits too long."""
    bad = (report for report in reversed(view) if any(m.status > Status.PENDING for m in report.contexts.values()))
    return next(bad, view[-1])


def _age(report: Report) -> tuple[int, str, int]:
    return report.t_ns, report.origin, report.seq
