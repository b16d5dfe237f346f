"""A path from a traced route and a directory: hops, names, interfaces and the streams at each. Pure."""

from __future__ import annotations

import pytest

from vagus.errors import ConfigError, NoData
from vagus.gateway.path import Earlier, Hop, Map, Trace, TracedHop, check_address, ends, resolve, resolve_earlier
from vagus.model import Field, SensorInfo, Stream

X = (Field("x"),)


def info(kind: str, node: str = "a", live: bool = True, **labels: str) -> SensorInfo:
    return SensorInfo(Stream(node, kind, X, labels), 1, 2, 3, live)


def address(node: str, address: str, dev: str = "eth0", bits: int = 24, live: bool = True) -> SensorInfo:
    network = address.rpartition(".")[0] + f".0/{bits}"
    return info("net.address", node, live, address=address, dev=dev, network=network)


def router(device: str, interface: str, address: str, live: bool = True) -> list[SensorInfo]:
    network = address.rpartition(".")[0] + ".0/24"
    return [
        info("snmp.address", "a", live, device=device, interface=interface, address=address, network=network),
        info("snmp.interface", "a", live, device=device, interface=interface),
    ]


# a (10.0.1.1) - r1 - (10.0.2) - r2 - (10.0.3) b
DIRECTORY = [
    address("a", "10.0.1.1"),
    address("b", "10.0.3.2", "ens3"),
    *router("r1", "left", "10.0.1.254"),
    *router("r1", "right", "10.0.2.1"),
    *router("r2", "west", "10.0.2.2"),
    *router("r2", "east", "10.0.3.254"),
    *(info("snmp.system", "a", device=name, host=host) for name, host in (("r1", "10.0.1.254"), ("r2", "10.0.2.2"))),
    *(info("net.link", node, dev=dev) for node in "ab" for dev in ("eth0", "ens3", "lo")),
    *(info("probe.latency", src, src=src, dst=dst) for src, dst in (("a", "b"), ("b", "a"), ("a", "c"))),
    info("probe.bandwidth", "a", src="a", dst="b"),
    info("net.peer", "a", peer="10.0.3.2"),
    info("net.peer", "a", peer="10.0.9.9"),
    info("net.peer", "b", peer="10.0.1.1"),
    info("host.load", "b"),
    info("host.load", "c"),
]
TRACE = Trace(
    "a",
    "10.0.1.1",
    "10.0.3.2",
    (TracedHop(("10.0.1.254",), 0.001), TracedHop(("10.0.2.2",), 0.002), TracedHop(("10.0.3.2",), 0.003)),
    True,
)
NODES = ("a", "b", "c")


def shown(hop: Hop) -> tuple[str, str, str, str]:
    return hop.kind, hop.name, hop.address, hop.interface


def streams(hop: Hop) -> set[str]:
    def text(s: SensorInfo) -> str:
        labels = s.stream.labels
        detail = labels.get("dev") or labels.get("interface") or labels.get("peer") or labels.get("dst") or ""
        return f"{s.stream.kind} {s.stream.node} {detail}".strip()

    return {f"{s.part}: {text(s.sensor)}" for s in hop.streams}


def test_both_ends_each_router_s_streams_and_the_probes():
    there = Map(DIRECTORY)
    end = ends("a", "b", there, NODES)
    assert end == ("a", "b", "10.0.3.2")
    hops = resolve(end, TRACE, there)
    assert [shown(hop) for hop in hops] == [
        ("node", "a", "10.0.1.1", "eth0"),
        ("router", "r1", "10.0.1.254", "left"),
        ("router", "r2", "10.0.2.2", "west"),
        ("node", "b", "10.0.3.2", "ens3"),
    ]
    assert [hop.distance for hop in hops] == [0, 1, 2, 3]
    assert streams(hops[0]) == {
        "egress: net.link a eth0",
        "probe: probe.latency a b",
        "probe: probe.bandwidth a b",
        "peer: net.peer a 10.0.3.2",
    }
    assert streams(hops[1]) == {
        "ingress: snmp.interface a left",
        "egress: snmp.interface a right",
        "device: snmp.system a",
    }
    assert {s.sensor.stream.labels["device"] for s in hops[2].streams} == {"r2"}
    assert streams(hops[2]) >= {"ingress: snmp.interface a west", "egress: snmp.interface a east"}
    assert streams(hops[3]) == {
        "ingress: net.link b ens3",
        "end: host.load b",
        "probe: probe.latency b a",
        "peer: net.peer b 10.0.1.1",
    }


def test_an_answer_from_another_interface_than_the_packet_came_in_by():
    trace = Trace("a", "10.0.1.1", "10.0.3.2", (TracedHop(("10.0.2.1",)), *TRACE.hops[1:]), True)
    hop = resolve(ends("a", "b", Map(DIRECTORY), NODES), trace, Map(DIRECTORY))[1]
    assert (hop.name, hop.interface) == ("r1", "right")
    assert streams(hop) >= {"ingress: snmp.interface a left", "egress: snmp.interface a right"}


def test_silence_strangers_and_shared_load():
    there = Map(DIRECTORY)
    hops = (TracedHop(), TracedHop(("203.0.113.1", "203.0.113.2"), 0.5), TracedHop(("10.0.3.2",), 0.6))
    found = resolve(ends("a", "b", there, NODES), Trace("a", "10.0.1.1", "10.0.3.2", hops, True), there)
    assert [(h.kind, h.address, h.others) for h in found[1:3]] == [
        ("unknown", "", ()),
        ("unknown", "203.0.113.1", ("203.0.113.2",)),
    ]
    assert found[1].streams == found[2].streams == ()


def test_a_target_that_was_not_reached_is_the_last_hop_all_the_same():
    there = Map(DIRECTORY)
    trace = Trace("a", "10.0.1.1", "10.0.3.2", TRACE.hops[:1], False, "no answer from further on")
    hops = resolve(ends("a", "b", there, NODES), trace, there)
    assert [h.name for h in hops] == ["a", "r1", "b"]
    assert hops[-1].rtt_s is None
    assert "ingress: net.link b ens3" in streams(hops[-1])


def test_ended_streams_and_addresses_count_with_history_only():
    gone = [*router("r9", "old", "10.0.2.9", live=False), info("net.link", "b", False, dev="ens3", gone="yes")]
    trace = Trace("a", "10.0.1.1", "10.0.3.2", (TracedHop(("10.0.2.9",)), TRACE.hops[-1]), True)
    for history, name, links in ((False, "", 1), (True, "r9", 2)):
        there = Map([*DIRECTORY, *gone], history)
        hops = resolve(ends("a", "b", there, NODES), trace, there)
        assert hops[1].name == name
        assert sum(s.sensor.stream.kind == "net.link" for s in hops[2].streams) == links
    there = Map([*DIRECTORY, *gone], True)
    former = resolve_earlier(ends("a", "b", there, NODES), TRACE, Earlier(5, ("10.0.2.9", "", "10.0.3.2")), there)
    assert [(h.kind, h.name) for h in former] == [("node", "a"), ("router", "r9"), ("unknown", ""), ("node", "b")]


def test_a_live_address_comes_before_one_that_ended():
    there = Map([*router("was", "x", "10.0.5.1", live=False), *router("is", "y", "10.0.5.1")], True)
    assert [place.name for place in there.at("10.0.5.1")] == ["is", "was"]


def test_ends_by_name_by_address_and_by_device():
    there = Map(
        [*DIRECTORY, address("b", "172.16.0.9", "eth7"), info("snmp.system", "a", device="r7", host="10.7.7.7")]
    )
    assert ends("10.0.1.1", "10.0.3.2", there, NODES) == ("a", "b", "10.0.3.2")
    assert ends("a", "198.51.100.7", there, NODES) == ("a", "198.51.100.7", "198.51.100.7")
    assert ends("a", "r2", there, NODES).to == "r2"
    assert ends("a", "r1", there, NODES).target == "10.0.1.254", "the address in a network of a's own"
    assert ends("a", "r7", there, NODES).target == "10.7.7.7", "by which it is read"
    assert ends("a", "a", there, NODES).target == "10.0.1.1"
    assert ends("x", "y", Map([]), ("x", "y")) == ("x", "y", "127.0.0.1"), "nodes of a machine without a network"


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        ("nobody", "b", "begins at a node"),
        ("10.0.2.2", "b", "begins at a node"),
        ("a", "nobody", "no address of 'nobody'"),
        ("a", "c", "no address of 'c'"),
        ("a", "10.0.0", "r1, r2"),
    ],
)
def test_ends_that_are_not_known(a, b, says):
    with pytest.raises(NoData, match=says):
        ends(a, b, Map(DIRECTORY), NODES)


def test_a_path_to_a_device_and_to_oneself():
    there = Map(DIRECTORY)
    trace = Trace("a", "10.0.1.1", "10.0.2.2", TRACE.hops[:2], True)
    hops = resolve(ends("a", "r2", there, NODES), trace, there)
    assert [(h.kind, h.name) for h in hops] == [("node", "a"), ("router", "r1"), ("router", "r2")]
    assert "ingress: snmp.interface a west" in streams(hops[-1])
    own = Trace("a", "10.0.1.1", "10.0.1.1", (TracedHop(("10.0.1.1",)),), True)
    assert [h.name for h in resolve(ends("a", "a", there, NODES), own, there)] == ["a"]


def test_addresses():
    assert check_address("::0001") == "::1"
    for text in ("localhost", "", "1.2.3", "10.0.0.1/24", "1.2.3.4 "):
        with pytest.raises(ConfigError):
            check_address(text)
