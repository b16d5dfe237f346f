"""What is made of a network device's answers: names, wraps, resets, failures. No socket."""

from __future__ import annotations

import math

import pytest

from vagus.clock import NS
from vagus.collectors import device_mib as mib
from vagus.collectors.device_state import INVENTORY_NS, DeviceState, Unwrapped
from vagus.config import SnmpSettings
from vagus.health.rules import judge_device
from vagus.model import Event, Metric, Sample, Status

T = 1_700_000_000 * NS
ETH0, ETH1 = (2,), (3,)
IDENTITY = {
    mib.IF_DESCR: {ETH0: b"Red Hat Virtio", ETH1: b"Red Hat Virtio"},
    mib.IF_NAME: {ETH0: b"eth0", ETH1: b"eth1"},
    mib.IF_ALIAS: {ETH0: b"uplink \x01 to B", ETH1: b""},
    mib.IF_SPEED: {ETH0: (1 << 32) - 1, ETH1: 100_000_000},
    mib.IF_HIGH_SPEED: {ETH0: 10_000, ETH1: 100},
    mib.IF_HC_IN: {ETH0: 7},
}


def table(state: DeviceState, rx: int, up: int = 1) -> dict[mib.Oid, dict[mib.Oid, int]]:
    read = {column: {ETH0: 5, ETH1: 5} for column in state.columns}
    read[mib.IF_HC_IN] = {ETH0: rx}
    read[(1, 3, 6, 1, 2, 1, 2, 2, 1, 10)] = {ETH1: rx % (1 << 32)}
    read[(1, 3, 6, 1, 2, 1, 2, 2, 1, 8)] = {ETH0: up, ETH1: 2}
    return read


def device(**more: object) -> DeviceState:
    state = DeviceState("n1", SnmpSettings(host="192.0.2.1", **more))
    state.inventory(T, IDENTITY, {})
    return state


def values(records: list[Sample | Event], kind: str, **labels: str) -> dict[str, float]:
    (sample,) = (
        r
        for r in records
        if isinstance(r, Sample) and r.stream.kind == kind and labels.items() <= r.stream.labels.items()
    )
    return dict(zip((f.name for f in sample.stream.fields), sample.values, strict=True))


def events(records: list[Sample | Event]) -> list[str]:
    return [r.event for r in records if isinstance(r, Event)]


def test_interfaces_have_the_names_that_people_gave_them():
    first, second = mib.interfaces(IDENTITY)
    assert first.labels == {"interface": "eth0", "description": "Red Hat Virtio", "alias": "uplink   to B"}
    assert (first.speed_bps, first.wide) == (10e9, True)  # ifSpeed ends at 4.29 Gbit/s
    assert (second.speed_bps, second.wide) == (100e6, False)
    unnamed = mib.interfaces({mib.IF_DESCR: {(1,): b"port", (2,): b"port", (3,): b""}})
    assert [i.labels["interface"] for i in unnamed] == ["port#1", "port#2", "3"]


def test_32_bit_counters_go_on_beyond_their_wrap_and_64_bit_ones_are_taken_as_they_are():
    state = device(name="r1")
    read = [
        values(state.taken(T, 0.001, {mib.SYS_UPTIME: 100 + i}, table(state, rx)), "snmp.interface", interface=name)
        for i, (rx, name) in enumerate([(2**32 - 10, "eth1"), (2**32 + 30, "eth1"), (2**40, "eth0")])
    ]
    assert [r["rx_bytes"] for r in read] == [2**32 - 10, 2**32 + 30, 2**40]
    assert (read[2]["oper_up"], read[0]["oper_up"]) == (1, 0)


def test_a_counter_that_was_reset_begins_again():
    counter = Unwrapped()
    assert [counter.read(raw, False) for raw in (5, 2**32 - 1, 3)] == [5, 2**32 - 1, 2**32 + 3]
    assert counter.read(2**31, False) == 2**32 + 2**31
    assert counter.read(2**30, False) == 2**30, "by less than half the range back: reset, not wrapped"
    counter = Unwrapped()
    counter.read(2**32 - 1, False)
    assert counter.read(3, True) == 3, "the device restarted"


def test_a_restart_of_the_device_is_told_and_the_wrap_of_its_uptime_is_none():
    state = device()
    assert events(state.taken(T, 0.0, {mib.SYS_UPTIME: 2**32 - 100}, {})) == []
    records = state.taken(T, 0.0, {mib.SYS_UPTIME: 100}, {})
    assert events(records) == []
    assert values(records, "snmp.system")["uptime_s"] == pytest.approx((2**32 + 100) / 100)
    state.taken(T, 0.0, {mib.SYS_UPTIME: 90_000}, {})
    answer = {mib.SYS_UPTIME: 10}
    assert state.inventory_due(T + NS, answer), "its interfaces may be others"
    assert events(state.taken(T, 0.0, answer, {})) == ["device.restarted"]
    assert not state.inventory_due(T + 2 * NS, {mib.SYS_UPTIME: 20})
    assert state.inventory_due(T + INVENTORY_NS, {mib.SYS_UPTIME: 30})


def test_silence_is_told_once_and_asked_after_ever_more_rarely():
    state = device(name="r1", every="10s")
    told, delays = [], []
    for i in range(6):
        records = state.failed(T + i * NS, "no answer")
        told += events(records)
        delays.append(state.delay_s())
    assert told == ["device.unreachable"]
    assert delays == [20, 40, 60, 60, 60, 60]
    last = values(records, "snmp.system")
    assert (last["up"], last["failures"], math.isnan(last["response_s"])) == (0, 6, True)
    records = state.taken(T + 9 * NS, 0.25, {mib.SYS_UPTIME: 1}, {})
    assert events(records) == ["device.recovered"]
    assert records[0].fields == {"device": "r1", "down_s": 9.0}
    assert values(records, "snmp.system")["up"] == 1
    assert state.delay_s() == 10


def test_only_so_many_interfaces_are_read_and_an_event_says_so():
    state = DeviceState("n1", SnmpSettings(host="192.0.2.1", max_interfaces=1))
    assert events(state.inventory(T, IDENTITY, {})) == ["device.interfaces_limited"]
    assert [i.row for i in state.interfaces] == [ETH0]
    assert events(state.inventory(T, IDENTITY, {})) == []


def test_what_a_device_does_not_have_is_left_out():
    state = device()
    records = state.taken(T, 0.0, {}, {})
    assert {r.stream.kind for r in records} == {"snmp.system"}
    answer = {mib.GROUPS[1].objects[0][0]: 150, mib.GROUPS[1].objects[1][0]: b"1.2"}
    assert values(state.taken(T, 0.0, answer, {}), "snmp.load") == {"load1": 1.5}
    gone = table(state, 1)
    del gone[mib.IF_HC_IN][ETH0]
    kinds = [r.stream.labels.get("interface") for r in state.taken(T, 0.0, {}, gone)]
    assert "eth0" not in kinds
    assert "eth1" in kinds


def test_addresses_of_both_tables():
    v4, v6, loop, cast = (
        (1, 4, 10, 0, 0, 1),
        (2, 16, *(0x20, 1), *[0] * 13, 7),
        (1, 4, 127, 0, 0, 1),
        (1, 4, 10, 0, 0, 255),
    )
    pointer = (1, 3, 6, 1, 2, 1, 4, 32, 1, 5, 2, 1, 4, 10, 0, 0, 0, 24)
    new = {
        mib.IP_IF_INDEX: [(v4, 2), (v6, 3), (loop, 1), (cast, 2), ((9, 300), 1), ((), 1)],
        mib.IP_PREFIX: [(v4, pointer), (v6, (0, 0))],
        mib.IP_TYPE: [(v4, 1), (cast, 3)],
    }
    assert [tuple(a) for a in mib.addresses(new)] == [
        ("10.0.0.1", "10.0.0.0/24", 24, 2),
        ("2001::7", "2001::7/128", 128, 3),
    ]
    old = {mib.OLD_IF_INDEX: [((10, 0, 1, 1), 2)], mib.OLD_MASK: [((10, 0, 1, 1), bytes([255, 255, 255, 252]))]}
    assert [tuple(a) for a in mib.addresses(old)] == [("10.0.1.1", "10.0.1.0/30", 30, 2)]


def test_streams_are_the_same_objects_at_the_next_poll():
    state = device()
    first = [r.stream for r in state.taken(T, 0.0, {}, table(state, 1))]
    second = [r.stream for r in state.taken(T + NS, 0.0, {}, table(state, 2))]
    assert len(first) == 3
    assert all(a is b for a, b in zip(first, second, strict=True))


def test_what_a_device_s_silence_means_for_its_health():
    state = device()
    up = state.taken(T, 0.25, {}, {})[0]
    assert judge_device(up) == {"snmp": Metric(Status.HEALTHY, 0.25)}
    state.failed(T, "no answer")
    down = state.failed(T, "no answer")[-1]
    assert judge_device(down) == {"snmp": Metric(Status.UNHEALTHY, 2.0)}
