"""Network: files and dumps that were captured, broken ones, and the running kernel."""

import math
import re
import shutil
import socket
import struct
from itertools import pairwise
from pathlib import Path

import psutil
import pyroute2
import pytest

from vagus.collectors import links, qdisc, sockets
from vagus.collectors.netlink import ROUTE, Netlink, Notices, attributes, messages
from vagus.collectors.network import NetworkCollector
from vagus.config import CollectSettings
from vagus.errors import CollectError
from vagus.model import Event, Sample

FIXTURES = Path(__file__).parents[1] / "fixtures"
DUMPS = FIXTURES / "proc-debian12-2core/netlink"
T = 1_700_000_000 * 10**9
LABEL_NODE = re.compile(r',node="n"|node="n",?')


def as_dict(samples):
    return {
        LABEL_NODE.sub("", s.stream.key).replace("{}", ""): dict(
            zip([f.name for f in s.stream.fields], s.values, strict=True)
        )
        for s in samples
    }


def read(root):
    collector = NetworkCollector("n", Path(root), CollectSettings())
    samples, error = [], ""
    try:
        samples.extend(collector.collect(T))
    except CollectError as failure:
        error = str(failure)
    collector.close()
    return as_dict(samples), error


# --- text ----------------------------------------------------------------------------------------------------------


def test_files_of_debian12():
    got, error = read(FIXTURES / "proc-debian12-2core")
    assert error == ""
    assert got["net.tcp"]["RetransSegs"] == 6
    assert got["net.tcp"]["MaxConn"] == -1
    assert got["net.udp"]["OutDatagrams"] == 63
    assert got["net.snmp6"]["Ip6InReceives"] == 5
    assert got["net.sockstat"]["tcp_tw"] == 20
    assert got["net.sockstat"]["sockets_used"] == 19
    assert got["net.sockstat6"]["tcp6_inuse"] == 0
    assert len(got["net.tcpext"]) > 100
    assert "net.udplite" not in got  # nothing but zeros
    assert not [k for k in got if k.startswith(("net.link", "net.peer"))]  # not of that machine


def test_files_of_linux_4_19():
    got, error = read(FIXTURES / "proc-rpi4-kernel419")
    assert error == ""
    assert got["net.ipext"]["InOctets"] == 2**64 - 1  # exact at the end of the range
    assert got["net.icmp"] == {"InMsgs": 88, "InErrors": 2, "OutMsgs": 90, "OutErrors": 0}
    assert got["net.tcpext"]["TCPTimeouts"] == 44
    assert "net.icmpmsg" not in got
    assert "net.snmp6" not in got
    assert got["net.sockstat"]["frag_memory"] == 0


def test_gauges_and_counters_are_told_apart():
    collector = NetworkCollector("n", FIXTURES / "proc-rpi4-kernel419", CollectSettings())
    tcp = next(s.stream for s in collector.collect(T) if s.stream.kind == "net.tcp")
    fields = {f.name: f for f in tcp.fields}
    assert (fields["CurrEstab"].counter, fields["CurrEstab"].dtype) == (False, "i8")
    assert (fields["InSegs"].counter, fields["InSegs"].dtype) == (True, "u8")
    collector.close()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("snmp", "Tcp: A B\nTcp: 1\n"),
        ("snmp", "Tcp: A B\nUdp: 1 2\n"),
        ("snmp", "Tcp: A B\nTcp: 1 x\n"),
        ("snmp", "Tcp: A B\nTcp: 1 -2\n"),
        ("snmp", "Tcp: A B\n"),
        ("snmp", "Tcp: A B A\nTcp: 1 2 3\n"),
        ("snmp", "no names\n1 2\n"),
        ("netstat", f"TcpExt: A\nTcpExt: {2**64}\n"),
        ("sockstat", ""),
        ("sockstat", "TCP: inuse many\n"),
    ],
)
def test_broken_files(tmp_path, path, content):
    shutil.copytree(FIXTURES / "proc-rpi4-kernel419", tmp_path / "r")
    (tmp_path / "r/proc/net" / path).write_text(content)
    got, error = read(tmp_path / "r")
    assert f"proc/net/{path}" in error
    assert "net.tcpext" in got or path == "netstat"
    assert "net.tcp" in got or path == "snmp"


# --- captured dumps ------------------------------------------------------------------------------------------------


def test_captured_links():
    found = {
        link.name: dict(zip([f.name for f in links.FIELDS], link.values, strict=True))
        for link in links.parse_links((DUMPS / "links.bin").read_bytes())
    }
    assert list(found) == ["lo", "ifb0", "ifb1", "eth0"]
    eth0 = found["eth0"]  # as `ip -s link show eth0` wrote at that time
    assert (eth0["rx_bytes"], eth0["rx_packets"]) == (386241365, 9150)
    assert (eth0["tx_bytes"], eth0["tx_packets"]) == (529548, 5710)
    assert (eth0["mtu_bytes"], eth0["operstate"], eth0["carrier"]) == (1400, 6, 1)
    assert found["ifb0"]["operstate"] == 2


def test_captured_qdiscs():
    found = list(qdisc.parse_qdiscs((DUMPS / "qdiscs.bin").read_bytes()))
    assert [(q.ifindex, q.kind) for q in found] == [(1, "noqueue"), (4, "pfifo_fast")]
    assert found[1].values == (529614, 5711, 0, 0, 0, 0, 0)  # as `tc -s qdisc show`


def test_handles_as_tc_writes_them():
    assert [qdisc.handle_text(h) for h in (0, 0x80010000, 0x10010, 0xFFFFFFFF, 0xFFFFFFF1, 0xFFFF0000)] == [
        *("0:", "8001:", "1:10", "root", "ingress", "ffff:")
    ]


def test_captured_sockets():
    peers, states = {}, [0] * 256
    assert sockets.parse_sockets((DUMPS / "sockets.bin").read_bytes(), peers, states) == 7
    assert (states[1], states[10]) == (4, 3)
    assert [sockets.address_text(p) for p in peers] == ["127.0.0.1"]  # ::ffff:127.0.0.1 is the same peer
    count, mean, low, high, retransmits = next(iter(peers.values())).values()
    assert (count, low, high, retransmits) == (4, 6e-6, 30e-6, 0)
    assert low < mean < high


@pytest.mark.parametrize("name", ["links", "qdiscs", "sockets"])
def test_dumps_cut_anywhere_are_errors_or_shorter(name):
    data = (DUMPS / f"{name}.bin").read_bytes()
    parse = {
        "links": lambda d: len(list(links.parse_links(d))),
        "qdiscs": lambda d: len(list(qdisc.parse_qdiscs(d))),
        "sockets": lambda d: sockets.parse_sockets(d, {}, [0] * 256),
    }[name]
    whole = parse(data)
    failed = 0
    for cut in range(0, len(data), 13):
        try:
            assert parse(data[:cut]) <= whole
        except (ValueError, struct.error):
            failed += 1
    assert failed > len(data) // 26


def test_messages_and_attributes_with_impossible_lengths():
    for claimed in (0, 3, 15, 40, 2**32 - 1):
        with pytest.raises(ValueError, match="claims"):
            list(messages(struct.pack("=IHHII", claimed, 16, 0, 1, 1) + bytes(8), 16))
    for claimed in (0, 3, 9, 65535):
        with pytest.raises(ValueError, match="claims"):
            attributes(struct.pack("=HH", claimed, 1) + bytes(4), 0, 8)


def dump_of(count, peers_each=1):
    """A made-up answer of inet_diag: `count` established sockets, to 10.0.x.y, `peers_each` per address."""
    out = []
    for i in range(count):
        peer = i // peers_each
        address = bytes([10, 0, peer >> 8, peer & 255])
        info = bytearray(104)
        struct.pack_into("=I", info, 68, 1000 + i)
        struct.pack_into("=I", info, 100, 2)
        body = struct.pack("=BB22x16s32x", socket.AF_INET, 1, address) + struct.pack("=HH", 108, 2) + info
        out.append(struct.pack("=IHHII", 16 + len(body), sockets.TCPDIAG_GETSOCK, 2, 1, 0) + body)
    return b"".join(out)


class CannedNetlink:
    def __init__(self, data, complete=True):
        self.data, self.complete, self.dumps = data, complete, 0

    def dump(self, kind, payload, limit_bytes=0):
        self.dumps += 1
        return self.data, self.complete

    def close(self):
        pass


def next_reading(part):
    """Of the next tick that is not left out."""
    while not (found := list(part.read(T))):
        pass
    return found


def test_many_peers_are_bounded_and_stay():
    canned = CannedNetlink(dump_of(120))
    part = sockets.Sockets("n", canned)
    first = as_dict(part.read(T))
    assert len([k for k in first if k.startswith("net.peer")]) == 50
    assert first["net.tcp_states"]["peers"] == 120
    assert first["net.tcp_states"]["established"] == 120
    canned.data = canned.data + dump_of(1)  # equal peers do not push out those that have a stream
    assert as_dict(next_reading(part)).keys() == first.keys()
    busy = b"".join([canned.data, *[dump_of(120)[-196:] for _ in range(3)]])
    canned.data = busy
    third = as_dict(next_reading(part))
    assert third['net.peer{peer="10.0.0.119"}']["sockets"] == 4
    assert third['net.peer{peer="10.0.0.119"}']["retransmits"] == 8


def test_round_trips_of_a_peer():
    got = as_dict(sockets.Sockets("n", CannedNetlink(dump_of(3, peers_each=3)), lambda: 17).read(T))
    peer = got['net.peer{peer="10.0.0.0"}']
    assert peer == {
        "sockets": 3,
        "rtt_mean_s": pytest.approx(1.001e-3),
        "rtt_min_s": pytest.approx(1e-3),
        "rtt_max_s": pytest.approx(1.002e-3),
        "retransmits": 6,
    }
    assert got["net.tcp_states"]["time_wait"] == 17
    assert all(math.isnan(v) for v in sockets.Peer().values()[1:4])


class ByKind:
    """A netlink that answers each kind of request with bytes, or with an error."""

    def __init__(self, **answers):
        self.answers, self.asked = answers, []

    def dump(self, kind, payload):
        name = {links.RTM_GETLINK: "whole", links.RTM_GETSTATS: "counters"}[kind]
        self.asked.append(name)
        if isinstance(self.answers[name], Exception):
            raise self.answers[name]
        return self.answers[name], True

    def close(self):
        pass


class Told:
    """Notices that came when the test says so."""

    def __init__(self):
        self.now = True

    def came(self):
        now, self.now = self.now, False
        return now

    def close(self):
        pass


def counters_of(*found):
    """A made answer to RTM_GETSTATS: pairs of index and received packets."""
    out = []
    for index, packets in found:
        stats = struct.pack("=25Q", packets, *range(1, 25))  # a newer kernel has one more
        body = struct.pack("=4xII", index, 1) + struct.pack("=HH", 4 + len(stats), 1) + stats
        out.append(struct.pack("=IHHII", 16 + len(body), links.RTM_NEWSTATS, 2, 1, 0) + body)
    return b"".join(out)


def test_links_whose_state_did_not_change_give_their_counters_alone():
    whole = (DUMPS / "links.bin").read_bytes()
    first = next(links.parse_links(whole))
    netlink, told = ByKind(whole=whole, counters=counters_of((first.ifindex, 7), (9999, 8))), Told()
    part = links.Links("n", netlink, told)
    all_links = list(part.read(T))
    (again,) = part.read(T)  # 9999 is new, and not yet known
    assert netlink.asked == ["whole", "counters"]
    assert again.stream is all_links[0].stream
    assert again.values == (7, *range(1, 24), *first.values[24:])
    told.now = True
    assert list(part.read(T)) == all_links
    netlink.answers["counters"] = CollectError("Operation not supported")
    assert list(part.read(T)) == list(part.read(T)) == all_links  # an older kernel is not asked twice
    assert netlink.asked == ["whole", "counters", "whole", "counters", "whole", "whole"]


def test_links_begin_anew_after_an_error():
    netlink, told = ByKind(whole=CollectError("no buffer"), counters=b""), Told()
    part = links.Links("n", netlink, told)
    for _ in range(2):
        with pytest.raises(CollectError, match="no buffer"):
            list(part.read(T))
    netlink.answers["whole"] = (DUMPS / "links.bin").read_bytes()
    assert list(part.read(T))


def test_counters_that_are_cut():
    data = counters_of((1, 7))
    assert list(links.parse_stats(data)) == [(1, (7, *range(1, 24)))]
    short = bytearray(data[:-80])
    struct.pack_into("=I", short, 0, len(short))
    struct.pack_into("=H", short, 28, len(short) - 28)
    with pytest.raises(ValueError, match="120 bytes of counters"):
        list(links.parse_stats(bytes(short)))


def test_many_sockets_are_read_less_often():
    few = sockets.Sockets("n", CannedNetlink(dump_of(3)))
    assert [bool(list(few.read(T))) for _ in range(21)] == [True, *[False] * 19, True]
    canned = CannedNetlink(dump_of(6000), complete=False)
    part = sockets.Sockets("n", canned)
    assert [bool(list(part.read(T))) for _ in range(26)] == [True, *[False] * 24, True]
    assert canned.dumps == 2
    assert as_dict(next_reading(part))["net.tcp_states"]["complete"] == 0


# --- the running kernel --------------------------------------------------------------------------------------------


def test_counters_alone_agree_with_the_whole_answer():
    notices = Notices(ROUTE, links.LINK_NOTICES)
    part = links.Links("n", Netlink(ROUTE), notices)
    asked = [{s.stream.key: s.values for s in part.read(T)} for _ in range(3)]
    part.close()
    assert asked[0].keys() == asked[1].keys() == asked[2].keys() != set()
    for before, after in pairwise(asked):
        for key, values in before.items():
            assert values[24:] == after[key][24:]
            assert all(now >= then for now, then in zip(after[key][:24], values[:24], strict=True))
    assert notices.came()  # it was closed: anything may have changed
    notices.close()


def test_links_agree_with_proc_and_psutil():
    got, error = read("/")
    assert error == ""
    stats, counters = psutil.net_if_stats(), psutil.net_io_counters(pernic=True)
    lines = [line.split(":") for line in Path("/proc/net/dev").read_text().splitlines()[2:]]
    assert {name.strip() for name, _ in lines} == {k.split('"')[1] for k in got if k.startswith("net.link")}
    for name, numbers in ((name.strip(), rest.split()) for name, rest in lines):
        link = got[f'net.link{{dev="{name}"}}']
        # read a moment earlier than the others, so never more
        assert 0.9 * counters[name].bytes_recv <= link["rx_bytes"] <= int(numbers[0])
        assert 0.9 * int(numbers[8]) <= link["tx_bytes"] <= counters[name].bytes_sent
        assert link["mtu_bytes"] == stats[name].mtu


def test_links_and_qdiscs_agree_with_pyroute2():
    route = Netlink(ROUTE)
    mine = {link.name: link for link in links.parse_links(route.dump(links.RTM_GETLINK, bytes(16))[0])}
    queues = list(qdisc.parse_qdiscs(route.dump(qdisc.RTM_GETQDISC, bytes(20))[0]))
    route.close()
    with pyroute2.IPRoute() as peer:
        for link in peer.get_links():
            values = dict(zip([f.name for f in links.FIELDS], mine[link.get_attr("IFLA_IFNAME")].values, strict=True))
            assert values["mtu_bytes"] == link.get_attr("IFLA_MTU")
            assert values["carrier"] == link.get_attr("IFLA_CARRIER")
            assert values["rx_packets"] <= link.get_attr("IFLA_STATS64")["rx_packets"]
        theirs = [(q["index"], q.get_attr("TCA_KIND"), q["handle"], q["parent"]) for q in peer.get_qdiscs()]
    assert [(q.ifindex, q.kind, q.handle, q.parent) for q in queues] == theirs


def established_to(peer):
    part = sockets.Sockets("n")
    got = as_dict(part.read(T))
    part.close()
    return got.get(f'net.peer{{peer="{peer}"}}', {"sockets": 0}), got["net.tcp_states"]


@pytest.mark.parametrize(
    ("family", "address", "peer"), [(socket.AF_INET, "127.83.7.1", "127.83.7.1"), (socket.AF_INET6, "::1", "::1")]
)
def test_a_connection_is_seen_with_its_round_trip(family, address, peer):
    if family == socket.AF_INET6 and not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    before, _ = established_to(peer)
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()[:2]) as client, listener.accept()[0] as server:
            client.sendall(b"ping")
            assert server.recv(4) == b"ping"
            server.sendall(b"pong")
            assert client.recv(4) == b"pong"
            found, states = established_to(peer)
    assert found["sockets"] >= before["sockets"] + 1
    assert 0 < found["rtt_min_s"] <= found["rtt_mean_s"] <= found["rtt_max_s"] < 5
    assert states["listen"] >= 1
    assert states["complete"] == 1
    assert states["established"] >= 2


def test_a_refused_request_is_a_collect_error_and_the_socket_recovers():
    netlink = Netlink(ROUTE)
    with pytest.raises(CollectError, match="request 250"):
        netlink.dump(250, bytes(16))
    assert list(links.parse_links(netlink.dump(links.RTM_GETLINK, bytes(16))[0]))
    netlink.close()
    netlink.close()


def test_a_dump_over_its_limit_is_marked_and_the_next_one_is_whole():
    netlink = Netlink(ROUTE)
    data, complete = netlink.dump(links.RTM_GETLINK, bytes(16), limit_bytes=100)
    assert data
    again, whole = netlink.dump(links.RTM_GETLINK, bytes(16))
    assert whole
    assert len(list(links.parse_links(again))) >= len(list(links.parse_links(data)))
    assert complete is False or len(data) == len(again)
    netlink.close()


def test_a_family_that_does_not_exist_is_a_collect_error():
    with pytest.raises(CollectError, match="family 99"):
        Netlink(99).dump(1, b"")


def test_every_sample_is_of_the_asked_time():
    collector = NetworkCollector("n", Path("/"), CollectSettings())
    assert {s.t_ns for s in collector.collect(T) if isinstance(s, Sample)} == {T}
    collector.close()


def test_more_links_than_have_a_stream_is_said_once():
    (begin, end), *_ = messages((DUMPS / "links.bin").read_bytes(), links.RTM_NEWLINK)
    one = bytearray((DUMPS / "links.bin").read_bytes()[begin - 16 : end + (-end % 4)])
    many = b""
    for index in range(1, links.MAX_LINKS + 4):
        one[20:24] = index.to_bytes(4, "little")
        many += bytes(one)
    part = links.Links("n", CannedNetlink(many))
    records = list(part.read(T))
    told = [record for record in records if isinstance(record, Event)]
    assert [event.event for event in told] == ["net.links.limit"]
    assert "3 links have no stream" in told[0].fields["text"]
    assert len(part.names) == links.MAX_LINKS == len(records) - 1
    assert not [record for record in part.read(T) if isinstance(record, Event)]
