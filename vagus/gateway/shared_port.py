"""A port that several listening sockets share, and that nobody else can have."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

from vagus.errors import ConfigError

BACKLOG = 1024


def listen(host: str, port: int, count: int) -> list[socket.socket]:
    """Listening sockets that share one port, which nobody else has. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made: list[socket.socket] = []
    try:
        for _ in range(count):
            one = socket.socket(family, socket.SOCK_STREAM)
            made.append(one)
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if len(made) > 1:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind((host, port))
            one.listen(BACKLOG)
            if len(made) == 1:  # only now: another gateway that wants the same port must not get it
                port = one.getsockname()[1]
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError:
        for one in made:
            one.close()
        raise
    return made


def bound(host: str, ports: Sequence[int], count: int) -> list[socket.socket]:
    """Sockets on the first of these ports that is free. Raises ConfigError when none is, or the address is not ours."""
    for port in ports:
        try:
            return listen(host, port, count)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ConfigError(f"gateway: cannot listen on {host}:{port}: {error}") from error
    return []
