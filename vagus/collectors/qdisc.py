"""Queueing disciplines through RTM_GETQDISC: what waits, was sent, dropped or delayed (linux/gen_stats.h)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from vagus.collectors.netlink import Netlink, attributes, messages, text
from vagus.model import Field, Sample, Stream

RTM_NEWQDISC, RTM_GETQDISC = 36, 38
TCA_KIND, TCA_STATS2 = 1, 7
TCA_STATS_BASIC, TCA_STATS_QUEUE, TCA_STATS_PKT64 = 1, 3, 8

_WANTED = frozenset({TCA_KIND, TCA_STATS2})
_STATS_WANTED = frozenset({TCA_STATS_BASIC, TCA_STATS_QUEUE, TCA_STATS_PKT64})

_REQUEST = bytes(20)  # struct tcmsg: all of all links
_TCMSG = struct.Struct("=4xiIII")
_BASIC = struct.Struct("=QI")
_QUEUE = struct.Struct("=5I")
_PACKETS64 = struct.Struct("=Q")
_ROOT, _INGRESS = 0xFFFFFFFF, 0xFFFFFFF1

FIELDS = (
    Field("bytes", unit="bytes", dtype="u8", counter=True),
    Field("packets", dtype="u8", counter=True),
    Field("drops", dtype="u8", counter=True),
    Field("overlimits", dtype="u8", counter=True),
    Field("requeues", dtype="u8", counter=True),
    Field("backlog_bytes", unit="bytes", dtype="u8"),
    Field("qlen", dtype="u8"),
)


class Qdisc(NamedTuple):
    """One queueing discipline: where it is attached, and its values in the order of FIELDS."""

    ifindex: int
    kind: str
    handle: int
    parent: int
    values: tuple[int, ...]


def parse_qdiscs(data: bytes) -> Iterator[Qdisc]:
    """The disciplines of an RTM_GETQDISC dump that have counters. Raises ValueError or struct.error."""
    for begin, end in messages(data, RTM_NEWQDISC):
        index, handle, parent, _ = _TCMSG.unpack_from(data, begin)
        found = attributes(data, begin + 20, end, _WANTED)
        if TCA_KIND not in found or TCA_STATS2 not in found:
            continue
        stats = attributes(data, *found[TCA_STATS2], _STATS_WANTED)
        if TCA_STATS_BASIC not in stats or TCA_STATS_QUEUE not in stats:
            continue
        size, packets = _BASIC.unpack_from(data, stats[TCA_STATS_BASIC][0])
        if TCA_STATS_PKT64 in stats:
            (packets,) = _PACKETS64.unpack_from(data, stats[TCA_STATS_PKT64][0])
        qlen, backlog, drops, requeues, overlimits = _QUEUE.unpack_from(data, stats[TCA_STATS_QUEUE][0])
        values = (size, packets, drops, overlimits, requeues, backlog, qlen)
        yield Qdisc(index, text(data, found[TCA_KIND]), handle, parent, values)


def handle_text(handle: int) -> str:
    """A handle as tc writes it: `8001:`, `1:10`, `root`, `ingress`."""
    if handle == _ROOT:
        return "root"
    if handle == _INGRESS:
        return "ingress"
    major, minor = handle >> 16, handle & 0xFFFF
    return f"{major:x}:{minor:x}" if minor else f"{major:x}:"


class Qdiscs:
    """`net.qdisc{dev=,kind=,handle=,parent=}`: one stream each; parent tells the children of mq apart."""

    source = "RTM_GETQDISC"

    def __init__(self, node: str, netlink: Netlink, names: Callable[[], Mapping[int, str]]) -> None:
        self._node = node
        self._netlink = netlink
        self._names = names
        self._streams: dict[tuple[str, str, int, int], Stream] = {}

    def read(self, t_ns: int) -> Iterator[Sample]:
        """One sample for each discipline."""
        names = self._names()
        data, _ = self._netlink.dump(RTM_GETQDISC, _REQUEST)
        if len(self._streams) > 5000:
            self._streams.clear()  # links of containers come and go
        for qdisc in parse_qdiscs(data):
            dev = names.get(qdisc.ifindex, "")
            if not dev:
                continue  # of a link that has no stream: beyond the limit, or new since they were read
            key = (dev, qdisc.kind, qdisc.handle, qdisc.parent)
            stream = self._streams.get(key)
            if stream is None:
                labels = {"dev": dev, "kind": qdisc.kind}
                labels |= {"handle": handle_text(qdisc.handle), "parent": handle_text(qdisc.parent)}
                stream = self._streams[key] = Stream(self._node, "net.qdisc", FIELDS, labels)
            yield Sample(stream, t_ns, qdisc.values)

    def close(self) -> None:
        """Closes the socket."""
        self._netlink.close()
