"""The route to this machine's own addresses, over real sockets; longer ones: tests/system/test_path.py."""

from __future__ import annotations

import socket
import struct

import pytest

from vagus.actors.traceroute import _offender, trace
from vagus.errors import ConfigError


@pytest.mark.parametrize("target", ["127.0.0.1", "127.0.0.77", "::1"])
def test_a_route_that_ends_here(target):
    if ":" in target and not socket.has_ipv6:
        pytest.skip("no IPv6")
    found = trace("n1", target)
    assert found.reached
    assert (found.node, found.target, found.note) == ("n1", target, "")
    assert [hop.addresses for hop in found.hops] == [(target,)]
    assert 0 < found.hops[0].rtt_s < 5
    assert found.source


def test_what_is_no_address():
    with pytest.raises(ConfigError, match="not an IP address"):
        trace("n1", "localhost")


def test_no_route():
    found = trace("n1", "255.255.255.255")  # a datagram socket may not send to it unless told
    assert not found.reached
    assert found.hops == ()
    assert found.note


def test_who_says_so():
    four = struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton("10.1.2.3"))
    six = struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, socket.inet_pton(socket.AF_INET6, "fd00::7"), 0)
    assert _offender(four) == "10.1.2.3"
    assert _offender(six) == "fd00::7"
    for cut in (b"", b"\x02", four[:6], six[:20], struct.pack("=HH", 0, 0)):
        assert _offender(cut) == ""
