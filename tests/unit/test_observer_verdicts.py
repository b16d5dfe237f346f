"""Events and records of changed verdicts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from vagus.actors import verdicts
from vagus.actors.verdicts import MAX_EVIDENCE, MAX_EVIDENCE_BYTES, MAX_TOLD, Verdicts, kept_event
from vagus.model import Event, Inference, Level, Metric, Report, Status, Verdict

H, M, U, D, NA = Status.HEALTHY, Status.MAYBE_UNHEALTHY, Status.UNHEALTHY, Status.DEAD, Status.NA


class Told:
    """Verdicts with somebody who listens."""

    def __init__(self, views: dict[str, tuple[Report, ...]] | None = None) -> None:
        self.errors: list[BaseException] = []
        self.verdicts = Verdicts("n1", "vagus:observer@n1", lambda _: views or {}, self._failed)
        self.events: list[Event] = []
        self.changes: list[tuple[Inference, Status]] = []
        self.verdicts.told.append(self.events.append)
        self.verdicts.changed.append(lambda inference, was: self.changes.append((inference, was)))

    def _failed(self, where: str, error: BaseException) -> None:
        self.errors.append(error)

    def note(self, status: Status, subject: str = "db", **contexts: Status) -> Any:
        return self.verdicts.note(inference(status, subject, **contexts))


def inference(status: Status, subject: str = "db", **contexts: Status) -> Inference:
    made = {
        context: Verdict(s, 1.0, (f"accuser of {context}",) if s > Status.PENDING else ())
        for context, s in contexts.items()
    }
    return Inference(subject, 10**18, status, made, ("a",) if contexts else ())


def said(observer: str, status: Status, t_ns: int, **more: Status) -> Report:
    return Report(observer, "db", t_ns, {"read": Metric(status), **{name: Metric(s) for name, s in more.items()}})


def test_the_subjects_own_change_names_the_contexts_that_changed() -> None:
    told = Told()
    told.note(H, read=H, write=H)
    told.note(U, read=U, write=H)
    assert [(e.fields["was"], e.fields["status"], e.fields["contexts"]) for e in told.events] == [
        ("NA", "HEALTHY", "read,write"),
        ("HEALTHY", "UNHEALTHY", "read"),
    ]
    assert [e.level for e in told.events] == [Level.INFO, Level.WARNING]
    assert told.events[1].fields["accusers"] == "accuser of read"
    assert "context" not in told.events[1].fields
    assert [(was, change.status) for change, was in told.changes] == [(NA, H), (H, U)]


def test_no_event_ever_says_that_healthy_was_healthy() -> None:
    told = Told()
    told.note(H, read=H)
    told.note(H, read=H, write=H)  # a new context, the subject is as it was
    told.note(U, read=H, write=U)
    told.note(U, read=U, write=U)
    told.note(U, read=U, write=H)  # one recovers, the subject has not
    told.note(U, read=U, write=H)
    told.note(H, read=H)
    assert all(e.fields["was"] != e.fields["status"] for e in told.events)
    of_contexts = [
        (e.fields["context"], e.fields["was"], e.fields["status"], e.fields["verdict"], e.fields["accusers"])
        for e in told.events
        if "context" in e.fields
    ]
    assert of_contexts == [
        ("write", "NA", "HEALTHY", "HEALTHY", ""),
        ("read", "HEALTHY", "UNHEALTHY", "UNHEALTHY", "accuser of read"),
        ("write", "UNHEALTHY", "HEALTHY", "UNHEALTHY", ""),
    ]
    assert [e.fields["verdict"] for e in told.events if "context" not in e.fields] == [
        "HEALTHY",
        "UNHEALTHY",
        "HEALTHY",
    ]
    assert told.changes[-2][1] is U, "a callback is told of changed contexts too: was equals status"


def test_several_contexts_that_change_alone_are_an_event_each() -> None:
    told = Told()
    told.note(D, host=D, read=H, write=M)
    told.note(D, host=D, read=M, write=H, disk=U)
    assert [e.fields["context"] for e in told.events[1:]] == ["disk", "read", "write"]


def test_what_did_not_change_is_not_told() -> None:
    told = Told()
    assert told.note(H, read=H) is not None
    assert told.note(H, read=H) is None
    assert len(told.events) == len(told.changes) == 1


def test_a_forgotten_subject_is_told_as_na_once_and_new_afterwards() -> None:
    told = Told()
    told.note(U, read=U)
    told.note(NA)
    told.note(U, read=U)
    assert [(e.fields["was"], e.fields["status"]) for e in told.events] == [
        ("NA", "UNHEALTHY"),
        ("UNHEALTHY", "NA"),
        ("NA", "UNHEALTHY"),
    ]


def test_after_a_restart_what_was_known_is_no_change() -> None:
    told = Told()
    told.verdicts.restore([inference(U, read=U)])
    assert told.note(U, read=U) is None
    told.verdicts.keep_only(())
    assert told.note(U, read=U) is not None


def test_defect_no_causality_now_the_record_has_the_accusers_newest_evidence() -> None:
    views = {
        "accuser of read": (
            said("accuser of read", U, 1),
            said("accuser of read", U, 5),
            said("accuser of read", H, 9),
        ),
        "bystander": (said("bystander", H, 7),),
    }
    told = Told(views)
    change = told.note(U, read=U)
    (record,) = change.kept()
    event = kept_event(told.events[0])
    assert (event.kind, event.record, event.pairs["subject"]) == ("event", told.events[0], "db")
    assert (record.kind, record.pairs) == ("inference", {"subject": "db"})
    assert [(r.observer, r.t_ns) for r in record.record.reports] == [("accuser of read", 5)]
    assert told.changes[0][0] == record.record


def test_evidence_is_bounded_in_number_and_bytes() -> None:
    names = [f"observer {n:03}" for n in range(100)]
    many = Inference("db", 10**18, U, {"read": Verdict(U, 1.0, tuple(names))}, tuple(names))
    told = Told({name: (said(name, U, n),) for n, name in enumerate(names)})
    change = told.verdicts.note(many)
    assert change is not None
    assert [r.t_ns for r in change.inference.reports] == list(range(100 - MAX_EVIDENCE, 100))
    assert len(str(change.events[0].fields["accusers"])) == MAX_TOLD
    large = {f"{n:03}" + "x" * 150: U for n in range(90)}
    told = Told({name: (said(name, U, n, **large),) for n, name in enumerate(names)})
    change = told.verdicts.note(many)
    assert change is not None
    assert 1 < len(change.inference.reports) < 3
    assert len(msgspec.msgpack.encode(change.inference.reports)) <= MAX_EVIDENCE_BYTES + 100


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "MAX_SUBJECTS", 10)
    told = Told()
    for n in range(30):
        told.note(H, f"s{n}", read=H)
    assert len(told.verdicts._known) == 10


def test_one_who_listens_and_fails_is_counted_and_the_others_are_told() -> None:
    told = Told()
    told.verdicts.changed.insert(0, lambda inference, was: 1 / 0)  # type: ignore[arg-type]
    told.verdicts.told.insert(0, lambda event: 1 / 0)  # type: ignore[arg-type]
    assert told.note(U, read=U) is not None
    assert len(told.events) == len(told.changes) == 1
    assert [type(error) for error in told.errors] == [ZeroDivisionError] * 2
