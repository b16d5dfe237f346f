"""The node's own addresses: the kernel's answer, and broken ones."""

from __future__ import annotations

import socket
import struct

import psutil
import pytest

from vagus.clock import NS
from vagus.collectors.addresses import Addresses, parse_addresses
from vagus.collectors.netlink import ROUTE, Netlink

T = 1_700_000_000 * NS


def message(family: int, bits: int, scope: int, index: int, *attributes: tuple[int, bytes]) -> bytes:
    body = struct.pack("=BBBBI", family, bits, 0, scope, index)
    for kind, content in attributes:
        body += struct.pack("=HH", 4 + len(content), kind) + content + bytes(-len(content) % 4)
    return struct.pack("=IHHII", 16 + len(body), 20, 2, 1, 0) + body


def test_addresses_that_others_can_reach():
    four, six = socket.inet_aton("10.0.1.7"), socket.inet_pton(socket.AF_INET6, "2001:db8::7")
    data = b"".join(
        (
            message(socket.AF_INET, 8, 254, 1, (1, socket.inet_aton("127.0.0.1"))),
            message(socket.AF_INET, 24, 0, 2, (1, four), (2, four), (3, b"eth0\0")),
            message(socket.AF_INET, 32, 0, 3, (1, socket.inet_aton("10.9.9.9")), (2, socket.inet_aton("10.9.9.8"))),
            message(socket.AF_INET6, 64, 253, 2, (1, socket.inet_pton(socket.AF_INET6, "fe80::1"))),
            message(socket.AF_INET6, 64, 0, 2, (1, six)),
            message(99, 1, 0, 2, (1, b"x")),
        )
    )
    assert [tuple(own) for own in parse_addresses(data)] == [
        ("10.0.1.7", "10.0.1.0/24", 24, 2),
        ("10.9.9.8", "10.9.9.8/32", 32, 3),
        ("2001:db8::7", "2001:db8::/64", 64, 2),
    ]


@pytest.mark.parametrize(
    "data",
    [
        message(socket.AF_INET, 24, 0, 2),
        message(socket.AF_INET, 24, 0, 2, (1, b"abc")),
        message(socket.AF_INET, 77, 0, 2, (1, bytes(4))),
        message(socket.AF_INET, 24, 0, 2, (1, bytes(4)))[:-3],
    ],
)
def test_malformed(data):
    with pytest.raises((ValueError, struct.error)):
        list(parse_addresses(data))


def test_this_machine_s_addresses_every_ten_seconds():
    netlink = Netlink(ROUTE)
    part = Addresses("n1", netlink, lambda: dict(socket.if_nameindex()))
    first = list(part.read(T))
    wanted = {
        (a.address, name)
        for name, found in psutil.net_if_addrs().items()
        for a in found
        if a.family in (socket.AF_INET, socket.AF_INET6) and not a.address.startswith(("127.", "::1", "fe80"))
    }
    assert {(s.stream.labels["address"], s.stream.labels["dev"]) for s in first} == wanted
    assert list(part.read(T + 9 * NS)) == []
    assert all(a.stream is b.stream for a, b in zip(first, part.read(T + 10 * NS), strict=True))
    assert len(list(part.read(T))) == len(first), "the clock was set back"
    netlink.close()
