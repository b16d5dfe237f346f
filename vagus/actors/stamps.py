"""Sockets that tell when the kernel received something, and bulk transfers in a thread, timed so."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator

from vagus.actors.datagrams import BURST, Address

SO_TIMESTAMPNS = 35  # as on x86 and Arm; where it is another option the kernel refuses or sends no such time
READ_BYTES = 1 << 18  # more than waits at once: a lump that is cut would carry the time of its later part
SEND_BYTES = 1 << 20
_TIMESPEC = struct.Struct("@qq")
_TIMEVAL = struct.Struct("@ll")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size) + 64


def stamp(sock: socket.socket) -> None:
    """Asks the kernel for times of arrival; where it has none, the time of reading stands in."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)


def _time_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(content) == _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack(content)
            return int(seconds) * 10**9 + int(nanoseconds)
    return time.time_ns()


def arrived_at(sock: socket.socket, max_bytes: int) -> Iterator[tuple[bytes, Address, int]]:
    """At most BURST datagrams that wait: content, sender, and when it came. One that is too long comes a byte longer."""
    for _ in range(BURST):
        if sock.fileno() < 0:
            return
        try:
            datagram, ancillary, _, address = sock.recvmsg(max_bytes + 1, _ANCILLARY_BYTES)
        except OSError:  # nothing waits, or the echo of an earlier send that failed
            return
        yield datagram, address[:2], _time_ns(ancillary)


def send_bulk(sock: socket.socket, size: int, time_s: float) -> int:
    """Sends so many bytes, or for so long; blocks; returns how many the kernel took. Raises OSError.

    One system call sends a megabyte, so that a busy process does not make the network look slow.
    """
    sock.setblocking(True)
    _limit(sock, socket.SO_SNDTIMEO, time_s)
    content = memoryview(os.urandom(1 << 16) * (min(size, SEND_BYTES) // (1 << 16) + 1))
    deadline, sent = time.monotonic() + time_s, 0
    while sent < size and time.monotonic() < deadline:
        try:
            sent += sock.send(content[: min(SEND_BYTES, size - sent)])
        except BlockingIOError:  # the time is over
            break
    return sent


def receive_bulk(sock: socket.socket, size: int, time_s: float) -> list[tuple[int, int]]:
    """Receives until the sender ends, so many bytes have come, or it took so long; blocks. Raises OSError.

    Returns (t_ns, bytes so far) of each arrival.
    """
    sock.setblocking(True)
    _limit(sock, socket.SO_RCVTIMEO, time_s)
    buffer = bytearray(READ_BYTES)
    deadline, so_far = time.monotonic() + time_s, 0
    arrivals = []
    while so_far < size and time.monotonic() < deadline:
        try:
            got, ancillary, _, _ = sock.recvmsg_into([buffer], _ANCILLARY_BYTES)
        except BlockingIOError:  # the time is over
            break
        if not got:
            break
        so_far += got
        arrivals.append((_time_ns(ancillary), so_far))
    return arrivals


def _limit(sock: socket.socket, option: int, time_s: float) -> None:
    whole = int(time_s)
    sock.setsockopt(socket.SOL_SOCKET, option, _TIMEVAL.pack(whole, int((time_s - whole) * 1e6) or 1))
