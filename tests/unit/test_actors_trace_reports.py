"""From rankings to reports: accusations, recoveries, objectives, evidence, injections as labels."""

from __future__ import annotations

import json

import pytest

from vagus.actors.trace_entries import MAX_ENTRIES, Entries, Entry
from vagus.actors.trace_labels import MAX_OPEN, Label, Labels
from vagus.actors.trace_reports import MAX_ACCUSED, Reports, accused, event_of, lines_of
from vagus.controllers.localise import Ranking, Suspect
from vagus.errors import ConfigError
from vagus.model import Event, Level, Metric, Span, Status
from vagus.traces import Graph

NS = 10**9
T = 1_700_000_000 * NS


def ranking(*suspects: Suspect, slow: bool = True, t_ns: int = T) -> Ranking:
    return Ranking(t_ns, suspects, 50, slow, 20.0, 90.0, 10.0, 15.0)


def said(reports) -> dict[str, dict[str, tuple[Status, float]]]:
    return {r.subject: {c: (m.status, m.score) for c, m in r.contexts.items()} for r in reports}


CART = Suspect("cart", 0.8, {"excess_ms": 40.0, "ri": 0.9}, "cpu", "adds 40 ms")
WEB = Suspect("web", 0.1, {"excess_ms": 5.0})


def test_the_first_is_accused_with_its_resource_and_recovers() -> None:
    reports = Reports("localise@n1", 30 * NS)
    (report,) = reports.of(ranking(CART, WEB), (), T)
    assert (report.observer, report.subject, report.ttl_ns) == ("localise@n1", "cart", 30 * NS)
    assert report.contexts == {
        "latency": Metric(Status.UNHEALTHY, 40.0),
        "cpu": Metric(Status.UNHEALTHY, 40.0),
    }
    assert reports.subjects == ("cart",)
    assert said(reports.of(ranking(slow=False), (), T)) == {
        "cart": {"latency": (Status.HEALTHY, 0.0), "cpu": (Status.HEALTHY, 0.0)}
    }
    assert reports.of(ranking(slow=False), (), T) == []
    assert reports.subjects == ()


def test_another_resource_takes_the_first_one_back() -> None:
    reports = Reports("o", NS)
    reports.of(ranking(CART), (), T)
    found = said(reports.of(ranking(Suspect("cart", 0.8, {}, "disk")), (), T))["cart"]
    assert {context: status for context, (status, _) in found.items()} == {
        "latency": Status.UNHEALTHY,
        "disk": Status.UNHEALTHY,
        "cpu": Status.HEALTHY,
    }


@pytest.mark.parametrize(
    ("suspects", "names"),
    [
        ((CART, WEB), ["cart"]),
        ((CART, Suspect("web", 0.3)), ["cart", "web"]),
        ((CART, Suspect("web", 0.3, probability=0.1), Suspect("db", 0.01, probability=0.9)), ["cart", "db"]),
        (tuple(Suspect(f"c{i}", 0.5) for i in range(9)), ["c0", "c1", "c2", "c3", "c4"]),
        ((), []),
    ],
)
def test_who_shares_the_blame(suspects: tuple[Suspect, ...], names: list[str]) -> None:
    assert [s.component for s in accused(ranking(*suspects))] == names
    assert accused(ranking(*suspects, slow=False)) == ()


def test_names_and_numbers_from_outside_do_no_harm() -> None:
    reports = Reports("o", NS)
    odd = Suspect("x\n" + "y" * 300, float("nan"), {"excess_ms": float("inf")}, "cpu")
    (report,) = reports.of(ranking(odd), (), T)
    assert len(report.subject) == 200
    assert report.contexts["latency"].score == 0.0
    assert json.loads(str(event_of(ranking(odd), "n", "s").fields["evidence"]))[0]["score"] is None


def test_an_objective_that_is_violated_is_said_of_the_entry() -> None:
    reports = Reports("o", NS)
    bad, good = Entry("web", "GET /", 50, 250.0, True), Entry("web", "GET /", 50, 50.0, False)
    assert said(reports.of(ranking(slow=False), [bad], T)) == {"entry:web GET /": {"slo": (Status.UNHEALTHY, 250.0)}}
    assert reports.of(ranking(slow=False), [], T) == []  # too few requests: nothing is known
    assert said(reports.of(ranking(slow=False), [good], T)) == {"entry:web GET /": {"slo": (Status.HEALTHY, 0.0)}}


def test_memory_of_accusations_is_bounded_and_saved() -> None:
    reports = Reports("o", NS)
    for i in range(MAX_ACCUSED + 10):
        reports._accused[f"s{i}"] = {"latency"}
    reports.of(ranking(CART), (), T)
    assert len(reports.subjects) <= MAX_ACCUSED
    reports = Reports("o", NS)
    reports.of(ranking(CART), (), T)
    other = Reports("o", NS)
    other.restore(json.loads(json.dumps(reports.state())))
    assert "cart" in said(other.of(ranking(slow=False), (), T))
    with pytest.raises(ConfigError, match="accusations"):
        other.restore({"a": 5})


def test_the_event_has_the_evidence() -> None:
    event = event_of(ranking(CART, WEB), "n1", "vagus:traces@n1")
    assert (event.event, event.level, event.t_ns) == ("localise.ranked", Level.WARNING, T)
    assert event.fields["component"] == "cart"
    assert event.fields["resource"] == "cpu"
    assert json.loads(str(event.fields["evidence"]))[0]["features"] == {"excess_ms": 40.0, "ri": 0.9}
    many = tuple(Suspect(f"c{i}", 0.5, {f"feature{j}": 1.0 for j in range(100)}) for i in range(9))
    assert len(str(event_of(ranking(*many), "n1", "s").fields["evidence"])) <= 4000


def test_lines_for_people() -> None:
    assert list(lines_of(ranking(CART))) == ["slow because of cart (cpu), 80 % of what requests lost: adds 40 ms"]
    assert list(lines_of(ranking(Suspect("db", 0.5, {})))) == ["slow because of db, 50 % of what requests lost"]
    assert list(lines_of(ranking(CART, slow=False))) == list(lines_of(None)) == []


# --- entries ---------------------------------------------------------------------------------------------------------


def request(latency_ms: float, operation: str = "GET /") -> Graph:
    span = Span("t", "s", "", "web", "web-1", operation, T, T + round(latency_ms * 1e6))
    return Graph("t", (span,), (-1,), 0)


def test_an_entry_is_judged_by_its_tail_once_there_are_enough() -> None:
    entries = Entries(100.0, 60 * NS, 20)
    entries.add([request(50.0)] * 19, T)
    assert entries.judged(T) == []
    entries.add([request(50.0)], T)
    assert entries.judged(T) == [Entry("web", "GET /", 20, 50.0, False)]
    entries.add([request(200.0)], T)
    assert entries.judged(T)[0].violated
    assert entries.judged(T + 61 * NS) == []
    assert not entries._seen


def test_entries_are_bounded_and_off_without_an_objective() -> None:
    entries = Entries(100.0, 60 * NS, 2)
    entries.add([request(1.0, f"GET /{i}") for i in range(MAX_ENTRIES + 50)], T)
    assert len(entries._seen) == MAX_ENTRIES
    off = Entries(0.0, 60 * NS, 2)
    off.add([request(1.0)] * 5, T)
    assert off.judged(T) == []


# --- labels ----------------------------------------------------------------------------------------------------------


def injected(name: str, at_s: float, **fields) -> Event:
    return Event(T + round(at_s * NS), name, "n1", fields={"id": "i1", "resource": "cpu", **fields})


def test_an_injection_is_a_label_once_it_ends() -> None:
    labels = Labels({})
    assert labels.hear(injected("inject.begin", 0, component="cart", duration_s=10.0)) is None
    assert labels.hear(injected("inject.end", 10, component="cart")) == Label("cart", "cpu", T, T + 10 * NS)
    # the begin was not heard
    assert labels.hear(injected("inject.end", 10, component="cart", duration_s=4.0)) == Label(
        "cart", "cpu", T + 6 * NS, T + 10 * NS
    )


def test_an_injection_into_what_a_component_runs_in_is_its_label() -> None:
    labels = Labels({"cart": "cgroup:shop/cart"})
    labels.hear(injected("inject.begin", 0, target="cgroup:shop/cart"))
    found = labels.hear(injected("inject.end", 5, target="cgroup:shop/cart"))
    assert found is not None
    assert found.component == "cart"
    assert labels.hear(injected("inject.end", 5, target="cgroup:other", duration_s=5)) is None


@pytest.mark.parametrize("fields", [{}, {"component": "c"}, {"component": "c", "duration_s": "x"}, {"duration_s": -1}])
def test_what_cannot_be_a_label_is_none(fields) -> None:
    assert Labels({}).hear(injected("inject.end", 10, **fields)) is None
    assert Labels({}).hear(injected("inject.other", 10, **fields)) is None


def test_open_injections_are_bounded() -> None:
    labels = Labels({})
    for i in range(MAX_OPEN + 5):
        labels.hear(injected("inject.begin", 0, id=str(i)))
    assert len(labels._begun) == MAX_OPEN
