"""Netlink by struct: requests that dump a table of the kernel, and the walk through messages and attributes.

Formats: linux/netlink.h. Everything is in the machine's byte order. Parsers take bytes, so that captured dumps test
them. No privilege is needed in the process' own network namespace.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from collections.abc import Collection, Iterator

from vagus.errors import CollectError

ROUTE = 0
SOCK_DIAG = 4

MAX_DUMP_BYTES = 16 << 20
MAX_NOTICES = 1000  # taken at one look; the rest makes the next look true too
_RECEIVE_BYTES = 1 << 16  # the kernel fills at most 32 KiB of it
_TIMEOUT = struct.pack("@ll", 1, 0)  # a dump is answered at once; this is for a kernel that does not
_REQUEST_DUMP = 0x0001 | 0x0300
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_LAST = struct.Struct("=IHHIIi")
_MESSAGE = struct.Struct("=IH")
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF


class Netlink:
    """A socket of one netlink family, opened at the first dump and again after an error."""

    def __init__(self, family: int) -> None:
        self._family = family
        self._socket: socket.socket | None = None
        self._sequence = 0

    def dump(self, kind: int, payload: bytes, limit_bytes: int = MAX_DUMP_BYTES) -> tuple[bytes, bool]:
        """All messages that answer a dump request of type `kind`, and whether they are complete.

        Incomplete means that more than `limit_bytes` came; the rest is left unread. Raises CollectError with the
        kernel's reason.
        """
        try:
            return self._dump(kind, payload, limit_bytes)
        except OSError as error:
            self.close()
            raise CollectError(f"netlink family {self._family}, request {kind}: {error.strerror or error}") from error

    def _dump(self, kind: int, payload: bytes, limit_bytes: int) -> tuple[bytes, bool]:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, self._family)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEOUT)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._sequence = (self._sequence + 1) & 0x7FFFFFFF
        length = _HEADER.size + len(payload)
        self._socket.send(_HEADER.pack(length, kind, _REQUEST_DUMP, self._sequence, 0) + payload)
        parts = []
        size = 0
        while True:
            data = self._socket.recv(_RECEIVE_BYTES)
            check_error(data)
            parts.append(data)
            size += len(data)
            if ends(data, self._sequence):
                return b"".join(parts), True
            if size > limit_bytes:
                self.close()  # a dump cannot be stopped: the next one gets a new socket
                return b"".join(parts), False

    def close(self) -> None:
        """Closes the socket; the next dump opens one again. Idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Notices:
    """What the kernel tells of changes in a family's groups (a bit mask), opened at the first look."""

    def __init__(self, family: int, groups: int) -> None:
        self._family = family
        self._groups = groups
        self._socket: socket.socket | None = None
        self._poll = select.poll()

    def came(self) -> bool:
        """Whether anything may have changed since the last look: true at the first one, and where nothing is told."""
        try:
            if self._socket is not None:
                return bool(self._poll.poll(0)) and self._take(self._socket)
            kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            self._socket = socket.socket(socket.AF_NETLINK, kind, self._family)
            self._socket.bind((0, self._groups))
            self._poll.register(self._socket, select.POLLIN)
        except OSError:  # ENOBUFS: more came than the socket holds
            self.close()
        return True

    def _take(self, source: socket.socket) -> bool:
        with contextlib.suppress(BlockingIOError):
            for _ in range(MAX_NOTICES):
                source.recv(_RECEIVE_BYTES)
        return True

    def close(self) -> None:
        """Closes the socket; the next look opens it again. Idempotent."""
        if self._socket is not None:
            with contextlib.suppress(KeyError):
                self._poll.unregister(self._socket)
            self._socket.close()
            self._socket = None


def ends(data: bytes, sequence: int) -> bool:
    """Whether a datagram ends with the message that ends a dump."""
    if len(data) < _LAST.size:
        return False
    length, kind, _, found, _, result = _LAST.unpack_from(data, len(data) - _LAST.size)
    if length != _LAST.size or kind != _DONE or found != sequence:
        return False
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return True


def check_error(data: bytes) -> None:
    """Raises OSError when a datagram begins with the kernel's refusal."""
    if len(data) < _LAST.size:
        raise OSError(0, f"a datagram of {len(data)} bytes is too short for any message")
    _, kind, _, _, _, result = _LAST.unpack_from(data, 0)
    if kind == _ERROR and result < 0:
        raise OSError(-result, os.strerror(-result))


def messages(data: bytes, kind: int) -> Iterator[tuple[int, int]]:
    """Where the payload of each message of type `kind` begins and ends. Raises ValueError when one is cut."""
    position = 0
    size = len(data)
    while position < size:
        length, found = _MESSAGE.unpack_from(data, position)
        if length < _HEADER.size or position + length > size:
            raise ValueError(f"netlink message at byte {position} claims {length} bytes; {size - position} are left")
        if found == kind:
            yield position + _HEADER.size, position + length
        position += (length + 3) & ~3


def attributes(
    data: bytes, position: int, end: int, wanted: Collection[int] = range(_TYPE_MASK + 1)
) -> dict[int, tuple[int, int]]:
    """Attributes between two positions: type → where its content begins and ends. Raises ValueError when one is cut.

    wanted: types to look for; the walk ends when all of them are found.
    """
    found = {}
    unpack = _ATTRIBUTE.unpack_from
    while position + 4 <= end:
        length, kind = unpack(data, position)
        if length < 4 or position + length > end:
            raise ValueError(f"netlink attribute at byte {position} claims {length} bytes; {end - position} are left")
        kind &= _TYPE_MASK
        if kind in wanted:
            found[kind] = (position + 4, position + length)
            if len(found) == len(wanted):
                break
        position += (length + 3) & ~3
    return found


def text(data: bytes, span: tuple[int, int]) -> str:
    """A zero-terminated string attribute."""
    return data[span[0] : span[1]].split(b"\0", 1)[0].decode("utf-8", "replace")
