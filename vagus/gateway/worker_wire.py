"""What the collector's gateway and its worker processes say to each other: frames of MessagePack over socket pairs.

A frame is a length (4 bytes, big-endian) and a tagged array. Down come settings, tables, live numbers and answers to
outcomes; up go decisions and outcomes, in the order in which they happened, and each second what was counted. Both ends
are processes of ours, started by the collector; what they send is typed and bounded all the same.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from vagus.config import AccessRule
from vagus.model import Ack, Decision, Reward, Scalar

LENGTH = struct.Struct(">I")
MAX_FRAME_BYTES = 512 << 20
READ_BYTES = 1 << 18
PART_BYTES = 32 << 10
"""Of what was read of a connection that is handed on: how much goes into one packet."""
MAX_MOVING = 4096
"""Connections that wait for the collector to take them."""
_HEAD = struct.Struct(">I")


class Setup(msgspec.Struct, frozen=True, array_like=True, tag="setup"):
    """What a worker works by. tokens: of principals, by name, the cluster's own first; hosts: names of the gateway;
    contextual: live numbers will come; prefix, labels: as of DecisionTable.
    """

    node: str
    tokens: tuple[tuple[str, str], ...]
    rules: tuple[AccessRule, ...]
    hosts: tuple[str, ...]
    max_body_bytes: int
    contextual: bool
    prefix: str
    labels: tuple[str, ...]


class Table(msgspec.Struct, frozen=True, array_like=True, tag="table"):
    """A TableUpdate as MessagePack."""

    update: bytes


class Live(msgspec.Struct, frozen=True, array_like=True, tag="live"):
    """Live numbers for decisions."""

    features: dict[str, Scalar]


class Answered(msgspec.Struct, frozen=True, array_like=True, tag="answered"):
    """Of Rewarded: the acks, or the refusal: status, code, message, where, hint."""

    number: int
    acks: tuple[Ack, ...] = ()
    problem: tuple[int, str, str, str, str] | None = None


class Stop(msgspec.Struct, frozen=True, array_like=True, tag="stop"):
    """Answer what was begun, then end."""


class Ready(msgspec.Struct, frozen=True, array_like=True, tag="ready"):
    """The worker listens."""


class Stale(msgspec.Struct, frozen=True, array_like=True, tag="stale"):
    """A table did not fit: send all of it."""


class Decided(msgspec.Struct, frozen=True, array_like=True, tag="decided"):
    """Decisions, to be logged."""

    decisions: tuple[Decision, ...]


class Rewarded(msgspec.Struct, frozen=True, array_like=True, tag="rewarded"):
    """Outcomes, to be answered."""

    number: int
    rewards: tuple[Reward, ...]


class Counted(msgspec.Struct, frozen=True, array_like=True, tag="counted"):
    """Each second: answers since the last time, by method, path and status; failures: defects of ours, the last."""

    requests: tuple[tuple[str, str, int, int], ...]
    failures: int
    last_failure: str


Down = Setup | Table | Live | Answered | Stop
Up = Ready | Stale | Decided | Rewarded | Counted
_encode = msgspec.msgpack.Encoder().encode
down = msgspec.msgpack.Decoder(Down).decode
up = msgspec.msgpack.Decoder(Up).decode


class Link:
    """One end of the pair. `send` writes at once, so that what is sent before an answer is there before it.

    heard: is given each frame's body; lost: is told once when the other end is gone; drained: when what waited is sent.
    """

    def __init__(
        self,
        pair: socket.socket,
        heard: Callable[[bytes], None],
        lost: Callable[[], None],
        drained: Callable[[], None] = lambda: None,
    ) -> None:
        pair.setblocking(False)
        self._socket = pair
        self._heard = heard
        self._lost = lost
        self._drained = drained
        self._in = bytearray()
        self._out: deque[memoryview] = deque()
        self.backlog = 0  # bytes that the other end has no room for
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._loop.add_reader(pair.fileno(), self._read)

    def send(self, record: Down | Up) -> None:
        """Sends, or keeps for when there is room."""
        if not self._open:
            return
        body = _encode(record)
        frame = memoryview(LENGTH.pack(len(body)) + body)
        if not self._out:
            with suppress(BlockingIOError, InterruptedError):
                try:
                    frame = frame[self._socket.send(frame) :]
                except (BlockingIOError, InterruptedError):
                    raise
                except OSError:
                    self._end()
                    return
            if not frame:
                return
            self._loop.add_writer(self._socket.fileno(), self._write)
        self._out.append(frame)
        self.backlog += len(frame)

    def close(self) -> None:
        """Ends it, without telling."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()

    def _end(self) -> None:
        if self._open:
            self.close()
            self._lost()

    def _write(self) -> None:
        try:
            while self._out:
                frame = self._out[0]
                sent = self._socket.send(frame)
                self.backlog -= sent
                if sent < len(frame):
                    self._out[0] = frame[sent:]
                    return
                self._out.popleft()
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._end()
            return
        self._loop.remove_writer(self._socket.fileno())
        self._drained()

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        self._in += data
        at = 0
        while self._open and len(self._in) - at >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._in, at)
            if length > MAX_FRAME_BYTES:
                self._end()
                return
            end = at + LENGTH.size + length
            if len(self._in) < end:
                break
            body = bytes(memoryview(self._in)[at + LENGTH.size : end])
            at = end
            self._heard(body)
        if at:
            del self._in[:at]


class Movers:
    """Hands open connections to the other end of a pair (SOCK_SEQPACKET), each with the bytes read of it."""

    def __init__(self, pair: socket.socket) -> None:
        pair.setblocking(False)
        self._socket = pair
        self._waiting: deque[tuple[int, bytes, int]] = deque()  # descriptor (-1: went with the first part), rest, parts
        self._loop = asyncio.get_running_loop()

    def move(self, descriptor: int, data: bytes) -> bool:
        """Takes the descriptor over; False when too many wait, or the other end is gone."""
        if len(self._waiting) >= MAX_MOVING:
            return False
        self._waiting.append((descriptor, data, 1 + max(0, len(data) - 1) // PART_BYTES))
        if len(self._waiting) == 1:
            self._send()
        return True

    def _send(self) -> None:
        while self._waiting:
            descriptor, data, parts = self._waiting[0]
            part = _HEAD.pack(parts) + data[:PART_BYTES]
            try:
                if descriptor >= 0:
                    socket.send_fds(self._socket, [part], [descriptor])
                else:
                    self._socket.send(part)
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(self._socket.fileno(), self._send)
                return
            except OSError:
                self._waiting.clear()
                break
            if descriptor >= 0:
                os.close(descriptor)
            if parts > 1:
                self._waiting[0] = (-1, data[PART_BYTES:], parts - 1)
            else:
                self._waiting.popleft()
        with suppress(ValueError, OSError):
            self._loop.remove_writer(self._socket.fileno())


class Moved:
    """The other end: `arrived` is given each connection with what was read of it. close() ends it."""

    def __init__(self, pair: socket.socket, arrived: Callable[[socket.socket, bytes], Any]) -> None:
        pair.setblocking(False)
        self._socket = pair
        self._arrived = arrived
        self._half: tuple[socket.socket, bytearray] | None = None
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._loop.add_reader(pair.fileno(), self._read)

    def close(self) -> None:
        """Ends it; a connection of which not all has come is closed."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            if self._half is not None:
                self._half[0].close()

    def _read(self) -> None:
        try:
            part, descriptors, _, _ = socket.recv_fds(self._socket, _HEAD.size + PART_BYTES, 1)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            part, descriptors = b"", []
        if len(part) < _HEAD.size:
            self.close()  # the worker is gone; its Link tells
            return
        (parts,) = _HEAD.unpack_from(part)
        if descriptors:
            self._half = (socket.socket(fileno=descriptors[0]), bytearray())
        if self._half is None:
            return
        self._half[1].extend(part[_HEAD.size :])
        if parts == 1:
            connection, data = self._half
            self._half = None
            connection.setblocking(False)
            self._arrived(connection, bytes(data))
