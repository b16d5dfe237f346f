"""An observer that is told what to expect: what it finds in its own store, what it tells, what a restart keeps."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from observers import KEY, introduce, observer, said, until

from vagus.actors.base import Seat
from vagus.actors.observer import ObserverActor
from vagus.config import Config, ExpectedSettings, HealthSettings
from vagus.model import Metric, Report, Status


def expecting(home: Path, restarts: int = 0, grace: str = "0s", **expected: Any) -> ObserverActor:
    """One that is not begun yet, without a supervisor; it is looked at by hand."""
    links: Any = None
    config = Config(expected=ExpectedSettings(grace=grace, **expected), health=HealthSettings(interest="watched"))
    actor = ObserverActor(Seat("observer", "n1", str(home), config, restarts=restarts, options={"key": KEY}), links)
    actor.every = lambda *args, **more: None  # type: ignore[method-assign]
    return actor


def restarts(status: Status, ends: int) -> Report:
    return Report("vagus:supervisor", "vagus:feed@n1", time.time_ns(), {"restarts": Metric(status, float(ends))})


async def whys(actor: ObserverActor) -> dict[str, str]:
    await actor._look()
    return {one.what: one.why for one in await actor.missing()}


async def test_services_and_actors_by_what_is_reported_on_them(tmp_path: Path) -> None:
    actor = expecting(tmp_path, services=("db", "web"))
    await actor.begin()
    try:
        await actor.report([said(Status.HEALTHY), said(Status.HEALTHY, subject="service:web")])
        await until(lambda: actor._local.verdict("service:web"))
        assert await whys(actor) == {}
        await actor.report([said(Status.UNHEALTHY), restarts(Status.UNHEALTHY, 4)])
        await until(lambda: actor._local.verdict("vagus:feed@n1"))
        assert await whys(actor) == {"db": "unhealthy", "vagus:feed@n1": "crash-looping"}
        assert [m.error for m in await actor.missing() if m.kind == "actor"] == ["it ended 4 times within 5 minutes"]
        await actor.report([said(Status.HEALTHY), restarts(Status.HEALTHY, 4)])
        await until(lambda: actor._local.verdict("db").status is Status.HEALTHY)
        assert await whys(actor) == {}
        events = [e for e in await actor.stored_events(100) if e.event.startswith("topology.")]
        assert sorted((e.event, e.fields.get("subject")) for e in events) == [
            ("topology.complete", None),
            ("topology.missing", "db"),
            ("topology.missing", "vagus:feed@n1"),
        ]
    finally:
        await actor.end()


async def test_a_restart_keeps_since_when_something_is_missing(tmp_path: Path) -> None:
    first = expecting(tmp_path, nodes=("n1", "n2"))
    await first.begin()
    assert await whys(first) == {"node:n2": "missing"}
    (before,) = await first.missing()
    await first.end()
    second = expecting(tmp_path, 1, "60s", nodes=("n1", "n2"))
    await second.begin()
    try:
        assert await whys(second) == {"node:n2": "missing"}
        assert (await second.missing())[0].since_ns == before.since_ns
        told = [e.event for e in await second.stored_events(100) if e.event.startswith("topology.")]
        assert told == ["topology.missing"]
    finally:
        await second.end()
    third = expecting(tmp_path, 0, "60s", nodes=("n1", "n2"))
    await third.begin()
    try:
        assert await whys(third) == {}, "the cluster has just started: there is grace"
    finally:
        await third.end()


async def test_what_is_expected_is_watched_where_only_what_is_watched_counts(tmp_path: Path) -> None:
    actor = expecting(tmp_path, nodes=2, services=("db",))
    assert {s for s in ("node:x", "db", "service:db", "vagus:feed@x", "other") if actor._local.wants(s)} == {
        *("node:x", "db", "service:db", "vagus:feed@x")
    }


async def test_without_expectations_nothing_is_looked_for(tmp_path: Path) -> None:
    actor = observer(tmp_path)
    await actor.begin()
    try:
        assert await actor.missing() == ()
        assert await whys(actor) == {}
    finally:
        await actor.end()


async def test_a_peer_that_dies_is_missed_by_the_probes_of_another_and_comes_back(tmp_path: Path) -> None:
    """Real sockets; nothing of Ray: so it is, too, while the head is down."""

    def made(node: str) -> ObserverActor:
        links: Any = None
        expected = ExpectedSettings(nodes=("n1", "n2"), grace=0)
        config = Config(expected=expected, health=HealthSettings(probe="0.05s"))
        return ObserverActor(Seat("observer", node, str(tmp_path), config, options={"key": KEY}), links)

    one, other = made("n1"), made("n2")
    await one.begin()
    await other.begin()
    try:
        await introduce(one, other)
        await until(lambda: one.figures()["swim_probes"] > 3 and "n2" in one.membership.alive())
        assert await whys(one) == {}
        other.wire.close()  # without a word: it does not take leave
        await until(lambda: (verdict := one._local.verdict("node:n2")) and verdict.status is Status.DEAD)
        assert await whys(one) == {"node:n2": "dead"}
        await other.end()
        other = made("n2")
        await other.begin()
        await introduce(one, other)
        await until(lambda: one._local.verdict("node:n2").status is Status.HEALTHY)
        assert await whys(one) == {}
    finally:
        await one.end()
        await other.end()
