"""Names of what is shaped, and flows as u32 keys."""

from __future__ import annotations

import ipaddress
import struct

import pytest

from vagus.errors import ConfigError, Rejected
from vagus.injector.wires import read_place
from vagus.shaping.match import IPV4, IPV6, Key, holds, matches, same
from vagus.shaping.place import Flow, Place, handle_text, parse_flow, parse_handle, parse_place
from vagus.shaping.safe import FLOOR, check_whole, default_routes, link_rate
from vagus.shaping.seen import Link

NET = ipaddress.ip_network
NOTHING = (
    *(
        "",
        "/",
        "eth0/",
        "/eth0",
        "a/b/c",
        "a b",
        "eth0/1:10/x",
        "eth0/10:",
        "eth0/1:99999",
        "x" * 16,
        "eth0/dport=80/x",
    ),
    *("eth0/dport=0", "eth0/dport=65536", "eth0/dport=٣", "eth0/dport=80,dport=81", "eth0/port=80", "eth0/to="),
    *("eth0/to=example.org", "eth0/to=10.0.0.1,from=fd00::1", "eth0/proto=icmp", "eth0/to=1.2.3.4:80,dport=81"),
    "eth0/dport=" + "1" * 600,
)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("eth0", Place("", "eth0")),
        ("eth0/all", Place("", "eth0", everything=True)),
        ("eth0/1:10", Place("", "eth0", 0x10010)),
        ("blue/eth0", Place("blue", "eth0")),
        ("blue/eth0/ffff:fe", Place("blue", "eth0", 0xFFFF00FE)),
        ("pid=4711/eth0.7", Place("pid=4711", "eth0.7")),
        ("eth0/dport=80", Place("", "eth0", 0, Flow(dport=80))),
        ("blue/eth0/to=10.0.0.0/24,dport=80", Place("blue", "eth0", 0, Flow(NET("10.0.0.0/24"), dport=80))),
        ("to/from=fd00::/64", Place("", "to", 0, Flow(source=NET("fd00::/64")))),
    ],
)
def test_places(text: str, place: Place) -> None:
    assert parse_place(text) == place
    assert parse_place(str(place)) == place._replace(everything=False), "and back"


@pytest.mark.parametrize("text", NOTHING)
def test_what_names_nothing(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_place(text)


def test_an_address_may_have_its_port_behind_it() -> None:
    assert parse_flow("to=10.0.0.7:80") == Flow(NET("10.0.0.7/32"), dport=80)
    assert parse_flow("from=[fd00::7]:80") == Flow(source=NET("fd00::7/128"), sport=80)
    assert parse_flow("to=fd00::7") == Flow(NET("fd00::7/128"))


def test_injections_write_commas_and_mean_the_same() -> None:
    assert read_place("x", "blue/va,to=10.0.0.7:80") == parse_place("blue/va/to=10.0.0.7/32,dport=80")
    assert read_place("x", "va,all") == parse_place("va/all")
    assert read_place("x", "net:va/dport=80,proto=tcp") == parse_place("va/dport=80,proto=tcp")
    with pytest.raises(ConfigError, match="name a device"):
        read_place("x", "")


def test_handles() -> None:
    assert parse_handle("1:10") == 0x10010
    assert handle_text(0x10010) == "1:10"
    assert handle_text(0x76610000) == "7661:"
    with pytest.raises(ConfigError):
        parse_handle("1:x")


# --- flows -----------------------------------------------------------------------------------------------------------


def packet4(source: str, to: str, sport: int, dport: int, proto: int = 6, words: int = 5, fragment: int = 0) -> bytes:
    head = struct.pack(">BBHHHBBH", 0x40 | words, 0, 60, 7, fragment, 64, proto, 0)
    addresses = ipaddress.ip_address(source).packed + ipaddress.ip_address(to).packed
    return head + addresses + b"\0" * (words - 5) * 4 + struct.pack(">HH", sport, dport) + b"\0" * 16


def packet6(source: str, to: str, sport: int, dport: int, proto: int = 6) -> bytes:
    head = struct.pack(">IHBB", 6 << 28, 20, proto, 64)
    addresses = ipaddress.ip_address(source).packed + ipaddress.ip_address(to).packed
    return head + addresses + struct.pack(">HH", sport, dport) + b"\0" * 16


def hit(flow: str, packet: bytes) -> bool:
    return any(holds(match, packet) for match in matches(parse_flow(flow)))


def test_a_flow_is_its_packets_and_no_others() -> None:
    web = packet4("10.0.0.1", "10.1.2.3", 5000, 80)
    assert hit("to=10.1.0.0/16,dport=80", web)
    assert hit("from=10.0.0.1,sport=5000,proto=tcp", web)
    assert hit("to=10.1.2.0/23", web)
    assert not hit("to=10.1.4.0/23", web)
    assert not hit("dport=80,proto=udp", web)
    assert not hit("dport=5000", web), "not the other way round"
    assert not hit("sport=80", web)
    assert not hit("to=fd00::/64", web)


def test_ports_are_only_looked_for_where_they_are() -> None:
    assert not hit("dport=80", packet4("10.0.0.1", "10.1.2.3", 5000, 80, words=6)), "behind IP options"
    assert not hit("dport=80", packet4("10.0.0.1", "10.1.2.3", 5000, 80, fragment=100)), "data, in later fragments"
    assert hit("dport=80", packet4("10.0.0.1", "10.1.2.3", 5000, 80, fragment=0x4000)), "don't fragment is no offset"


def test_ipv6() -> None:
    web = packet6("fd00::1", "fd00:0:0:1::7", 5000, 80)
    assert hit("to=fd00:0:0:1::/64,dport=80,proto=tcp", web)
    assert hit("dport=80", web), "ports alone are of both versions"
    assert not hit("to=fd00:0:0:2::/64", web)
    assert not hit("dport=80,proto=udp", web)


def test_keys_are_the_same_however_they_are_written() -> None:
    first = [Key(8, 0x00FF0000, 0x00060000), Key(20, 0x0000FFFF, 80)]
    second = [Key(20, 0x0000FF00, 0), Key(20, 0x000000FF, 80), Key(9, 0xFF000000, 0x06000000)]
    assert same(first, second)
    assert not same(first, first[:1])
    assert not same(first, [*first, Key(16, 0xFF000000, 0x0A000000)])
    assert [m.protocol for m in matches(Flow(dport=1))] == [IPV4, IPV6]


# --- what a limit must not do ----------------------------------------------------------------------------------------

ROUTES = (
    "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
    "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    "eth1\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
)
ROUTES6 = (
    f"{'0' * 32} 00 {'0' * 32} 00 {'f' * 32} 00000400 00000001 00000000 00000003     wlan0\n"
    f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 00000001 00000000 00200200       lo\n"
)


def test_devices_that_the_node_lives_by(tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert default_routes(tmp_path) == set(), "a machine without any"
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/route").write_text(ROUTES)
    (tmp_path / "proc/net/ipv6_route").write_text(ROUTES6)
    assert default_routes(tmp_path) == {"eth0", "wlan0"}
    eth0, lo = Link(2, "eth0", 1500), Link(1, "lo", 65536, True)
    with pytest.raises(Rejected, match="default route: name flows"):
        check_whole(tmp_path, parse_place("eth0"), eth0, 1e6)
    with pytest.raises(Rejected, match="is the loopback"):
        check_whole(tmp_path, parse_place("lo"), lo, 1e6)
    assert "cluster's own traffic" in check_whole(tmp_path, parse_place("eth0/all"), eth0, 1e6)
    with pytest.raises(Rejected, match="could be cut off"):
        check_whole(tmp_path, parse_place("eth0/all"), eth0, FLOOR - 1)
    for nearly in ("to=0.0.0.0/0", "proto=tcp", "from=::/0"):
        with pytest.raises(Rejected, match="default route"):
            check_whole(tmp_path, parse_place(f"eth0/{nearly}"), eth0, 1e6)
    for flow in ("to=10.0.0.0/8", "dport=80", "1:10"):
        assert check_whole(tmp_path, parse_place(f"eth0/{flow}"), eth0, 1e4) == ""
    assert check_whole(tmp_path, parse_place("eth1"), Link(3, "eth1", 1500), 1e4) == ""
    assert check_whole(tmp_path, parse_place("blue/eth0"), eth0, 1e4) == "", "a container's own link"


def test_the_links_rate(tmp_path) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "sys/class/net/eth0"
    folder.mkdir(parents=True)
    assert link_rate(tmp_path, parse_place("eth0")) is None
    for text, rate in (("1000\n", 125e6), ("-1\n", None), ("what\n", None)):
        (folder / "speed").write_text(text)
        assert link_rate(tmp_path, parse_place("eth0")) == rate
    (folder / "speed").write_text("1000\n")
    assert link_rate(tmp_path, parse_place("blue/eth0")) is None, "another namespace's is not shown there"
