"""Sealed datagrams: authenticated, encrypted, protected against replay, with one key for the whole cluster.

    version (1) | session (16, random per start) | counter (8) | ChaCha20-Poly1305(time_ns (8) | n (2) | node (n) | body)

The header is authenticated too. Each session has its own key, BLAKE2b of the session under the cluster's key, and the
counter is the nonce, so that no nonce is used twice although all nodes share the key and none remembers its counter.
A receiver keeps a window of counters for each session (as IPsec does, RFC 4303) and refuses what is older than
`window_s`, so that a session it has forgotten cannot be replayed. A receiver that restarts may take a replay once
within that time; gossip is idempotent.
"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from vagus.clock import NS, Clock, SystemClock
from vagus.errors import ConfigError

VERSION = 1
KEY_BYTES = 32
SESSION_BYTES = 16
MAX_DATAGRAM_BYTES = 60_000
MAX_SESSIONS = 4096
REPLAY_BITS = 1024

_HEADER = struct.Struct(f">B{SESSION_BYTES}sQ")
_INNER = struct.Struct(">QH")
_TAG_BYTES = 16
_REPLAY_MASK = (1 << REPLAY_BITS) - 1


class Opened(NamedTuple):
    """A datagram that a node of this cluster sealed."""

    node: str
    body: bytes


class _Session:
    """A sender's key, the highest counter seen, and a bit for each of the counters below it."""

    def __init__(self, cipher: ChaCha20Poly1305) -> None:
        self.cipher = cipher
        self.node = ""
        self.high = -1
        self.seen = 0
        self.last_ns = 0

    def replayed(self, counter: int) -> bool:
        """True for a counter that came before, or too far behind to tell."""
        behind = self.high - counter
        return behind >= 0 and (behind >= REPLAY_BITS or bool(self.seen >> behind & 1))

    def mark(self, counter: int) -> None:
        """Notes an authentic counter."""
        if counter > self.high:
            shift = counter - self.high
            self.seen = (self.seen << shift & _REPLAY_MASK | 1) if shift < REPLAY_BITS else 1
            self.high = counter
        else:
            self.seen |= 1 << (self.high - counter)


class Sealer:
    """Seals this node's datagrams and opens others'. Raises ConfigError for a key that is not 32 bytes.

    `refused` counts what was not opened, by reason: size, version, forged, stale, replayed, reflected, crowded.
    `session` must be unpredictable and never used twice with a key; leave it out.
    """

    def __init__(
        self, key: bytes, node: str, *, clock: Clock | None = None, window_s: float = 120, session: bytes = b""
    ) -> None:
        if len(key) != KEY_BYTES:
            raise ConfigError(f"the cluster's gossip key has {len(key)} bytes; it must have {KEY_BYTES}")
        if session and len(session) != SESSION_BYTES:
            raise ConfigError(f"a session has {SESSION_BYTES} bytes, not {len(session)}")
        name = node.encode()
        if not 0 < len(name) <= 800:
            raise ConfigError(f"node name {node[:50]!r} has {len(name)} bytes; 1 to 800 are allowed")
        self.node = node
        self.refused: Counter[str] = Counter()
        self.last_refused = ""
        self._key = key
        self._name = name
        self._clock = clock or SystemClock()
        self._window_ns = round(window_s * NS)
        self._session = session or _random_session()
        self._cipher = self._derive(self._session)
        self._counter = 0
        self._sessions: dict[bytes, _Session] = {}

    def seal(self, body: bytes) -> bytes:
        """A datagram with `body`. Raises ConfigError when it would exceed 60 000 bytes."""
        size = _HEADER.size + _INNER.size + len(self._name) + len(body) + _TAG_BYTES
        if size > MAX_DATAGRAM_BYTES:
            raise ConfigError(f"a datagram of {size} bytes; at most {MAX_DATAGRAM_BYTES} are sent")
        self._counter += 1
        header = _HEADER.pack(VERSION, self._session, self._counter)
        inner = _INNER.pack(self._clock.time_ns(), len(self._name)) + self._name + body
        return header + self._cipher.encrypt(_nonce(self._counter), inner, header)

    def open(self, datagram: bytes) -> Opened | None:
        """Who sent it and what; None, counted in `refused`, for anything that this cluster did not seal just now."""
        opened = self._open(datagram)
        if isinstance(opened, Opened):
            return opened
        self.refused[opened] += 1
        self.last_refused = opened
        return None

    def _open(self, datagram: bytes) -> Opened | str:
        if not _HEADER.size + _INNER.size + _TAG_BYTES < len(datagram) <= MAX_DATAGRAM_BYTES:
            return "size"
        version, session_id, counter = _HEADER.unpack_from(datagram)
        if version != VERSION:
            return "version"
        if session_id == self._session:
            return "reflected"
        session = self._sessions.get(session_id)
        if session is not None and session.replayed(counter):
            return "replayed"
        fresh = session or _Session(self._derive(session_id))
        try:
            inner = fresh.cipher.decrypt(_nonce(counter), datagram[_HEADER.size :], datagram[: _HEADER.size])
        except InvalidTag:
            return "forged"
        sent_ns, length = _INNER.unpack_from(inner)
        now_ns = self._clock.time_ns()
        if abs(now_ns - sent_ns) > self._window_ns:
            return "stale"
        try:
            node = inner[_INNER.size : _INNER.size + length].decode()
        except UnicodeDecodeError:
            return "forged"
        if not node or len(inner) < _INNER.size + length or fresh.node not in ("", node):
            return "forged"
        if session is None:
            if len(self._sessions) >= MAX_SESSIONS and not self._forget_old(now_ns):
                return "crowded"
            fresh.node = node
            self._sessions[session_id] = fresh
        fresh.mark(counter)
        fresh.last_ns = now_ns
        return Opened(node, inner[_INNER.size + length :])

    def _derive(self, session: bytes) -> ChaCha20Poly1305:
        return ChaCha20Poly1305(
            hashlib.blake2b(session, key=self._key, digest_size=KEY_BYTES, person=b"vagus gossip 1").digest()
        )

    def _forget_old(self, now_ns: int) -> bool:
        """Forgets sessions whose last datagram would be refused as stale by now; True if there were any.

        Twice the window, for a datagram may carry a time that far ahead of this node's clock.
        """
        old = [key for key, session in self._sessions.items() if session.last_ns + 2 * self._window_ns < now_ns]
        for key in old:
            del self._sessions[key]
        return bool(old)


def _nonce(counter: int) -> bytes:
    return counter.to_bytes(12, "big")


def _random_session() -> bytes:
    import secrets

    return secrets.token_bytes(SESSION_BYTES)
