"""What usual monitors ask of a server: a new connection, the program's own ping, a second's patience."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable


def _asked(address: tuple[str, int], question: bytes, timeout_s: float, size: int = 1) -> bytes:
    with socket.create_connection(address, timeout_s) as sock:
        sock.settimeout(timeout_s)
        sock.sendall(question)
        answer = b""
        while len(answer) < size and (more := sock.recv(4096)):
            answer += more
        return answer


def nginx(address: tuple[str, int], timeout_s: float) -> bool:
    """A health page that answers 200."""
    return b" 200 " in _asked(address, b"GET /healthz HTTP/1.0\r\n\r\n", timeout_s, 15)[:15]


def redis(address: tuple[str, int], timeout_s: float) -> bool:
    """PING."""
    return _asked(address, b"PING\r\n", timeout_s, 5).startswith(b"+PONG")


def memcached(address: tuple[str, int], timeout_s: float) -> bool:
    """The version."""
    return _asked(address, b"version\r\n", timeout_s, 8).startswith(b"VERSION ")


def postgres(address: tuple[str, int], timeout_s: float) -> bool:
    """As pg_isready does: any answer to a login but that the server is starting or stopping."""
    body = struct.pack("!I", 196608) + b"user\0app\0database\0postgres\0\0"
    answer = _asked(address, struct.pack("!I", len(body) + 4) + body, timeout_s)
    return answer[:1] in (b"R", b"E") and b"C57P03\0" not in answer


PINGS: dict[str, Callable[[tuple[str, int], float], bool]] = {
    "nginx": nginx,
    "redis": redis,
    "memcached": memcached,
    "postgres": postgres,
}
