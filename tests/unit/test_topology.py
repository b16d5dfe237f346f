"""What is missing of what is expected: nodes by name and by number, services, what loops, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from vagus.actors.crash_loops import ENDS, STEADY_S, WINDOW_S, crash_loops, with_end
from vagus.actors.topology import SLEPT_S, Topology
from vagus.clock import NS, ManualClock
from vagus.config import ExpectedSettings
from vagus.model import Event, Inference, Status, Verdict

ABC = ("a", "b", "c")


class Watched:
    """A topology and what it is shown: nodes that the supervisor named, verdicts, actors that loop."""

    def __init__(self, nodes: Any = ABC, services: Iterable[str] = (), node: str = "a", grace: str = "60s") -> None:
        self.clock = ManualClock()
        self.expected = ExpectedSettings(nodes=nodes, services=tuple(services), grace=grace)
        self.topology = Topology(self.expected, node, self.clock)
        self.nodes: tuple[str, ...] = ABC
        self.verdicts: dict[str, Inference] = {}
        self.looping: Mapping[str, str] = {}

    def says(self, subject: str, status: Status, context: str = "swim") -> None:
        contexts = {context: Verdict(status, 0.0, ("api@1",) if status > Status.PENDING else ())}
        self.verdicts[subject] = Inference(subject, self.clock.time_ns(), status, contexts, ("api@1",))

    def look(self) -> list[Event]:
        return self.topology.look(self.nodes, self.verdicts.get, self.looping)

    def after(self, seconds: float) -> dict[str, str]:
        """Looks every second for so long; what is missing then, and why."""
        for _ in range(round(seconds)):
            self.clock.advance(1.0)
            self.look()
        return self.why()

    def why(self) -> dict[str, str]:
        return {one.what: one.why for one in self.topology.missing}

    def begun(self) -> Watched:
        """Its grace is over."""
        assert self.after(61) == {}
        return self


def test_all_that_is_there_is_not_missed_and_without_expectations_nothing_is() -> None:
    assert Watched().begun().why() == {}
    empty = Watched(nodes=0)
    empty.nodes, empty.looping = (), {"vagus:feed@a": "it ended"}
    assert empty.after(100) == {}


def test_a_node_that_never_came_is_missed_after_the_grace_since_the_beginning() -> None:
    watched = Watched()
    began_ns = watched.clock.time_ns()
    watched.nodes = ("a", "b")
    assert watched.after(59) == {}
    assert watched.after(1) == {"node:c": "missing"}
    (missing,) = watched.topology.missing
    assert (missing.kind, missing.node, missing.since_ns) == ("node", "c", began_ns)
    assert "ray start" in missing.todo
    watched.nodes = ABC
    assert watched.after(1) == {}


def test_a_node_that_was_there_is_missed_at_once_also_within_the_grace() -> None:
    watched = Watched()
    watched.after(5)
    watched.nodes = ("a", "c")
    assert watched.after(1) == {"node:b": "missing"}
    (missing,) = watched.topology.missing
    assert missing.since_ns == watched.clock.time_ns()
    assert missing.error == "it left the cluster"


@pytest.mark.parametrize("context", ["swim", "ray"])
def test_a_node_that_its_peers_or_ray_call_dead_is_dead_though_the_last_news_names_it(context: str) -> None:
    watched = Watched().begun()
    watched.says("node:b", Status.DEAD, context)
    assert watched.after(1) == {"node:b": "dead"}
    assert "vagus health node:b" in watched.topology.missing[0].todo
    watched.says("node:b", Status.HEALTHY, context)
    assert watched.after(1) == {}


@pytest.mark.parametrize(
    ("status", "context"), [(Status.MAYBE_UNHEALTHY, "swim"), (Status.UNHEALTHY, "memory_pressure"), (Status.DEAD, "x")]
)
def test_a_node_that_is_suspected_or_under_load_is_there(status: Status, context: str) -> None:
    watched = Watched().begun()
    watched.says("node:b", status, context)
    assert watched.after(5) == {}


def test_a_node_never_misses_itself() -> None:
    watched = Watched().begun()
    watched.says("node:a", Status.DEAD)
    watched.nodes = ()
    assert watched.after(1) == {"node:b": "missing", "node:c": "missing"}


def test_old_reports_of_a_death_do_not_count_before_the_grace_is_over() -> None:
    watched = Watched()
    watched.says("node:b", Status.DEAD)
    assert watched.after(59) == {}
    assert watched.after(2) == {"node:b": "dead"}


def test_a_second_ray_node_of_a_host_stands_in_for_the_first_and_a_renamed_one_is_named() -> None:
    watched = Watched().begun()
    watched.nodes = ("a", "b-3fa2b1", "c")
    assert watched.after(1) == {}
    watched.nodes = ("a", "b-3fa2b1", "worker")
    assert watched.after(1) == {"node:c": "missing"}
    assert "worker is there and not expected: was it renamed?" in watched.topology.missing[0].error


def test_by_number_any_will_do_and_those_that_were_lost_are_named() -> None:
    watched = Watched(nodes=3).begun()
    watched.nodes = ("a", "b", "x", "c")
    watched.after(1)
    watched.nodes = ("a", "b", "x")
    assert watched.after(1) == {}
    watched.nodes = ("a", "b")
    assert watched.after(1) == {"node:x": "missing"}  # the latest that was lost
    watched.nodes = ("a",)
    assert watched.after(1) == {"node:b": "missing", "node:x": "missing"}
    watched.nodes = ("a", "y", "z")
    assert watched.after(1) == {}


def test_by_number_those_whose_names_nobody_knows_are_counted() -> None:
    watched = Watched(nodes=5)
    watched.nodes = ("a", "b")
    assert watched.after(59) == {}
    assert watched.after(1) == {"nodes": "missing"}
    assert watched.topology.missing[0].error == "2 of 5 nodes are there: a, b"
    watched.says("node:b", Status.DEAD)
    assert watched.after(1) == {"nodes": "missing", "node:b": "dead"}


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (Status.HEALTHY, None),
        (Status.PENDING, None),
        (Status.MAYBE_UNHEALTHY, None),
        (Status.UNHEALTHY, "unhealthy"),
        (Status.DYING, "dead"),
        (Status.DEAD, "dead"),
        (Status.NA, "missing"),
    ],
)
def test_a_service_is_as_its_verdict_says(status: Status, why: str | None) -> None:
    watched = Watched(nodes=0, services=["web"])
    watched.says("web", Status.HEALTHY)
    watched.begun()
    watched.says("web", status, "read")
    assert watched.after(1) == ({"web": why} if why else {})
    if status >= Status.UNHEALTHY:
        assert watched.topology.missing[0].error == f"read: {status}, says api@1"


def test_a_service_that_nobody_ever_reported_on_is_missed_after_the_grace() -> None:
    watched = Watched(nodes=0, services=["web", "service:pay"])
    watched.says("service:web", Status.HEALTHY)  # as collect.heartbeats reports
    assert watched.after(59) == {}
    assert watched.after(2) == {"service:pay": "missing"}
    watched.says("web", Status.UNHEALTHY)  # the worse of both counts
    assert watched.after(1) == {"service:pay": "missing", "web": "unhealthy"}


def test_what_falls_again_and_again_is_missed_until_it_stays_up() -> None:
    watched = Watched(services=["web"])
    watched.says("web", Status.HEALTHY)
    watched.begun()
    for _ in range(ENDS):
        for subject in ("web", "node:b"):
            watched.says(subject, Status.DEAD)
        assert watched.after(2) == {"web": "dead", "node:b": "dead"}
        for subject in ("web", "node:b"):
            watched.says(subject, Status.HEALTHY)
        last = watched.after(2)
    assert last == {"web": "crash-looping", "node:b": "crash-looping"}
    assert {one.error for one in watched.topology.missing} == {"down 3 times within 5 minutes"}
    assert set(watched.after(STEADY_S - 3)) == {"web", "node:b"}
    assert watched.after(2) == {}


def test_an_actor_that_crash_loops_is_missed_as_long_as_the_supervisor_says_so() -> None:
    watched = Watched().begun()
    watched.looping = {"vagus:feed@b": "it ended 4 times within 5 minutes"}
    assert watched.after(1) == {"vagus:feed@b": "crash-looping"}
    (missing,) = watched.topology.missing
    assert (missing.kind, missing.node, missing.error) == ("actor", "b", "it ended 4 times within 5 minutes")
    watched.looping = {}
    assert watched.after(1) == {}


def test_each_thing_is_told_once_by_one_node_and_that_all_is_there_again() -> None:
    told: list[tuple[str, str]] = []
    watching = {name: Watched(node=name).begun() for name in ABC}
    for nodes in (("a", "b"), ("a",), ("a", "b"), ABC, ABC):
        for name, watched in list(watching.items()):
            if name not in nodes:
                watching[name] = Watched(node=name)  # another process, once it is back
            else:
                watched.clock.advance(1.0)
                watched.nodes = nodes
                told += [(e.event, str(e.fields.get("subject", e.fields.get("was")))) for e in watched.look()]
    assert told[:2] == [("topology.missing", "node:c"), ("topology.missing", "node:b")]
    assert told[2:-1] in ([], [("topology.missing", "node:c")]), "again, if b was to tell it, and fell itself"
    assert told[-1] == ("topology.complete", "node:c")


def test_what_falls_with_the_one_who_was_to_tell_it_is_told_by_another() -> None:
    names = tuple(f"n{number}" for number in range(6))
    for first in names:
        for second in set(names) - {first}:
            told: list[str] = []
            watching = {name: Watched(nodes=names, node=name) for name in names if name not in (first, second)}
            for watched in watching.values():
                watched.nodes = names
                assert watched.after(61) == {}
            for gone in ({first}, {first, second}, {first, second}):
                for watched in watching.values():
                    watched.clock.advance(1.0)
                    watched.nodes = tuple(name for name in names if name not in gone)
                    told += [str(event.fields["subject"]) for event in watched.look()]
            assert sorted(told) == sorted((f"node:{first}", f"node:{second}"))


@pytest.mark.parametrize("grace", ["0s", "60s"])
@pytest.mark.parametrize("gone", ABC)
def test_also_in_the_first_minute_one_that_was_there_tells_that_all_is_there_again(gone: str, grace: str) -> None:
    told: list[str] = []
    watching = {name: Watched(node=name, grace=grace) for name in ABC}
    for second in range(100):
        if second == 20:
            watching[gone] = Watched(node=gone, grace=grace)  # it is back, and knows of nothing
        for name, watched in watching.items():
            away = 10 <= second < 20
            if not (away and name == gone):
                watched.clock.advance(1.0)
                watched.nodes = tuple(set(ABC) - {gone}) if away else ABC
                told += [event.event for event in watched.look()]
    assert told == ["topology.missing", "topology.complete"]


def test_a_restart_forgets_nothing_that_is_missing_and_tells_it_not_again() -> None:
    watched = Watched(nodes=0, services=["web"], node="a")
    watched.nodes = ("a",)
    watched.says("web", Status.HEALTHY)
    watched.begun()
    watched.says("web", Status.DEAD)
    watched.after(10)
    since_ns = watched.topology.missing[0].since_ns
    again = Topology(watched.expected, "a", watched.clock)
    again.restore(watched.topology.state())
    watched.clock.advance(1.0)
    assert again.look(("a",), {}.get, {}) == []  # not even a report is left
    assert [(one.what, one.since_ns) for one in again.missing] == [("web", since_ns)]
    watched.clock.advance(1.0)
    watched.says("web", Status.HEALTHY)
    (event,) = again.look(("a",), watched.verdicts.get, {})
    assert (event.event, event.fields["was"]) == ("topology.complete", "web")
    assert event.fields["after_s"] == pytest.approx((watched.clock.time_ns() - since_ns) / NS)


def test_by_number_a_restart_still_knows_who_is_missing() -> None:
    watched = Watched(nodes=3).begun()
    watched.nodes = ("a", "b")
    assert watched.after(1) == {"node:c": "missing"}
    again = Topology(watched.expected, "a", watched.clock)
    again.restore(watched.topology.state())
    assert again.look(("a", "b"), {}.get, {}) == [], "no false all-clear, and nothing told twice"
    assert [one.what for one in again.missing] == ["node:c"]


@pytest.mark.parametrize("packed", [None, b"", b"\xc1", b"\x92\x01\x02", b"\x81\x01\x02"])
def test_a_state_that_cannot_be_read_counts_as_nothing(packed: bytes | None) -> None:
    watched = Watched()
    watched.topology.restore(packed)
    watched.nodes = ("a", "b")
    assert watched.after(59) == {}


def test_who_was_stopped_for_long_begins_anew() -> None:
    watched = Watched(nodes=0, services=["web", "db"])
    watched.says("web", Status.HEALTHY)
    watched.says("db", Status.HEALTHY)
    watched.begun()
    del watched.verdicts["db"]
    watched.after(1)
    watched.clock.advance(SLEPT_S + 400)
    watched.verdicts.clear()  # all reports have expired meanwhile
    watched.look()
    assert watched.why() == {"db": "missing"}  # known before
    assert watched.after(58) == {"db": "missing"}
    assert watched.after(3) == {"db": "missing", "web": "missing"}


def test_crash_loops_by_the_clock() -> None:
    ends: tuple[float, ...] = ()
    for at in (0.0, 10.0):
        ends = with_end(ends, at)
    assert not crash_loops(ends, None, 11.0)
    ends = with_end(ends, 20.0)
    assert crash_loops(ends, None, 21.0)
    assert crash_loops(ends, 22.0, 22.0 + STEADY_S - 1)
    assert not crash_loops(ends, 22.0, 22.0 + STEADY_S)
    assert not crash_loops(ends, None, WINDOW_S + 1)  # the first of them is too long ago
    assert with_end(ends, WINDOW_S + 15) == (20.0, WINDOW_S + 15)
    for at in range(1000):
        ends = with_end(ends, float(at))
    assert len(ends) == 100
