"""A datagram socket whose content is taken: NetLogger lines by UDP, parcels of this machine's programs by a unix socket.

Read in bursts; several may be on their way to the store. While it is behind nothing is read: the kernel then drops UDP
datagrams, which SO_RXQ_OVFL counts, and lets senders of a unix socket wait.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Sequence

from vagus.access import Principal
from vagus.actors.datagrams import CREDENTIALS, SCM_CREDENTIALS, SO_PASSCRED
from vagus.actors.intake import Intake
from vagus.errors import ConfigError, VagusError
from vagus.model import Event, Sample

BURST = 256
BURST_S = 0.02  # then others get their turn: what waits is read at the next one
PAUSE_S = 0.02
MAX_FLIGHT_BYTES = 4 << 20  # on their way to the store
_SO_RXQ_OVFL = 40
_DROPS = struct.Struct("I")
_ANCILLARY_BYTES = socket.CMSG_SPACE(CREDENTIALS.size) + socket.CMSG_SPACE(_DROPS.size)

Read = Callable[[bytes], tuple[Sequence[Sample], Sequence[Event]]]


class Datagrams:
    """name: of the listener, `listener:NAME` is the principal unless the kernel names a peer's uid.

    read: samples and events of one datagram, raises ConfigError. Owns the socket from here on.
    """

    def __init__(self, name: str, sock: socket.socket, read: Read, most: int, intake: Intake) -> None:
        self.sock = sock
        self._name = name
        self._who = Principal("listener", name)
        self._read = read
        self._most = most
        self._intake = intake
        self._lost = 0
        self._flight: dict[asyncio.Task[None], int] = {}  # by task: how many bytes
        self._reading = False
        unix = sock.family == socket.AF_UNIX
        sock.setsockopt(socket.SOL_SOCKET, SO_PASSCRED if unix else _SO_RXQ_OVFL, 1)

    def start(self) -> None:
        """Begins, or goes on, to read."""
        if not self._reading and self.sock.fileno() >= 0:
            self._reading = True
            asyncio.get_running_loop().add_reader(self.sock.fileno(), self._readable)

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            asyncio.get_running_loop().remove_reader(self.sock.fileno())

    async def stop(self) -> None:
        """Closes the socket; what was read is still stored."""
        self._pause()
        self.sock.close()
        await asyncio.gather(*self._flight, return_exceptions=True)

    def _readable(self) -> None:
        found: dict[Principal, tuple[list[Sample], list[Event]]] = {}
        size = 0
        until_s = time.monotonic() + BURST_S
        for number in range(BURST):
            if number and time.monotonic() > until_s:
                break
            try:
                data, ancillary, _, _ = self.sock.recvmsg(self._most + 1, _ANCILLARY_BYTES)
            except OSError:  # nothing waits
                break
            who = self._peer(ancillary) if ancillary else self._who
            if len(data) > self._most:
                self._intake.bad.note(self._name, "oversize", f"a datagram of more than {self._most} bytes")
                continue
            try:
                samples, events = self._read(data)
            except ConfigError as error:
                self._intake.bad.note(self._name, "malformed", str(error))
                continue
            known = found.setdefault(who, ([], []))
            known[0].extend(samples)
            known[1].extend(events)
            size += len(data)
        for who, (samples, events) in found.items():
            task = asyncio.ensure_future(self._take(who, samples, events))
            self._flight[task], size = size, 0
            task.add_done_callback(self._flight.pop)
        self._pace()

    def _pace(self) -> None:
        """Reads on, or looks again in a moment: others than this socket may be what keeps the store busy."""
        if self.sock.fileno() < 0:
            return
        if self._intake.busy or sum(self._flight.values()) > MAX_FLIGHT_BYTES:
            self._pause()
            asyncio.get_running_loop().call_later(PAUSE_S, self._pace)
        else:
            self.start()

    async def _take(self, who: Principal, samples: list[Sample], events: list[Event]) -> None:
        try:
            await self._intake.take(who, samples, events)
        except VagusError as error:
            self._intake.bad.note(self._name, "not stored", str(error), len(samples) + len(events))

    def _peer(self, ancillary: list[tuple[int, int, bytes]]) -> Principal:
        """Who the kernel says has sent it; what it says of drops is counted."""
        who = self._who
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == SCM_CREDENTIALS and len(data) >= CREDENTIALS.size:
                who = Principal("uid", str(CREDENTIALS.unpack_from(data)[1]))
            elif level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL and len(data) >= _DROPS.size:
                lost = _DROPS.unpack_from(data)[0]
                if lost != self._lost:
                    times, self._lost = (lost - self._lost) % (1 << 32), lost
                    self._intake.bad.note(self._name, "lost", "the socket's buffer was full", times)
        return who
