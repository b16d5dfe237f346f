"""The node's own addresses through RTM_GETADDR (linux/if_addr.h): by them a path finds the nodes at its ends."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from vagus.clock import NS
from vagus.collectors.netlink import Netlink, attributes, messages
from vagus.model import Field, Sample, Stream

RTM_NEWADDR, RTM_GETADDR = 20, 22
IFA_ADDRESS, IFA_LOCAL = 1, 2
SCOPE_UNIVERSE, SCOPE_SITE = 0, 200  # the others (link, host) reach no other node
PERIOD_NS = 10 * NS  # they hardly ever change
MAX_ADDRESSES = 100

FIELDS = (Field("if_index", dtype="u4"), Field("prefix_bits", dtype="u4"))
_REQUEST = bytes(8)  # struct ifaddrmsg: all families, all links
_MESSAGE = struct.Struct("=BBBBI")  # family, prefixlen, flags, scope, index
_BYTES = {socket.AF_INET: 4, socket.AF_INET6: 16}


class Own(NamedTuple):
    """An address that others can send to, the network that it is in, and the link that has it."""

    address: str
    network: str
    prefix_bits: int
    ifindex: int


def parse_addresses(data: bytes) -> Iterator[Own]:
    """The addresses of an RTM_GETADDR dump. Raises ValueError or struct.error when it is malformed."""
    for begin, end in messages(data, RTM_NEWADDR):
        family, bits, _, scope, ifindex = _MESSAGE.unpack_from(data, begin)
        if family not in _BYTES or scope not in (SCOPE_UNIVERSE, SCOPE_SITE):
            continue
        found = attributes(data, begin + _MESSAGE.size, end)
        span = found.get(IFA_LOCAL) or found.get(IFA_ADDRESS)  # of a point-to-point link IFA_ADDRESS is the other end
        if span is None or span[1] - span[0] != _BYTES[family]:
            raise ValueError(f"an address of family {family} comes without its {_BYTES[family]} bytes")
        packed = data[span[0] : span[1]]
        network = ipaddress.ip_network((packed, bits), strict=False)
        yield Own(socket.inet_ntop(family, packed), str(network), bits, ifindex)


class Addresses:
    """`net.address{address=,dev=,network=}`: one stream for each address, every 10 s.

    names: the links' names by index, as of the last reading.
    """

    source = "RTM_GETADDR"

    def __init__(self, node: str, netlink: Netlink, names: Callable[[], Mapping[int, str]]) -> None:
        self._node = node
        self._netlink = netlink
        self._names = names
        self._streams: dict[tuple[str, str], Stream] = {}
        self._read_ns = -PERIOD_NS

    def read(self, t_ns: int) -> Iterator[Sample]:
        """One sample for each address, or none when it is not time yet."""
        if 0 <= t_ns - self._read_ns < PERIOD_NS:
            return
        self._read_ns = t_ns
        data, _ = self._netlink.dump(RTM_GETADDR, _REQUEST)
        names = self._names()
        streams = {}
        for own in list(parse_addresses(data))[:MAX_ADDRESSES]:
            key = own.address, names.get(own.ifindex, str(own.ifindex))
            labels = {"address": own.address, "dev": key[1], "network": own.network}
            stream = self._streams.get(key)
            if stream is None or stream.labels != labels:
                stream = Stream(self._node, "net.address", FIELDS, labels)
            if key not in streams:
                streams[key] = stream
                yield Sample(stream, t_ns, (own.ifindex, own.prefix_bits))
        self._streams = streams

    def close(self) -> None:
        """The socket is the links'."""
