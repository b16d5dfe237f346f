"""Leases of spawned controllers: what ends them, what does not; alone, and in the fleet."""

from __future__ import annotations

import asyncio

import pytest
from test_runtime_fleet import CONFIG, MINE, Ray, Time, events, settled

from vagus.errors import PeerUnreachable
from vagus.runtime.fleet import Fleet
from vagus.runtime.leases import MOST_S, Leases

LEASE_S = 20.0


def looked(leases: Leases, start_s: float, end_s: float, step_s: float = 2.0) -> list[str]:
    """All that ended in looks every `step_s` until `end_s`."""
    found, now_s = [], start_s
    while now_s < end_s:
        now_s = min(end_s, now_s + step_s)
        found += leases.ended(now_s)
    return found


def test_a_lease_ends_once_when_it_was_not_kept_for_its_length():
    leases = Leases(100.0)
    leases.grant("a", LEASE_S, 100.0)
    leases.grant("for ever", 0.0, 100.0)
    assert looked(leases, 100.0, 119.9) == []
    assert leases.ended(120.0) == ["a"]
    assert looked(leases, 120.0, 1000.0) == []


def test_who_keeps_it_in_time_keeps_it():
    leases = Leases(0.0)
    leases.grant("a", LEASE_S, 0.0)
    for now_s in range(0, 300, 19):
        assert looked(leases, float(now_s), now_s + 19.0) == []
        leases.keep("a", now_s + 19.0)
    assert looked(leases, 304.0, 400.0) == ["a"]


def test_time_in_which_nobody_looked_counts_for_little():
    leases = Leases(0.0)
    leases.grant("a", LEASE_S, 0.0)
    assert leases.ended(3600.0) == [], "the supervisor was away, and could not hear"
    assert looked(leases, 3600.0, 3600.0 + LEASE_S - MOST_S - 0.1) == []
    assert leases.ended(3600.0 + LEASE_S - MOST_S) == ["a"]


def test_a_lease_granted_long_after_the_last_look_has_its_whole_length():
    leases = Leases(0.0)
    leases.grant("a", LEASE_S, 4.0)
    assert looked(leases, 0.0, 23.9, 4.0) == []
    assert leases.ended(24.0) == ["a"]


@pytest.mark.parametrize("end", ["drop", "grant"])
def test_dropped_or_granted_for_ever_it_never_ends(end):
    leases = Leases(0.0)
    leases.grant("a", LEASE_S, 0.0)
    leases.drop("a") if end == "drop" else leases.grant("a", 0.0, 0.0)
    leases.keep("a", 1.0)
    assert looked(leases, 0.0, 100.0) == []


@pytest.fixture
async def ray():
    return Ray()


@pytest.fixture
async def clock():
    return Time()


@pytest.fixture
async def fleet(ray, clock):
    fleet = Fleet(CONFIG, "/home", {"token": "t"}, ray, clock)
    yield fleet
    await fleet.stop()


async def passed(fleet: Fleet, clock: Time, seconds: float) -> None:
    for _ in range(round(seconds / 2)):
        clock.now_s += 2.0
        await fleet.round()
        for _ in range(20):
            await asyncio.sleep(0)


async def test_a_controller_that_nobody_keeps_is_ended_with_an_event_and_its_name_is_free(fleet, ray, clock):
    await settled(fleet)
    assert fleet.keep("mine") is None
    fleet.spawn(MINE, dict, LEASE_S)
    await settled(fleet, lambda: "vagus:controller:mine@b" in ray.running)
    await passed(fleet, clock, 18)
    said = fleet.keep("mine")
    assert said is not None
    assert [(a.name, a.state) for a in said] == [
        ("vagus:controller:mine@a", "HEALTHY"),
        ("vagus:controller:mine@b", "HEALTHY"),
    ]
    await passed(fleet, clock, 18)
    assert not ray.ended
    await passed(fleet, clock, 4)
    assert sorted(ray.ended) == ["vagus:controller:mine@a", "vagus:controller:mine@b"], "asked to end: limits restored"
    assert fleet.keep("mine") is None
    assert await fleet.remove("mine") is False
    await settled(fleet)
    for node in "ab":
        told = [e for e in events(ray.running[f"vagus:collector@{node}"]) if e.event == "controller.orphaned"]
        assert [(e.fields["actor"], e.fields["lease_s"]) for e in told] == [(f"vagus:controller:mine@{node}", LEASE_S)]
    fleet.spawn(MINE, list)
    await settled(fleet, lambda: "vagus:controller:mine@b" in ray.running)
    await passed(fleet, clock, 100)
    assert len(ray.ended) == 2, "without a lease it stays, and the old lease is forgotten"


async def test_a_removed_controllers_lease_does_not_end_its_successor(fleet, ray, clock):
    await settled(fleet)
    fleet.spawn(MINE, dict, LEASE_S)
    await settled(fleet, lambda: "vagus:controller:mine@b" in ray.running)
    assert await fleet.remove("mine")
    fleet.spawn(MINE, dict)
    await settled(fleet, lambda: "vagus:controller:mine@b" in ray.running)
    await passed(fleet, clock, 60)
    assert fleet.keep("mine") is not None


async def test_arming_keeps_the_lease_and_a_new_supervisor_gives_a_fresh_one(ray, clock):
    first = Fleet(CONFIG, "/home", {"token": "t"}, ray, clock)
    await settled(first)
    first.spawn(MINE, dict, LEASE_S)
    await settled(first, lambda: "vagus:controller:mine@b" in ray.running)
    await first.arm(True)
    await passed(first, clock, 16)
    for task in list(first._tasks):  # it dies without a word
        task.cancel()
    second = Fleet(CONFIG, "/home", {"token": "t"}, ray, clock)
    with pytest.raises(PeerUnreachable, match="only just started"):
        second.keep("mine")
    await settled(second)
    await passed(second, clock, 18)
    assert second.keep("mine") is not None
    await passed(second, clock, 22)
    assert second.keep("mine") is None
    assert "vagus:controller:mine@a" not in ray.running
    await second.stop()


async def test_what_does_not_start_says_so_to_who_keeps_it(fleet, ray):
    await settled(fleet)
    ray.broken = {"vagus:controller:mine@a"}
    fleet.spawn(MINE, dict, LEASE_S)
    for _ in range(3):
        await fleet.round()
        for _ in range(20):
            await asyncio.sleep(0)
    said = {a.name: a for a in fleet.keep("mine") or []}
    failed = said["vagus:controller:mine@a"]
    assert (failed.state, failed.last_error) == ("UNHEALTHY", "its settings are wrong")
    assert failed.figures["failed_starts"] >= 1
