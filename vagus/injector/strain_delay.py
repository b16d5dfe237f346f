"""Delays packets where the kernel has no netem: they are redirected into a tap device, wait here, and leave from here.

A filter of the kernel's (a step that is performed once this has begun, and undone before it ends) redirects what the
device is about to send. What has waited goes out by a packet socket that passes all filters and queues by.
"""

from __future__ import annotations

import fcntl
import os
import random
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable

from vagus.injector.strain import Line
from vagus.undo.netlink import enter

MAX_WAITING_BYTES = 64 << 20
_FRAME_BYTES = 1 << 17
_AT_ONCE = 200  # frames read before it is looked what is due

# linux/if_tun.h, linux/sockios.h, linux/if_packet.h
_TUNSETIFF, _TUNSETIFINDEX, _TUNSETOFFLOAD = 0x400454CA, 0x400454DA, 0x400454D0
_TAP, _NO_PACKET_INFO = 0x0002, 0x1000
_GET_FLAGS, _SET_FLAGS, _SET_MTU, _SET_QUEUE = 0x8913, 0x8914, 0x8922, 0x8943
_UP = 0x1
_SOL_PACKET, _QDISC_BYPASS = 263, 20
_MAX_TAP_MTU = 65521
_QUEUE_PACKETS = 10_000


def strain(
    line: Line,
    device: str,
    namespace: str,
    tap: str,
    tap_index: int,
    mtu: int,
    delay_s: float,
    jitter_s: float = 0.0,
    loss_ratio: float = 0.0,
    seed: int = 0,
) -> None:
    """Delays all that comes into the tap by delay ± jitter (uniform; order is kept), loses a share of it.

    Figures: packets_s, dropped_s (what had no room, or the device did not take), lost_s. Raises OSError.
    """
    enter(namespace)
    source = _open_tap(tap, tap_index, mtu)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0) as sink:
        sink.setsockopt(_SOL_PACKET, _QDISC_BYPASS, 1)
        sink.bind((device, 0))
        line.begun()
        Delay(line, source, sink, delay_s, jitter_s, loss_ratio, seed).run()


def _open_tap(name: str, index: int, mtu: int) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(fd, _TUNSETIFINDEX, struct.pack("=I", index))
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("=16sH22x", name.encode(), _TAP | _NO_PACKET_INFO))
    fcntl.ioctl(fd, _TUNSETOFFLOAD, 0)  # segments and checksums are made before packets come here
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        name_bytes = name.encode()
        fcntl.ioctl(control, _SET_MTU, struct.pack("=16si20x", name_bytes, min(mtu, _MAX_TAP_MTU)))
        fcntl.ioctl(control, _SET_QUEUE, struct.pack("=16si20x", name_bytes, _QUEUE_PACKETS))
        found = fcntl.ioctl(control, _GET_FLAGS, struct.pack("=16sH22x", name_bytes, 0))
        flags = struct.unpack_from("=H", found, 16)[0]
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("=16sH22x", name_bytes, flags | _UP))
    return fd


class Delay:
    """What waits, between a descriptor that gives frames and a socket that takes them."""

    def __init__(
        self,
        line: Line,
        source: int,
        sink: socket.socket,
        delay_s: float,
        jitter_s: float,
        loss_ratio: float,
        seed: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        self.line, self.source, self.sink = line, source, sink
        self.delay_s, self.jitter_s, self.loss_ratio = delay_s, jitter_s, loss_ratio
        self.random = random.Random(seed)
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.waiting_bytes = 0
        self.last = 0.0
        self.passed = self.dropped = self.lost = 0

    def run(self) -> None:
        """For ever."""
        while True:
            due = self.waiting[0][0] - self.clock() if self.waiting else 0.2
            select.select([self.source], [], [], min(max(due, 0.0), 0.2))
            self.take()
            self.send()
            if self.line.due():
                age = max(self.line.age_s, 1e-3)
                self.line.tell(packets_s=self.passed / age, dropped_s=self.dropped / age, lost_s=self.lost / age)

    def take(self) -> None:
        """Takes what has come."""
        now = self.clock()
        for _ in range(_AT_ONCE):
            try:
                frame = os.read(self.source, _FRAME_BYTES)
            except BlockingIOError:
                return
            if self.loss_ratio and self.random.random() < self.loss_ratio:
                self.lost += 1
            elif self.waiting_bytes + len(frame) > MAX_WAITING_BYTES:
                self.dropped += 1
            else:
                jitter = self.random.uniform(-self.jitter_s, self.jitter_s) if self.jitter_s else 0.0
                self.last = max(self.last, now + self.delay_s + jitter)
                self.waiting.append((self.last, frame))
                self.waiting_bytes += len(frame)

    def send(self) -> None:
        """Sends what is due."""
        now = self.clock()
        while self.waiting and self.waiting[0][0] <= now:
            _, frame = self.waiting.popleft()
            self.waiting_bytes -= len(frame)
            try:
                self.sink.send(frame)
                self.passed += 1
            except OSError:  # the device is down, or its queue is full: a network loses packets
                self.dropped += 1
