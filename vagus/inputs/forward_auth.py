"""The handshake of Fluent's forward protocol: both sides show that they know a shared key, and neither sends it.

HELO (server, a nonce) → PING (client, its name, a salt, a digest) → PONG (server, a digest of its own).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any

import msgpack

from vagus.errors import ConfigError

SALT_BYTES = 16


class Handshake:
    """The server's side of one connection. hello: what it sends first; nonce is given in tests."""

    def __init__(self, key: bytes, server: str, nonce: bytes | None = None) -> None:
        self._key = key
        self._server = server
        self._nonce = nonce or secrets.token_bytes(SALT_BYTES)
        self.hello: bytes = msgpack.packb(["HELO", {"nonce": self._nonce, "auth": "", "keepalive": True}])

    def answer(self, ping: Any) -> tuple[bool, bytes]:
        """Whether the client knows the key, and the PONG. Raises ConfigError when it is no PING."""
        if not isinstance(ping, list) or len(ping) != 6 or ping[0] != "PING":
            raise ConfigError("this port needs the shared key: a PING was expected after HELO")
        name, salt, digest = (_bytes(part) for part in ping[1:4])
        known = hmac.compare_digest(digest, self._digest(salt, name))
        if not known:
            return False, msgpack.packb(["PONG", False, "the shared key does not match", "", ""])
        proof = self._digest(salt, self._server.encode()).decode()
        return True, msgpack.packb(["PONG", True, "", self._server, proof])

    def _digest(self, salt: bytes, name: bytes) -> bytes:
        return hashlib.sha512(salt + name + self._nonce + self._key).hexdigest().encode()


def _bytes(part: Any) -> bytes:
    if isinstance(part, bytes):
        return part
    if isinstance(part, str):
        return part.encode("utf-8", "surrogateescape")
    raise ConfigError("a PING holds text")
