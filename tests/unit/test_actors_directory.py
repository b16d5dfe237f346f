"""Leases of streams and of what actors offer; what has ended, from events; routes that change."""

from __future__ import annotations

import asyncio

import pytest

from vagus.actors.collector import devices_at
from vagus.actors.directory import LEASE_NS, Directory, ended, entries, offers, renewed
from vagus.actors.paths import Paths
from vagus.clock import NS
from vagus.config import CollectSettings, Config, ControllerSettings, LimitSettings, SnmpSettings
from vagus.errors import PeerUnreachable
from vagus.gateway.path import Trace, TracedHop
from vagus.model import ActorStatus, Event, FeedStatus, Field, SensorInfo, Stream

T = 1_700_000_000 * NS
LIMITS = {"cpu_cores": LimitSettings(min=1, max=2)}
CONFIG = Config(controllers=(ControllerSettings(name="throttle", target="pid:self", limits=LIMITS),))
STREAM = Stream("n1", "host.load", (Field("load1"),))


def status(name: str, state: str = "HEALTHY", **figures: float) -> ActorStatus:
    return ActorStatus(name, name.split(":")[1].partition("@")[0], "n1", state, since_ns=T, figures=figures)


def event(t_s: int, name: str, actor: str, **fields: str) -> Event:
    return Event(T + t_s * NS, name, "n1", fields={"actor": actor, **fields})


def test_a_stream_s_lease_is_three_of_its_periods():
    def lease_s(samples: int, span_s: int, period_s: float = 1.0) -> float:
        found = renewed(SensorInfo(STREAM, T, T + span_s * NS, samples), T + span_s * NS, period_s, "host", "http://x")
        assert found.live
        assert (found.source, found.online) == ("host", "http://x")
        return (found.expires_ns - found.last_ns) / NS

    assert lease_s(601, 600) == 60, "at least a minute"
    assert lease_s(11, 10 * 300) == 900
    assert lease_s(2, 10 * 86400) == 3600, "at most an hour: it may just have stood still"
    assert lease_s(601, 600, period_s=50.0) == 150
    over = renewed(SensorInfo(STREAM, T, T + 600 * NS, 601), T + 661 * NS, 1.0, "host", "http://x")
    assert (over.live, over.expires_ns, over.online) == (False, 0, "")
    assert not renewed(SensorInfo(STREAM, 0, 0, 0), T, 1.0, "", "").live, "declared, but nothing came"


def test_what_actors_offer():
    assert [o[:2] for o in offers("vagus:collector@n1", CONFIG, {})] == [("gateway", "vagus:collector@n1")]
    assert offers("vagus:observer@n1", CONFIG, {})[0][2] == {"strategy": "paper"}
    assert [o[1] for o in offers("vagus:feed@n1", CONFIG, {})] == ["uptime", "gateway"]
    assert [o[:2] for o in offers("vagus:decide@n1", CONFIG, {})] == [("policy", CONFIG.decide.policy)]
    policy, actuator = offers("vagus:controller:throttle@n1", CONFIG, {"armed": 1.0})
    assert policy[:2] == ("policy", "throttle")
    assert actuator == ("actuator", "auto", {"controller": "throttle", "target": "pid:self", "armed": "yes"})
    assert offers("vagus:controller:mine@n1", CONFIG, {}) == [("policy", "mine", {"controller": "mine"})]
    assert offers("vagus:supervisor", CONFIG, {}) == []


def test_entries_live_while_their_lease_is_renewed():
    actors = [status("vagus:observer@n1"), status("vagus:feed@n1", "UNHEALTHY")]
    told = {a.name: T for a in actors}
    found = {e.name: e for e in entries("n1", actors, told, CONFIG, "http://x", T + 1)}
    assert (found["vagus:observer@n1"].live, found["vagus:observer@n1"].expires_ns) == (True, T + LEASE_NS)
    assert (found["uptime"].live, found["uptime"].online) == (False, "")
    late = entries("n1", actors, told, CONFIG, "http://x", T + LEASE_NS)
    assert not any(e.live for e in late)
    assert entries("n1", actors[:1], {}, CONFIG, "", T)[0].live is False, "never heard of"


def test_a_feed_is_offered_where_it_runs_as_its_actor_describes_it():
    directory = Directory("n1", CONFIG, lambda *_: ())
    actors = [status("vagus:feed@n1")]
    directory.heard(actors, T)
    assert {e.name for e in directory.present(actors, "")} == {"uptime", "gateway"}, "as far as the settings tell"
    said = FeedStatus("uptime", "n1", "source", "every 10s", "Uptime {load1: float}", locations=1, error="no tool")
    [entry] = directory.present(actors, "", [said])
    assert (entry.name, entry.note) == ("uptime", "no tool")
    assert entry.labels["shape"] == "Uptime {load1: float}"
    assert (entry.labels["schedule"], entry.labels["locations"], entry.labels["format"]) == ("every 10s", "1", "uptime")


def test_what_has_ended_is_told_by_events():
    observer, mine, away = "vagus:observer@n1", "vagus:controller:mine@n1", "vagus:observer@n2"
    events = [
        event(30, "actor.restarted", observer),
        event(20, "actor.died", observer, reason="killed"),
        event(10, "actor.started", observer),
        event(12, "actor.started", mine),
        event(40, "actor.ended", mine),
        event(13, "actor.died", away, reason="not ours"),
        event(50, "actor.started", "vagus:decide@n1"),
    ]
    found = ended("n1", events, [observer], CONFIG)
    assert [(e.type, e.name, (e.since_ns - T) // NS, e.last_ns and (e.last_ns - T) // NS, e.note) for e in found] == [
        ("policy", "mine", 12, 40, "actor.ended"),
        ("observer", observer, 10, 20, "killed"),
        ("policy", CONFIG.decide.policy, 50, 0, "it ended while nobody watched"),
    ]
    assert not any(e.live or e.expires_ns for e in found)


def test_the_directory_of_a_node():
    asked = []

    def events(name: str, since_ns: int) -> list[Event]:
        asked.append(name)
        return [event(1, name, "vagus:feed@n1")] if name == "actor.died" else []

    directory = Directory("n1", CONFIG, events)
    directory.heard([status("vagus:observer@n1")], 2**62)
    (entry,) = directory.present([status("vagus:observer@n1")], "http://x")
    assert entry.live
    assert not directory.present([status("vagus:feed@n1")], "http://x")[0].live
    assert {e.name for e in directory.past([])} == {"uptime", "gateway"}
    assert {"actor.died", "actor.ended", "actor.node_left"} <= set(asked)


def test_devices_are_read_where_they_should_be():
    devices = tuple(SnmpSettings(host=f"10.0.0.{i}", on=on) for i, on in enumerate(("head", "n2", "every-node")))
    config = Config(collect=CollectSettings(snmp=devices))
    read = {n: [d.on for d in devices_at(config, n, "n1").collect.snmp] for n in ("n1", "n2", "n3")}
    assert read == {"n1": ["head", "every-node"], "n2": ["n2", "every-node"], "n3": ["every-node"]}


class Routes:
    """What the network gives; what is stored."""

    def __init__(self) -> None:
        self.hops: list[str] = ["10.0.0.1", "10.0.0.9"]
        self.traced = 0
        self.stored: list[Event] = []
        self.full = False
        self.now = 0.0

    def trace(self, node: str, target: str) -> Trace:
        self.traced += 1
        return Trace(node, "10.0.0.2", target, tuple(TracedHop((h,) if h else ()) for h in self.hops), True)

    async def put(self, events: list[Event]) -> None:
        if self.full:
            raise PeerUnreachable("the store hangs")
        self.stored += events


async def test_routes_are_kept_as_events_when_they_change(monkeypatch: pytest.MonkeyPatch):
    net = Routes()
    monkeypatch.setattr("vagus.actors.paths.time.monotonic", lambda: net.now)
    paths = Paths("n1", net.put, lambda name, since_ns: net.stored, net.trace)
    one, two = await asyncio.gather(paths.find("10.0.0.9", False), paths.find("10.0.0.9", False))
    assert (one, net.traced) == (two, 1), "found a moment ago"
    for hops in (["10.0.0.1", "10.0.0.9"], ["10.0.0.3", "", "10.0.0.9"], ["10.0.0.1", "10.0.0.9"]):
        net.now += 6
        net.hops = hops
        found = await paths.find("10.0.0.9", True)
    assert net.traced == 4
    assert [e.fields["route"] for e in net.stored] == [
        "10.0.0.1 10.0.0.9",
        "10.0.0.3 * 10.0.0.9",
        "10.0.0.1 10.0.0.9",
    ]
    assert [e.addresses for e in found.earlier] == [("10.0.0.3", "", "10.0.0.9")]
    net.now, net.full, net.hops = 100, True, ["10.0.0.9"]
    assert len((await paths.find("10.0.0.9", False)).hops) == 1, "an answer needs no store"
    net.full = False
    await paths.find("10.0.0.9", False)
    assert net.stored[-1].fields["route"] == "10.0.0.9"


async def test_a_hop_that_once_does_not_answer_is_no_other_route(monkeypatch: pytest.MonkeyPatch):
    net = Routes()
    monkeypatch.setattr("vagus.actors.paths.time.monotonic", lambda: net.now)
    paths = Paths("n1", net.put, lambda name, since_ns: net.stored, net.trace)
    for hops in (["r1", "", "b"], ["r1", "r2", "b"], ["", "r2", "b"], ["r1", "", "b"], ["r1", "r3", "b"]):
        net.now += 6
        net.hops = hops
        found = await paths.find("10.0.0.9", True)
    assert [e.fields["route"] for e in net.stored] == ["r1 * b", "r1 r2 b", "r1 r3 b"]
    again = Paths("n1", net.put, lambda name, since_ns: net.stored, net.trace)  # the actor was restarted
    net.hops = ["r1", "r4", "b"]
    net.stored.insert(
        0, net.stored[0].__class__(1, "path.changed", "n1", fields={"target": "10.0.0.9", "route": "r1 r2 *"})
    )
    found = await again.find("10.0.0.9", True)
    assert [e.addresses for e in found.earlier] == [("r1", "r3", "b"), ("r1", "r2", "b")]
