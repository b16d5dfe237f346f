"""Network links: 64-bit counters through RTM_GETSTATS, name, state and size through RTM_GETLINK (linux/if_link.h).

The whole answer to RTM_GETLINK has some 1400 bytes a link, the counters alone 230. So each reading asks for these, and
for the rest when the kernel said that a link changed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from vagus.collectors.netlink import Netlink, Notices, attributes, messages, text
from vagus.errors import CollectError
from vagus.model import Event, Field, Level, Sample, Stream

MAX_LINKS = 500
LINK_NOTICES = 1  # RTMGRP_LINK
RTM_NEWSTATS, RTM_GETSTATS = 92, 94  # since Linux 4.7
IFLA_STATS_LINK_64 = 1
RTM_NEWLINK, RTM_GETLINK = 16, 18
IFLA_IFNAME, IFLA_MTU, IFLA_OPERSTATE, IFLA_STATS64, IFLA_CARRIER, IFLA_CARRIER_CHANGES = 3, 4, 16, 23, 33, 35

WANTED = frozenset(
    {IFLA_IFNAME, IFLA_MTU, IFLA_OPERSTATE, IFLA_STATS64, IFLA_CARRIER, IFLA_CARRIER_CHANGES}
)  # half of the message comes behind these

_REQUEST = bytes(16)  # struct ifinfomsg: all links
_STATS_REQUEST = struct.pack("=4xII", 0, IFLA_STATS_LINK_64)  # struct if_stats_msg: all links, these counters
_INDEX = struct.Struct("=4xi")
_U4 = struct.Struct("=I")

# struct rtnl_link_stats64; rx_nohandler came with Linux 4.6.
STATS = (
    *("rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped"),
    *("multicast", "collisions", "rx_length_errors", "rx_over_errors", "rx_crc_errors", "rx_frame_errors"),
    *("rx_fifo_errors", "rx_missed_errors", "tx_aborted_errors", "tx_carrier_errors", "tx_fifo_errors"),
    *("tx_heartbeat_errors", "tx_window_errors", "rx_compressed", "tx_compressed", "rx_nohandler"),
)
FIELDS = (
    *(Field(name, unit="bytes" if name.endswith("_bytes") else "", dtype="u8", counter=True) for name in STATS),
    Field("operstate", dtype="u4"),  # RFC 2863: 0 unknown, 2 down, 3 lower layer down, 5 dormant, 6 up
    Field("mtu_bytes", unit="bytes", dtype="u4"),
    Field("carrier", dtype="u4"),
    Field("carrier_changes", dtype="u4", counter=True),
)
_STATS = struct.Struct(f"={len(STATS)}Q")
_STATS_WANTED = frozenset({IFLA_STATS_LINK_64})


class Link(NamedTuple):
    """One link: its index and name in this network namespace, and its values in the order of FIELDS."""

    ifindex: int
    name: str
    values: tuple[int, ...]


def parse_links(data: bytes) -> Iterator[Link]:
    """The links of an RTM_GETLINK dump. Raises ValueError or struct.error when it is malformed."""
    for begin, end in messages(data, RTM_NEWLINK):
        (index,) = _INDEX.unpack_from(data, begin)
        found = attributes(data, begin + 16, end, WANTED)
        if IFLA_IFNAME not in found or IFLA_STATS64 not in found:
            raise ValueError(f"link {index} comes without a name or without 64-bit counters (Linux 2.6.35 has them)")
        start, stop = found[IFLA_STATS64]
        counters = _STATS.unpack(data[start:stop][: _STATS.size].ljust(_STATS.size, b"\0"))
        state = data[found[IFLA_OPERSTATE][0]] if IFLA_OPERSTATE in found else 0
        carrier = data[found[IFLA_CARRIER][0]] if IFLA_CARRIER in found else 0
        mtu = _number(data, found.get(IFLA_MTU))
        changes = _number(data, found.get(IFLA_CARRIER_CHANGES))
        yield Link(index, text(data, found[IFLA_IFNAME]), (*counters, state, mtu, carrier, changes))


def parse_stats(data: bytes) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Index and counters of each link of an RTM_GETSTATS dump. Raises ValueError or struct.error when it is malformed."""
    for begin, end in messages(data, RTM_NEWSTATS):
        (index,) = _INDEX.unpack_from(data, begin)
        found = attributes(data, begin + 12, end, _STATS_WANTED)
        if IFLA_STATS_LINK_64 in found:
            start, stop = found[IFLA_STATS_LINK_64]
            if stop - start < _STATS.size:
                raise ValueError(f"link {index} comes with {stop - start} bytes of counters, not {_STATS.size}")
            yield index, _STATS.unpack_from(data, start)


def _number(data: bytes, span: tuple[int, int] | None) -> int:
    return int(_U4.unpack_from(data, span[0])[0]) if span else 0


class Links:
    """`net.link{dev=}`: one stream for each link. `names` maps the index to the name, as of the last reading."""

    source = "RTM_GETLINK"

    def __init__(self, node: str, netlink: Netlink, notices: Notices | None = None) -> None:
        self._node = node
        self._netlink = netlink
        self._notices = notices
        self._streams: dict[str, Stream] = {}
        self._links: dict[int, tuple[Stream, tuple[int, ...]]] = {}  # with what is not in the counters
        self.names: dict[int, str] = {}
        self._told = False

    def read(self, t_ns: int) -> Iterator[Sample | Event]:
        """One sample for each link, of at most 500."""
        if self._notices is not None and not self._notices.came() and self._links:
            try:
                data, _ = self._netlink.dump(RTM_GETSTATS, _STATS_REQUEST)
            except CollectError:  # an older kernel
                self._notices.close()
                self._notices = None
            else:
                links = self._links
                for index, counters in parse_stats(data):
                    if index in links:  # a new link was told of, and comes with the next reading
                        stream, state = links[index]
                        yield Sample(stream, t_ns, counters + state)
                return
        yield from self._read_all(t_ns)

    def _read_all(self, t_ns: int) -> Iterator[Sample | Event]:
        self._links.clear()  # should this fail, the next reading begins here again
        data, _ = self._netlink.dump(RTM_GETLINK, _REQUEST)
        names: dict[int, str] = {}
        links: dict[int, tuple[Stream, tuple[int, ...]]] = {}
        left_out = 0
        for link in parse_links(data):
            if link.ifindex in names:
                continue  # a dump during which links changed may name one twice
            if len(names) >= MAX_LINKS:  # the oldest come first: the machine's own
                left_out += 1
                continue
            names[link.ifindex] = link.name
            stream = self._streams.get(link.name)
            if stream is None:
                stream = Stream(self._node, "net.link", FIELDS, {"dev": link.name})
                self._streams[link.name] = stream
            links[link.ifindex] = stream, link.values[len(STATS) :]
            yield Sample(stream, t_ns, link.values)
        self.names, self._links = names, links
        if left_out and not self._told:
            text = f"{left_out} links have no stream: {MAX_LINKS} are the most"
            yield Event(t_ns, "net.links.limit", self._node, Level.WARNING, self.source, {"text": text})
        self._told = left_out > 0
        if len(self._streams) > 2 * len(names) + 100:  # links of containers come and go
            self._streams = {name: self._streams[name] for name in names.values()}

    def close(self) -> None:
        """Closes the sockets."""
        self._netlink.close()
        if self._notices is not None:
            self._notices.close()
        self._links.clear()
