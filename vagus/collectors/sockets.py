"""TCP sockets through inet_diag with tcp_info: round trips and retransmissions by peer, sockets by state.

Formats: linux/inet_diag.h, linux/tcp.h (times in tcp_info are microseconds).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from functools import lru_cache

from vagus.collectors.netlink import SOCK_DIAG, Netlink, messages
from vagus.model import Field, Sample, Stream

MAX_PEERS = 50
MAX_SOCKET_BYTES = 8 << 20  # about 20 000 sockets; what comes after is not counted, and `complete` says so
# A walk over the kernel's table of sockets costs 0.3 ms however few there are, and parsing 1 µs a socket.
EVERY_TICKS = 20
SOCKETS_PER_TICK = 250  # with more than 5000 sockets, more ticks are left out in proportion

# The first version of the request gives both address families in one walk over the kernel's table of sockets, which
# is most of the cost; SOCK_DIAG_BY_FAMILY needs a walk for each.
TCPDIAG_GETSOCK = 18
_WANT_INFO = 1 << 1  # INET_DIAG_INFO
_INFO = 2
STATES = (
    *("established", "syn_sent", "syn_recv", "fin_wait1", "fin_wait2", "time_wait"),
    *("close", "close_wait", "last_ack", "listen", "closing", "new_syn_recv"),
)
_ESTABLISHED, _TIME_WAIT, _LISTEN = 1, 6, 10
# Sockets in TIME_WAIT are left to /proc/net/sockstat: a busy server has tens of thousands.
_STATE_MASK = sum(1 << state for state in range(1, 13) if state != _TIME_WAIT)
_MAPPED = bytes(10) + b"\xff\xff"

_REQUEST = struct.Struct("=BxxB48xII")  # struct inet_diag_req
_SOCKET = struct.Struct("=BB22x16s")  # family, state, …, idiag_dst; the message has 72 bytes
_DIAG_BYTES = 72
_ATTRIBUTE = struct.Struct("=HH")
_RTT = struct.Struct("=I")  # tcpi_rtt at byte 68 and tcpi_total_retrans at byte 100 of tcp_info
_RTT_AT, _RETRANS_AT = 68, 100

PEER_FIELDS = (
    Field("sockets", dtype="u8"),
    Field("rtt_mean_s", unit="s"),
    Field("rtt_min_s", unit="s"),
    Field("rtt_max_s", unit="s"),
    Field("retransmits", dtype="u8"),  # over the sockets that exist now: it shrinks when one closes
)
STATE_FIELDS = (
    *(Field(state, dtype="u8") for state in STATES),
    Field("peers", dtype="u8"),  # distinct peer addresses, of which at most 50 have a stream
    Field("complete", dtype="u4"),  # 0 when there were too many sockets to count all
)


class Peer:
    """What the sockets to one address add up to; times in microseconds; rtts is the number of known round trips."""

    __slots__ = ("retransmits", "rtt_max", "rtt_min", "rtt_sum", "rtts", "sockets")

    def __init__(self) -> None:
        self.sockets = self.retransmits = self.rtts = self.rtt_sum = self.rtt_max = 0
        self.rtt_min = 1 << 32

    def values(self) -> tuple[float | int, ...]:
        """In the order of PEER_FIELDS; NaN where no socket has measured a round trip."""
        if not self.rtts:
            nan = float("nan")
            return self.sockets, nan, nan, nan, self.retransmits
        # Division rounds to the nearest decimal, which packs better than a product with 1e-6.
        mean = self.rtt_sum // self.rtts / 1e6
        return self.sockets, mean, self.rtt_min / 1e6, self.rtt_max / 1e6, self.retransmits


def request() -> bytes:
    """An inet_diag_req for all TCP sockets but those in TIME_WAIT, with tcp_info."""
    return _REQUEST.pack(socket.AF_INET, _WANT_INFO, _STATE_MASK, 0)


def parse_sockets(data: bytes, peers: dict[bytes, Peer], states: list[int]) -> int:
    """Adds the sockets of a dump to `peers` (by packed address) and `states` (by kernel number); returns how many.

    Raises ValueError, IndexError or struct.error when it is malformed.
    """
    count = 0
    attribute = _ATTRIBUTE.unpack_from
    for begin, end in messages(data, TCPDIAG_GETSOCK):
        count += 1
        family, state, address = _SOCKET.unpack_from(data, begin)
        states[state] += 1
        if state == _LISTEN:
            continue
        if family == socket.AF_INET:
            address = address[:4]
        elif address.startswith(_MAPPED):
            address = address[12:]
        peer = peers.get(address)
        if peer is None:
            peer = peers[address] = Peer()
        peer.sockets += 1
        position = begin + _DIAG_BYTES
        while position + 4 <= end:
            length, kind = attribute(data, position)
            if length < 4 or position + length > end:
                raise ValueError(f"inet_diag attribute at byte {position} claims {length} bytes")
            if kind == _INFO:
                if length >= 4 + _RETRANS_AT + 4:
                    _add(peer, data, position + 4)
                break
            position += (length + 3) & ~3
    return count


def _add(peer: Peer, data: bytes, info: int) -> None:
    (rtt,) = _RTT.unpack_from(data, info + _RTT_AT)
    (retransmits,) = _RTT.unpack_from(data, info + _RETRANS_AT)
    peer.retransmits += retransmits
    if rtt:
        peer.rtts += 1
        peer.rtt_sum += rtt
        if rtt < peer.rtt_min:
            peer.rtt_min = rtt
        if rtt > peer.rtt_max:
            peer.rtt_max = rtt


@lru_cache(maxsize=4096)
def address_text(packed: bytes) -> str:
    """`192.0.2.7` or `2001:db8::7`."""
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


class Sockets:
    """`net.peer{peer=}` for the 50 addresses with the most sockets, and `net.tcp_states`.

    An address that was among the 50 stays until another has twice its sockets, so that streams do not flicker.
    Every twentieth tick gives samples; with more than 5000 sockets every 21st, then every 22nd ….
    """

    source = "inet_diag"

    def __init__(self, node: str, netlink: Netlink | None = None, time_wait: Callable[[], int] = lambda: 0) -> None:
        self._node = node
        self._netlink = netlink or Netlink(SOCK_DIAG)
        self._time_wait = time_wait
        self._states = Stream(node, "net.tcp_states", STATE_FIELDS)
        self._streams: dict[bytes, Stream] = {}
        self._skip = 0

    def read(self, t_ns: int) -> Iterator[Sample]:
        """The samples of this tick; none when it is left out."""
        if self._skip:
            self._skip -= 1
            return
        peers: dict[bytes, Peer] = {}
        states = [0] * 256
        data, complete = self._netlink.dump(TCPDIAG_GETSOCK, request(), MAX_SOCKET_BYTES)
        count = parse_sockets(data, peers, states)
        self._skip = max(EVERY_TICKS - 1, count // SOCKETS_PER_TICK)
        states[_TIME_WAIT] = self._time_wait()
        yield Sample(self._states, t_ns, (*states[1 : len(STATES) + 1], len(peers), int(complete)))
        for address in self._most(peers):
            yield Sample(self._streams[address], t_ns, peers[address].values())

    def _most(self, peers: dict[bytes, Peer]) -> list[bytes]:
        known = self._streams

        def rank(address: bytes) -> tuple[int, bytes]:
            return -peers[address].sockets * (2 if address in known else 1), address

        chosen = list(peers) if len(peers) <= MAX_PEERS else sorted(peers, key=rank)[:MAX_PEERS]
        self._streams = {
            address: known.get(address) or Stream(self._node, "net.peer", PEER_FIELDS, {"peer": address_text(address)})
            for address in chosen
        }
        return chosen

    def close(self) -> None:
        """Closes the socket."""
        self._netlink.close()
