"""What commands, nodes and servers print: ping, uptime, CoMon's report and dump, node lists, syslog, logs of web servers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from vagus.errors import NoData
from vagus.feeds import FORMATS, Data, Descriptor, Shape
from vagus.feeds.formats.comon import CoMon
from vagus.feeds.formats.comon_slices import Slice, SliceDump
from vagus.feeds.formats.hosts import Comment
from vagus.feeds.formats.hosts import Data as Host
from vagus.feeds.formats.ping import Ping, Reply
from vagus.feeds.formats.syslog import SyslogLine
from vagus.feeds.formats.uptime import UptimeLine
from vagus.feeds.formats.weblog import CombinedLog, CommonLog, Request


def parts(found: Descriptor) -> dict[Any, Any]:
    """Of each broken part its code, or its own broken parts."""
    return {key: parts(part) if part.inside else part.code for key, part in found.inside}


def read_and_printed(name: str, body: bytes) -> Any:
    """The value of a body without errors that is printed and read back as it was."""
    fmt = FORMATS.make(name)
    value, found = fmt.parse(body)
    assert found == Descriptor(end=len(body))
    assert fmt.parse(fmt.print(value)) == (value, Descriptor(end=len(fmt.print(value))))
    return value


IPUTILS = b"""PING plab1.example.org (192.0.2.7) 56(84) bytes of data.
64 bytes from plab1.example.org (192.0.2.7): icmp_seq=1 ttl=53 time=24.8 ms
64 bytes from plab1.example.org (192.0.2.7): icmp_seq=1 ttl=53 time=25.1 ms (DUP!)
64 bytes from plab1.example.org (192.0.2.7): icmp_seq=2 ttl=53 time=24.9 ms

--- plab1.example.org ping statistics ---
3 packets transmitted, 2 received, +1 duplicates, 33.3333% packet loss, time 2003ms
rtt min/avg/max/mdev = 24.800/24.933/25.100/0.124 ms, pipe 2
"""
BUSYBOX = b"""PING 127.0.0.1 (127.0.0.1): 56 data bytes
64 bytes from 127.0.0.1: seq=0 ttl=64 time=0.041 ms
64 bytes from 127.0.0.1: seq=1 ttl=64 time=0.065 ms

--- 127.0.0.1 ping statistics ---
2 packets transmitted, 2 packets received, 0% packet loss
round-trip min/avg/max = 0.041/0.053/0.065 ms
"""
LOST = b"""PING 10.0.0.9 (10.0.0.9) 56(84) bytes of data.
From 10.0.0.1 icmp_seq=1 Destination Host Unreachable
From 10.0.0.1 icmp_seq=2 Destination Host Unreachable

--- 10.0.0.9 ping statistics ---
2 packets transmitted, 0 received, +2 errors, 100% packet loss, time 1010ms
pipe 2
"""
BSD = b"""PING localhost (127.0.0.1): 56 data bytes
64 bytes from 127.0.0.1: icmp_seq=0 ttl=64 time=0.045 ms

--- localhost ping statistics ---
1 packets transmitted, 1 packets received, 0.0% packet loss
round-trip min/avg/max/stddev = 0.045/0.045/0.045/0.000 ms
"""


def test_feature_16_ping_of_iputils() -> None:
    value = read_and_printed("ping", IPUTILS)
    assert value == Ping(
        "plab1.example.org", "192.0.2.7", 56, 3, 2, pytest.approx(1 / 3), 1, 0, 24.8, 24.933, 25.1, 0.124, 2003,
        [Reply(1, 64, 53, 24.8), Reply(1, 64, 53, 25.1, duplicate=True), Reply(2, 64, 53, 24.9)],
    )  # fmt: skip


def test_feature_16_ping_of_busybox_and_bsd() -> None:
    value = read_and_printed("ping", BUSYBOX)
    assert (value.sent, value.received, value.rtt_avg_ms, value.rtt_mdev_ms, value.time_ms) == (2, 2, 0.053, None, None)
    assert [reply.seq for reply in value.replies] == [0, 1]
    value = read_and_printed("ping", BSD)
    assert (value.host, value.loss_ratio, value.rtt_mdev_ms) == ("localhost", 0.0, 0.0)


def test_feature_16_ping_of_a_host_that_does_not_answer() -> None:
    value = read_and_printed("ping", LOST)
    assert (value.sent, value.received, value.loss_ratio, value.errors) == (2, 0, 1.0, 2)
    assert (value.rtt_min_ms, value.replies, value.trouble) == (None, [], "Destination Host Unreachable")
    silent = read_and_printed(
        "ping",
        b"PING 10.0.0.9 (10.0.0.9) 56(84) bytes of data.\n\n--- 10.0.0.9 ping statistics ---\n"
        b"2 packets transmitted, 0 received, 100% packet loss, time 1010ms\n\n",
    )
    assert (silent.loss_ratio, silent.trouble) == (1.0, "")


@pytest.mark.parametrize(
    ("body", "trouble"),
    [
        (b"ping: no.such.host: Name or service not known\n", "Name or service not known"),
        (b"ping: bad address 'no.such.host'\n", "bad address"),
        (b"ping: cannot resolve no.such.host: Unknown host\n", "Unknown host"),
        (b"ping: connect: Network is unreachable\n", "Network is unreachable"),
    ],
)
def test_feature_16_ping_of_a_host_that_is_not_known(body: bytes, trouble: str) -> None:
    value = read_and_printed("ping", body)
    assert (value.sent, value.loss_ratio, value.address, value.trouble) == (None, None, None, trouble)


@pytest.mark.parametrize(
    ("was", "now", "code", "expected"),
    [
        (b"icmp_seq=2 ttl=53", b"icmp_seq=x ttl=53", {3: Data.SYNTAX}, {"received": 2}),
        (b"3 packets", b"x packets", {6: Data.SYNTAX}, {"sent": None, "rtt_avg_ms": 24.933}),
        (b"rtt min", b"rtx min", {7: Data.SYNTAX}, {"sent": 3, "rtt_avg_ms": None}),
        (b"2 received", b"9 received", {}, {"received": 9}),
        (b"33.3333%", b"80%", {}, {"received": 2}),
        (b"PING plab1", b"PONG plab1", {0: Data.SYNTAX}, {"host": "plab1.example.org", "address": None}),
    ],
)
def test_feature_10_a_broken_line_of_ping_loses_only_itself(
    was: bytes, now: bytes, code: dict[int, Data], expected: dict[str, Any]
) -> None:
    body = IPUTILS.replace(was, now)
    value, found = FORMATS.make("ping").parse(body)
    assert found.errors >= 1
    assert parts(found) == code
    assert {name: getattr(value, name) for name in expected} == expected
    assert len(value.replies) == 3 - (3 in code)
    for index, part in found.inside:
        assert body[part.start : part.end] == body.split(b"\n")[int(index)]


def test_feature_16_uptime_prints_as_procps() -> None:
    line = b" 10:00:00 up 1 day,  2:03,  2 users,  load average: 1.50, 0.40, 0.30\n"
    assert FORMATS.make("uptime").print(read_and_printed("uptime", line)) == line
    for other in (b"14:02  up 30 secs, 1 user, load averages: 1.50 1.60 1.70", b" 10:00:00 up 0 min,  load average: 12.34, 3.00, 1.00"):  # fmt: skip
        read_and_printed("uptime", other)
    value, found = FORMATS.make("uptime").parse(b" 10:00:00 up ???,  1 user,  load average: 1.0, x")
    assert parts(found) == {"up_s": Data.SYNTAX, "load1": Data.SYNTAX}
    for wrong in (value, UptimeLine("10:00:00", 61.5, 1, 1.0, 1.0, 1.0), UptimeLine("now", 60, 1, 1.0, 1.0, 1.0), None):
        with pytest.raises(NoData):
            FORMATS.make("uptime").print(wrong)


SLIDE = b"""Date: 1202486984.709880
VMStat: 10 14 64 22320 24424 409284 0 0 4891 796 1971 2399 61 59 0 17
CPUUse: 60 100
DNSFail: 0.0 -1.0
RWFS: 221
"""


def test_feature_14_the_node_report_of_the_talk() -> None:
    value = read_and_printed("comon", SLIDE)
    assert isinstance(value, CoMon)
    assert (value.date, value.cpu_use, value.dns_fail, value.rwfs) == (1202486984.70988, [60, 100], [0.0, -1.0], 221)
    assert value.vm_stat == [10, 14, 64, 22320, 24424, 409284, 0, 0, 4891, 796, 1971, 2399, 61, 59, 0, 17]
    assert (value.load5, value.drift) == (None, None)
    more = read_and_printed("comon", SLIDE + b"5minload: 0.25\nDrift: -1\nLiveSlices: 12\n")
    assert (more.load5, more.drift, more.live_slices) == (0.25, -1.0, 12)


@pytest.mark.parametrize(
    ("was", "now", "broken"),
    [
        (b"CPUUse: 60 100", b"CPUUse: 60 x", {"cpu_use": {1: Data.SYNTAX}}),
        (b"RWFS: 221", b"RWFS: fast", {"rwfs": Data.SYNTAX}),
        (b"RWFS: 221\n", b"", {"rwfs": Data.SYNTAX}),
        (b"DNSFail: 0.0", b"DNSFail: 1e39", {"dns_fail": {0: Data.SEMANTIC}}),
        (b"Date: 1202486984.709880", b"Date: today", {"date": Data.SYNTAX}),
    ],
)
def test_feature_10_a_broken_entry_never_loses_the_report(was: bytes, now: bytes, broken: dict[str, Any]) -> None:
    whole, _ = FORMATS.make("comon").parse(SLIDE)
    value, found = FORMATS.make("comon").parse(SLIDE.replace(was, now))
    assert parts(found) == broken
    for name in CoMon.__struct_fields__:
        if name not in broken:
            assert getattr(value, name) == getattr(whole, name)


DUMP = b"""Start: 1177560002 Thu Apr 26 00:00:02 2007
Node: a.example.org
(null)

Start: 1177560002 Thu Apr 26 00:00:02 2007
Node: b.example.org
 565    1    1    3    3  65  139.6  261.8  0.0 13.7       4      90 princeton_comon
 520    0    0    0    0  27   86.4  208.4 94.7  8.5       2       5 pl_netflow

Start: 1177560003 Thu Apr 26 00:00:03 2007
Node: c.example.org
(null)
"""


def test_feature_15_slice_dump() -> None:
    value = read_and_printed("comon_slices", DUMP)
    assert [type(one) for one in value] == [SliceDump] * 3
    assert [one.slices for one in value[::2]] == [None, None]
    assert value[1].node == "b.example.org"
    assert value[1].slices == [
        Slice(565, 1, 1, 3, 3, 65, 139.6, 261.8, 0.0, 13.7, 4, 90, "princeton_comon"),
        Slice(520, 0, 0, 0, 0, 27, 86.4, 208.4, 94.7, 8.5, 2, 5, "pl_netflow"),
    ]


def test_feature_10_a_broken_slice_never_loses_the_others() -> None:
    good, _ = FORMATS.make("comon_slices").parse(DUMP)
    value, found = FORMATS.make("comon_slices").parse(DUMP.replace(b"139.6", b"139,6"))
    assert parts(found) == {1: {"slices": {0: {"resident": Data.SYNTAX}}}}
    assert value[1].slices[0] == msgspec.structs.replace(good[1].slices[0], resident=None)
    assert value[1].slices[1] == good[1].slices[1]
    assert value[::2] == good[::2]


def test_feature_9_node_list() -> None:
    body = b"plab1-c703.uibk.ac.at\n#planck227.test.ibbt.be\n\n  10.0.0.1  \n2001:db8::1\n# to do\n"
    value = read_and_printed("hosts", body)
    assert value == [
        Host("plab1-c703.uibk.ac.at"), Comment("planck227.test.ibbt.be"), Host("10.0.0.1"), Host("2001:db8::1"),
        Comment(" to do"),
    ]  # fmt: skip
    shape = FORMATS.make("hosts").shape
    assert [name for name, _ in shape.parts[0][1].parts] == ["Comment", "Data"]


@pytest.mark.parametrize("line", [b"-c evil", b"--flag", b"a b", b"a;b", b"$(x)", b"a/b", b"\xff", b"a'", b"x" * 300])
def test_feature_9_a_node_list_gives_no_host_that_a_command_could_misread(line: bytes) -> None:
    value, found = FORMATS.make("hosts").parse(b"a\n" + line + b"\nb\n")
    assert (value[0], value[-1], len(value), found.errors) == (Host("a"), Host("b"), 3, 1)
    assert value[1] is None or value[1].host.isalnum()


SYSLOG = rb"""<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8
<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!
<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - 'su root' failed
<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.
<165>1 2003-10-11T22:14:15.003Z m evntslog - ID47 [exampleSDID@32473 iut="3" eventID="10\"1\]1\\"][p@32473 class="high"]
Nov 22 06:00:01 host CRON[123]: (root) CMD (x)
2026-11-22T06:00:01.123456+00:00 host systemd[1]: Started.
"""


def test_feature_9_syslog_of_both_rfcs() -> None:
    value = read_and_printed("syslog", SYSLOG)
    assert value[0] == SyslogLine(
        0, 4, 2, "Oct 11 22:14:15", None, "mymachine", "su", None, None, {},
        "'su root' failed for lonvick on /dev/pts/8",
    )  # fmt: skip
    assert (value[1].host, value[1].app, value[1].message) == ("10.0.0.99", None, "Use the BFG!")
    assert (value[2].version, value[2].time_s, value[2].pid, value[2].msgid) == (1, 1065910455.003, None, "ID47")
    assert (value[3].time_s, value[3].facility, value[3].severity) == (1061727255.000003, 20, 5)
    assert value[4].data == {"exampleSDID@32473": {"iut": "3", "eventID": '10"1]1\\'}, "p@32473": {"class": "high"}}
    assert (value[5].app, value[5].pid, value[5].facility, value[5].message) == ("CRON", "123", None, "(root) CMD (x)")
    assert (value[6].app, value[6].time_s) == ("systemd", 1795327201.123456)


@pytest.mark.parametrize(
    ("line", "broken"),
    [
        (b"rubbish", {"time": Data.SYNTAX}),
        (b"<999>Feb  5 17:32:18 h a: b", {"facility": Data.SEMANTIC}),
        (b"<1>1 2003-13-11T22:14:15Z h a - - - m", {"time_s": Data.SEMANTIC}),
        (b'<1>1 - h a - - [a b="c" m', {"data": Data.SYNTAX}),
        (b'<1>1 - h a - - [a b="c"][a b="d"] m', {"data": Data.SEMANTIC}),
        (b"<1>Feb  5 17:32:18 h a: \xff", {"message": Data.SYNTAX}),
        (b"<1>Feb  5 17:32:18 h a: " + b"x" * 70_000, {"message": Data.SEMANTIC}),
    ],
)
def test_feature_10_a_broken_line_of_syslog_keeps_its_message(line: bytes, broken: dict[str, Any]) -> None:
    good, _ = FORMATS.make("syslog").parse(SYSLOG)
    value, found = FORMATS.make("syslog").parse(SYSLOG + line + b"\n" + SYSLOG)
    assert parts(found) == {7: broken}
    assert value[:7] == value[8:] == good
    assert value[7].message
    assert found.part(7).start == len(SYSLOG)
    assert found.part(7).end == len(SYSLOG) + len(line)


LOG = rb"""127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326"""
COMBINED = (
    LOG
    + rb""" "http://www.example.com/start.html" "Mozilla/4.08 [en] (Win98; I ;Nav)"
"""
)


def test_feature_9_common_and_combined_log() -> None:
    request = Request("GET", "/apache_pb.gif", "HTTP/1.0")
    [value] = read_and_printed("common_log", LOG)
    assert value == CommonLog("127.0.0.1", None, "frank", 971211336, request, 200, 2326)
    [value] = read_and_printed("combined_log", COMBINED)
    assert value == CombinedLog(
        "127.0.0.1", None, "frank", 971211336, request, 200, 2326, "http://www.example.com/start.html",
        "Mozilla/4.08 [en] (Win98; I ;Nav)",
    )  # fmt: skip
    [value] = read_and_printed("combined_log", rb'::1 - - [10/Oct/2000:13:55:36 +0000] "\x16\x03" 400 - "-" "a \"b\""')
    assert (value.request, value.size_bytes, value.referer, value.agent) == ("\\x16\\x03", None, None, 'a \\"b\\"')


@pytest.mark.parametrize(
    ("was", "now", "broken"),
    [
        (b"10/Oct", b"31/Feb", {"time_s": Data.SEMANTIC}),
        (b"10/Oct/2000", b"10-10-2000", {"time_s": Data.SYNTAX}),
        (b'" 200 ', b'" OK ', {"status": Data.SYNTAX}),
        (b" 2326 ", b" 23k ", {"size_bytes": Data.SYNTAX}),
    ],
)
def test_feature_10_a_broken_field_of_a_log_never_loses_the_line(
    was: bytes, now: bytes, broken: dict[str, Any]
) -> None:
    [good], _ = FORMATS.make("combined_log").parse(COMBINED)
    value, found = FORMATS.make("combined_log").parse(COMBINED + COMBINED.replace(was, now) + COMBINED)
    assert value[::2] == [good, good]
    assert parts(found) == {1: broken}
    for name in CombinedLog.__struct_fields__:
        assert getattr(value[1], name) == (None if name in broken else getattr(good, name))


def test_shapes_tell_records_and_units() -> None:
    shape = FORMATS.make("ping").shape
    assert (shape.kind, shape.name) == ("record", "Ping")
    fields = dict(shape.parts)
    assert fields["address"] == Shape("optional", parts=(("", Shape("string")),))
    assert [name for name, _ in fields["replies"].parts[0][1].parts] == list(Reply.__struct_fields__)
    assert dict(FORMATS.make("comon").shape.parts)["date"].unit == "s"
