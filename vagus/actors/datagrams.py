"""Datagram sockets without a queue of their own: what cannot be sent now is the caller's to drop and count."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from vagus.errors import ConfigError

BURST = 64  # datagrams read before others get their turn
BUFFER_BYTES = 1 << 20

Address = tuple[str, int]
SO_PASSCRED = 16
SCM_CREDENTIALS = 2
CREDENTIALS = struct.Struct("iII")  # pid, uid, gid
_FLAGS = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK


def open_udp(host: str, port: int) -> socket.socket:
    """A non-blocking UDP socket bound to a numeric address. Raises OSError."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, _FLAGS)
    try:
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def open_unix(path: Path) -> socket.socket:
    """A non-blocking unix datagram socket that only this user may write to; replaces a file of that name.

    Raises ConfigError: the folder is another user's, or the socket cannot be made there.
    """
    make_folder(path)
    try:
        path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, _FLAGS)
    except OSError as error:
        raise ConfigError(f"cannot make the socket {path}: {error.strerror}") from error
    try:
        os.fchmod(sock.fileno(), 0o600)  # before it has a name: there is no moment when others may write
        sock.setsockopt(socket.SOL_SOCKET, SO_PASSCRED, 1)
        sock.bind(str(path))
        path.chmod(0o600)
    except OSError as error:
        sock.close()
        raise ConfigError(f"cannot make the socket {path}: {error.strerror}") from error
    return sock


def make_folder(path: Path) -> None:
    """The folder of a socket, only for this user. Raises ConfigError: it is another user's, or cannot be made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.parent.stat().st_uid != os.geteuid():
            raise ConfigError(f"{path.parent} belongs to another user: remove it, or set another home")
    except OSError as error:
        raise ConfigError(f"cannot make the socket {path}: {error.strerror}") from error


def arrived(sock: socket.socket | None, max_bytes: int) -> Iterator[tuple[bytes, Address]]:
    """At most BURST datagrams that wait, with their senders; one that is too long comes a byte longer than allowed."""
    for _ in range(BURST):
        if sock is None or sock.fileno() < 0:
            return
        try:
            yield sock.recvfrom(max_bytes + 1)
        except OSError:  # nothing waits, or the echo of an earlier send that failed
            return


def arrived_from(sock: socket.socket | None, max_bytes: int) -> Iterator[tuple[bytes, int]]:
    """As `arrived`, of a unix socket that `open_unix` made: with the sender's user id, as the kernel knows it."""
    for _ in range(BURST):
        if sock is None or sock.fileno() < 0:
            return
        try:
            data, ancillary, _, _ = sock.recvmsg(max_bytes + 1, socket.CMSG_SPACE(CREDENTIALS.size))
        except OSError:  # nothing waits
            return
        uids = [CREDENTIALS.unpack_from(told)[1] for _, kind, told in ancillary if kind == SCM_CREDENTIALS]
        yield data, uids[0] if uids else -1


async def resolve(host: str, port: int) -> Address:
    """A numeric address, for sending must not wait for a name server. Raises ConfigError."""
    find = partial(asyncio.get_running_loop().getaddrinfo, type=socket.SOCK_DGRAM)
    try:
        found = await find(host, port)
    except OSError as error:
        raise ConfigError(
            f"address {host}:{port} does not resolve: {error.strerror}; an entry in DNS or /etc/hosts is missing, "
            "or write a numeric address"
        ) from error
    return str(found[0][4][0]), int(found[0][4][1])


def own_address() -> str:
    """The address that this node uses towards others; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET: connecting a datagram socket only picks the route
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
