"""Following a controller: each record once, its own alone; when it counts as started, and when it is given up."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest
from cli_gateway import NOW_NS, NS, RECEIPT, Gateway, node_status, serve
from msgspec.structs import replace

from vagus.cli.asked_to_end import asked_to_end
from vagus.cli.run_follow import STARTED_WITHIN_S, Follower, Fresh, Health
from vagus.client.connection import Connection
from vagus.model import ActorStatus, Event, Level
from vagus.store.events import question

A, B = "vagus:controller:mine@a", "vagus:controller:mine@b"


@pytest.fixture(autouse=True)
def _now() -> None:
    """Records of now, and not of when this file was read: that may be minutes ago."""
    global NOW_NS
    NOW_NS = time.time_ns()


def receipt(t_ns: int, controller: str = "mine", **more: object):
    return replace(RECEIPT, t_ns=t_ns, controller=controller, **more)


def event(t_ns: int, name: str, source: str, **fields: object) -> Event:
    return Event(t_ns, name, "a", Level.INFO, source, fields)


# --- each once --------------------------------------------------------------------------------------------------------


def test_of_spans_that_overlap_each_record_comes_once_and_in_order():
    fresh = Fresh()
    first = [receipt(n * NS) for n in (3, 1, 2)]
    assert [r.t_ns // NS for r in fresh.of(first)] == [1, 2, 3]
    twin = receipt(3 * NS, resource="memory_bytes")
    late = receipt(2 * NS + 1)
    assert fresh.of([*first, twin, late]) == [late, twin]
    fresh.forget(3 * NS)
    assert fresh.of([receipt(3 * NS), twin]) == []
    assert len(fresh.of(first)) == 2, "what was forgotten must not be asked for any more"


class Records(Gateway):
    """Answers /v1/records as a gateway does: what the question means, newest first."""

    down = False

    def answer(self, path: str, params: dict[str, str]) -> tuple[int, str, bytes]:
        if self.down:
            return 503, "application/json", b'{"error":{"code":"down","message":"it is down","where":"","hint":""}}'
        envelope = {"partial": False, "missing": []}
        if path == "/v1/status":
            body = {**envelope, "nodes": self.answers[path]["nodes"]}
            return 200, "application/msgpack", msgspec.msgpack.encode(body)
        assert path == "/v1/records"
        found = list(self.records[params["kind"]])
        if params["kind"] == "event":
            asked = question(where=[params["where"]] if "where" in params else [])
            found = [e for e in found if asked.accepts(e)]
        newest = sorted(found, key=lambda r: -r.t_ns)[: int(params["limit"])]
        return 200, "application/msgpack", msgspec.msgpack.encode({**envelope, "records": newest})


@pytest.fixture
def gateway() -> Iterator[Records]:
    with serve(Records()) as served:
        served.records = {"event": [], "receipt": []}
        yield served


@pytest.fixture
def follower(gateway: Records) -> Iterator[Follower]:
    made = Follower(lambda: Connection(gateway.url, "secret", timeout_s=5.0), "mine")
    yield made
    made.close()


def test_its_own_records_are_followed_and_nobody_elses(gateway: Records, follower: Follower):
    gateway.records["receipt"] = [receipt(NOW_NS), receipt(NOW_NS + 1, "other")]
    gateway.records["event"] = [
        event(NOW_NS + 2, "controller.armed", "mine"),
        event(NOW_NS + 3, "actor.died", "vagus:supervisor", actor=B),
        event(NOW_NS + 4, "controller.armed", "mine2"),
        event(NOW_NS + 5, "actor.died", "vagus:supervisor", actor="vagus:controller:mine2@b"),
        event(NOW_NS + 6, "actor.died", "mine", actor=A),  # an answer to both questions
    ]
    assert [r.t_ns - NOW_NS for r in follower.look()] == [0, 2, 3, 6]
    gateway.records["receipt"].append(receipt(NOW_NS + 7))
    assert [r.t_ns - NOW_NS for r in follower.look()] == [7]
    assert follower.look() == []
    assert {asked[2].get("node", "") for asked in gateway.asked} == {""}
    follower.at("b")
    follower.look()
    assert [asked[2]["node"] for asked in gateway.asked[-3:]] == ["b"] * 3


def test_what_happened_while_the_gateway_was_away_comes_afterwards(gateway: Records, follower: Follower):
    gateway.records["receipt"] = [receipt(NOW_NS)]
    assert len(follower.look()) == 1
    gateway.down = True
    gateway.records["receipt"].append(receipt(NOW_NS + 1))
    assert follower.look() == []
    assert "it is down" in follower.trouble
    assert follower.failures(100.0) == []
    gateway.down = False
    assert [r.t_ns - NOW_NS for r in follower.look()] == [1]
    assert follower.trouble == ""


def test_more_than_a_look_takes_is_known(gateway: Records, follower: Follower):
    gateway.records["receipt"] = [receipt(NOW_NS + n) for n in range(1001)]
    assert len(follower.look()) == 1000
    assert follower.more
    gateway.records["receipt"] = []
    follower.look()
    assert not follower.more


def test_why_steps_fail_is_said_once_a_reason(gateway: Records, follower: Follower):
    def failing(text: str) -> None:
        ours = ActorStatus(A, "controller", "a", "HEALTHY", last_error=text)
        others = ActorStatus("vagus:controller:mine2@a", "controller", "a", "HEALTHY", last_error="not ours")
        gateway.answers["/v1/status"] = {"nodes": [replace(node_status(), actors=(ours, others))]}

    failing("step: ZeroDivisionError")
    assert follower.failures(100.0) == ["at a: step: ZeroDivisionError"]
    failing("step: KeyError")
    assert follower.failures(104.0) == [], "not each second: all nodes are asked"
    assert follower.failures(105.0) == ["at a: step: KeyError"]
    assert follower.failures(111.0) == []


# --- started, given up ------------------------------------------------------------------------------------------------


def said(*states: str, restarts: int = 0, error: str = "") -> list[ActorStatus]:
    return [
        ActorStatus(name, "controller", name[-1], state, restarts=restarts, last_error=error)
        for name, state in zip((A, B), states, strict=False)
    ]


def test_it_has_started_once_each_of_its_actors_is_healthy():
    health = Health([A, B], 0.0)
    for states in ((), ("STARTING",), ("HEALTHY",), ("HEALTHY", "STARTING")):
        assert (health.problem(said(*states), 1.0), health.started) == ("", False)
    assert (health.problem(said("HEALTHY", "HEALTHY"), 2.0), health.started) == ("", True)
    assert health.problem(said("HEALTHY", "UNHEALTHY", error="died"), 3.0) == "", "it is started anew"


def test_it_is_given_up_where_it_does_not_start():
    health = Health([A, B], 0.0)
    failed = said("HEALTHY", "UNHEALTHY", error="TypeError: no option x")
    assert health.problem(failed, 1.0) == "it does not start at b: TypeError: no option x"
    health = Health([A, B], 0.0)
    assert health.problem(said("HEALTHY", "STARTING"), STARTED_WITHIN_S) == ""
    assert "not healthy after 90 s" in health.problem(said("HEALTHY", "STARTING"), STARTED_WITHIN_S + 0.1)


def test_it_is_given_up_when_all_of_it_ends_again_and_again():
    health = Health([A], 0.0)
    health.problem(said("HEALTHY"), 0.0)
    for restarts in (1, 2):
        assert health.problem(said("HEALTHY", restarts=restarts), 10.0 * restarts) == ""
    found = health.problem(said("UNHEALTHY", restarts=3, error="it died"), 30.0)
    assert found == "it ends again and again at a: it died"


def test_ends_that_are_long_past_are_forgiven():
    health = Health([A], 0.0)
    health.problem(said("HEALTHY"), 0.0)
    for restarts in range(1, 20):
        assert health.problem(said("HEALTHY", restarts=restarts), 151.0 * restarts) == ""


def test_one_nodes_trouble_ends_nothing_elsewhere_and_a_node_that_left_is_no_trouble():
    health = Health([A, B], 0.0)
    health.problem(said("HEALTHY", "HEALTHY"), 0.0)
    for restarts in range(1, 9):
        bad = ActorStatus(B, "controller", "b", "UNHEALTHY", restarts=restarts)
        assert health.problem([*said("HEALTHY"), bad], float(restarts)) == ""
    assert health.problem([], 10.0) == ""
    assert "at b" in health.problem([ActorStatus(B, "controller", "b", "UNHEALTHY", restarts=9)], 11.0)


# --- asked to end -----------------------------------------------------------------------------------------------------


def test_a_signal_is_waited_for_and_the_second_one_interrupts():
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        with asked_to_end() as asked:
            threading.Timer(0.01, os.kill, (os.getpid(), number)).start()
            assert asked.get(timeout=10.0) == number
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
    assert {n: signal.getsignal(n) for n in before} == before


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with asked_to_end() as asked:
            signal.raise_signal(signal.SIGHUP)
            assert asked.empty()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_the_main_thread_nothing_is_taken():
    before, found = signal.getsignal(signal.SIGTERM), []

    def elsewhere() -> None:
        with asked_to_end() as asked:
            found.append((signal.getsignal(signal.SIGTERM), asked.empty()))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [(before, True)]
