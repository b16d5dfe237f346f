"""The route to an address, found as traceroute does: datagrams that live for one hop, two hops …

Who drops one says so by ICMP, which Linux hands to the socket that sent it (IP_RECVERR, ip(7)): no privilege is
needed. Probes go in waves, so that a path of usual length takes one or two round trips.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import select
import socket
import struct
import time

from vagus.gateway.path import Trace, TracedHop, check_address

MAX_HOPS = 30
PROBES = 3  # of each distance; routers answer a burst of 6 to one sender
WAVE = 5  # distances at once
WAIT_S = 0.6  # for the answers to a wave: six silent waves stay within a gateway's patience
SILENT = 2  # waves without any answer, after which nothing more is expected
PORT = 33434  # traceroute's, where nothing listens

IP_RECVERR, IPV6_RECVERR = 11, 25
_ERROR = struct.Struct("=IBBBxII")  # struct sock_extended_err: errno, origin, type, code, info, data
_LOCAL, _ICMP, _ICMP6 = 1, 2, 3
_EXPIRED = {(_ICMP, 11, 0), (_ICMP6, 3, 0)}
_ARRIVED = {(_ICMP, 3, 3), (_ICMP6, 1, 4)}  # nothing listens on that port: the datagram is there


class _Probe:
    """One datagram on its way, and what came of it."""

    def __init__(self, target: str, distance: int, port: int) -> None:
        self.distance = distance
        self.address = ""
        self.rtt_s = float("nan")
        self.arrived = False
        self.refused = ""
        six = ":" in target
        self.socket = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self.socket.setblocking(False)
            if six:
                self.socket.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, distance)
            else:
                self.socket.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
                self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, distance)
            self.socket.connect((target, port))
        except BaseException:
            self.socket.close()
            raise
        self._target = target
        self._sent_s = time.monotonic()

    def send(self) -> None:
        self._sent_s = time.monotonic()
        with contextlib.suppress(OSError):  # an error that is already there is read like any other
            self.socket.send(bytes(24))

    def read(self) -> bool:
        """Whether an answer has come."""
        try:
            _, ancillary, _, _ = self.socket.recvmsg(512, 512, socket.MSG_ERRQUEUE)
        except OSError:
            return self._read_data()
        for level, kind, data in ancillary:
            if (level, kind) in ((socket.IPPROTO_IP, IP_RECVERR), (socket.IPPROTO_IPV6, IPV6_RECVERR)):
                return self._judge(data)
        return False

    def _read_data(self) -> bool:
        """Something does listen on that port, and answered."""
        try:
            self.socket.recv(512)
        except OSError:
            return False
        return self._answered(self._target, True)

    def _judge(self, data: bytes) -> bool:
        number, origin, kind, code, _, _ = _ERROR.unpack_from(data)
        if origin == _LOCAL:
            self.refused = os.strerror(number)
            return True
        said = (origin, kind, code)
        address = _offender(data[_ERROR.size :])
        if not address:
            return False
        arrived = said in _ARRIVED and address == self._target  # else a filter on the way says so in its name
        if said not in _EXPIRED and not arrived:
            self.refused = f"{address} says: {os.strerror(number)}"
        return self._answered(address, arrived)

    def _answered(self, address: str, arrived: bool) -> bool:
        self.rtt_s = time.monotonic() - self._sent_s
        self.address, self.arrived = address, arrived
        return True


def trace(node: str, target: str) -> Trace:
    """The route from here to an address; blocks for at most about 4 s. Raises ConfigError: not an address."""
    target = check_address(target)
    probes: list[_Probe] = []
    source, note, silent = "", "", 0
    try:
        for first in range(1, MAX_HOPS + 1, WAVE):
            distances = range(first, min(first + WAVE, MAX_HOPS + 1))
            probes.extend(_Probe(target, d, PORT + PROBES * d + n) for d in distances for n in range(PROBES))
            wave = [p for p in probes if p.distance >= first]
            source = source or str(wave[0].socket.getsockname()[0])
            _run(wave, probes)
            note = next((p.refused for p in wave if p.refused), "")
            silent = 0 if any(p.address for p in wave) else silent + 1
            if note or silent == SILENT or any(p.arrived for p in probes):
                break
    except OSError as error:
        note = error.strerror or errno.errorcode.get(error.errno or 0, str(error))
    finally:
        for probe in probes:
            probe.socket.close()
    hops = _hops(probes)
    reached = any(p.arrived for p in probes)
    return Trace(node, source, target, hops, reached, "" if reached else note or "no answer from further on")


def _run(wave: list[_Probe], probes: list[_Probe]) -> None:
    """Sends a wave and reads answers, to earlier waves too, until all of this one have come or WAIT_S is over."""
    poll = select.poll()
    open_probes = {p.socket.fileno(): p for p in probes if not p.address and not p.refused}
    for fd in open_probes:
        poll.register(fd, select.POLLIN)
    for probe in wave:
        probe.send()
    waited = {p.socket.fileno() for p in wave}
    until_s = time.monotonic() + WAIT_S
    while waited and (left_s := until_s - time.monotonic()) > 0:
        for fd, _ in poll.poll(left_s * 1000):
            if open_probes[fd].read():
                poll.unregister(fd)
                waited.discard(fd)
        arrived = [p.distance for p in wave if p.arrived]
        if arrived and all(p.address for p in wave if p.distance <= min(arrived)):
            return  # those beyond it tell nothing more


def _hops(probes: list[_Probe]) -> tuple[TracedHop, ...]:
    """By distance up to where the target answered first; silence at the end is left out."""
    ends = [p.distance for p in probes if p.arrived]
    most = min(ends) if ends else max((p.distance for p in probes if p.address), default=0)
    hops = []
    for distance in range(1, most + 1):
        here = [p for p in probes if p.distance == distance and p.address]
        if ends and distance == most:
            here = [p for p in here if p.arrived]
        addresses = tuple(dict.fromkeys(p.address for p in here))
        hops.append(TracedHop(addresses, min((p.rtt_s for p in here), default=None)))
    return tuple(hops)


def _offender(data: bytes) -> str:
    """The address in the sockaddr behind an extended error; nothing when there is none."""
    (family,) = struct.unpack_from("=H", data) if len(data) >= 2 else (0,)
    if family == socket.AF_INET and len(data) >= 8:
        return socket.inet_ntop(socket.AF_INET, data[4:8])
    if family == socket.AF_INET6 and len(data) >= 24:
        return str(ipaddress.ip_address(data[8:24]))
    return ""
