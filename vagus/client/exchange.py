"""One HTTP/1.1 request and its answer over a kept-alive socket, all of it within a deadline.

What `http.client` cannot do for who waits on a decision: its time-out counts anew with each packet, so that a server
that trickles holds its caller for as long as it likes; and it costs four times as much CPU.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from time import monotonic
from urllib.parse import urlsplit

from vagus.errors import ConfigError, PeerUnreachable

MAX_HEAD_BYTES = 16 << 10
MAX_BODY_BYTES = 16 << 20
MAX_IDLE = 16
_READ_BYTES = 64 << 10
_STATUS = re.compile(rb"HTTP/1\.([01]) ([2-5]\d\d)(?: |\Z)")
_LENGTH = re.compile(rb"(?i)\ncontent-length:[ \t]*(\d{1,9})[ \t]*(?:\r|\Z)")
_CLOSE = re.compile(rb"(?i)\nconnection:[^\r]*\bclose\b")
_CODED = re.compile(rb"(?i)\ntransfer-encoding:")


class Reading:
    """An answer as it arrives. `feed` says whether it is complete, and raises PeerUnreachable for what is no answer.

    status, body: of the complete answer; keep: whether the connection may be used again.
    """

    __slots__ = ("_at", "_data", "_length", "keep", "status")

    def __init__(self) -> None:
        self.status = 0
        self.keep = False
        self._data = bytearray()
        self._at = 0  # where the body begins; 0: the head is not complete
        self._length = 0

    @property
    def body(self) -> bytes:
        """What came behind the head."""
        return bytes(self._data[self._at :])

    def feed(self, data: bytes) -> bool:
        """The next bytes of the connection, in pieces of any size."""
        whole = self._data
        begun = max(0, len(whole) - 3)
        whole += data
        if not self._at:
            end = whole.find(b"\r\n\r\n", begun)
            if max(end, len(whole) - 4 if end < 0 else 0) > MAX_HEAD_BYTES:
                raise PeerUnreachable(f"the head of the answer is longer than {MAX_HEAD_BYTES} bytes")
            if end < 0:
                return False
            self._head(bytes(whole[:end]))
            self._at = end + 4
        more = len(whole) - self._at - self._length
        if more > 0:
            raise PeerUnreachable(f"{more} bytes came behind the end of the answer")
        return more == 0

    def _head(self, head: bytes) -> None:
        status = _STATUS.match(head)
        if status is None:
            raise PeerUnreachable(f"the answer begins with {head[:40]!r}, which is not HTTP/1.1")
        lengths = _LENGTH.findall(head)
        if len(lengths) != 1 or _CODED.search(head):
            raise PeerUnreachable("the answer does not say its length, which gateways do: is it one?")
        self._length = int(lengths[0])
        if self._length > MAX_BODY_BYTES:
            raise PeerUnreachable(f"the answer has {self._length} bytes; at most {MAX_BODY_BYTES} are read")
        self.status = int(status[2])
        self.keep = status[1] == b"1" and not _CLOSE.search(head)


class Place:
    """A gateway's address with its token: makes the bytes of requests. Raises ConfigError for what is no address."""

    def __init__(self, url: str, token: str) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or 80
        except ValueError:
            host, port = None, 0
        if not host or parts.scheme != "http" or parts.path.strip("/"):
            raise ConfigError(f"gateway address {url[:200]!r} is not http://HOST:PORT")
        if not (token.isascii() and token.isprintable()):
            raise ConfigError(f"the token for {url} has characters that no header can carry")
        self.url = url.rstrip("/")
        self.host = host
        self.port = port
        self.token = token
        named = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._fields = f" HTTP/1.1\r\nHost: {named}\r\nAuthorization: Bearer {token}\r\n".encode()

    def request(self, path: bytes, body: bytes | None = None) -> bytes:
        """A GET, or a POST of JSON."""
        if body is None:
            return b"GET " + path + self._fields + b"\r\n"
        length = str(len(body)).encode()
        kind = b"Content-Type: application/json\r\nContent-Length: "
        return b"".join((b"POST ", path, self._fields, kind, length, b"\r\n\r\n", body))


class Channel:
    """Connections to one place, kept for the next request. Thread-safe, and safe after a fork."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._idle: list[socket.socket] = []
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def ask(self, path: bytes, body: bytes | None, timeout_s: float) -> tuple[int, bytes]:
        """The status and the body of the answer, complete within `timeout_s`. Raises PeerUnreachable.

        A kept connection that the server has closed meanwhile is replaced by a new one, once. A host name is looked
        up by the system's resolver, which keeps to no deadline: addresses are better.
        """
        request = self.place.request(path, body)
        deadline = monotonic() + timeout_s
        kept = self._take()
        if kept is not None:
            try:
                return self._exchange(kept, request, deadline)
            except _Gone:
                pass
            except OSError as error:
                raise self._unreachable(error, timeout_s) from error
        try:
            # TCP_NODELAY is not needed: each request is one write
            fresh = socket.create_connection((self.place.host, self.place.port), _left(deadline))
            return self._exchange(fresh, request, deadline)
        except (OSError, UnicodeError, _Gone) as error:
            raise self._unreachable(error, timeout_s) from error

    def close(self) -> None:
        """Closes what is idle; the channel may be used again."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def forget(self) -> None:
        """In a forked child: the connections are the parent's."""
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self.close()

    def _exchange(self, connection: socket.socket, request: bytes, deadline: float) -> tuple[int, bytes]:
        reading = Reading()
        done = begun = False
        try:
            connection.settimeout(_left(deadline))
            try:
                connection.sendall(request)
                while not done:
                    data = connection.recv(_READ_BYTES)
                    if not data:
                        raise _Gone if not begun else ConnectionResetError("closed in the middle of the answer")
                    begun = True
                    done = reading.feed(data)
                    if not done:
                        connection.settimeout(_left(deadline))
            except ConnectionError as error:
                if begun or isinstance(error, _Gone):
                    raise
                raise _Gone from error
        except PeerUnreachable as error:
            raise PeerUnreachable(f"{self.place.url}: {error}") from None
        finally:
            if not (done and reading.keep and self._give(connection)):
                connection.close()
        return reading.status, reading.body

    def _take(self) -> socket.socket | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            try:
                connection.setblocking(False)
                connection.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                return connection  # silent, as it should be
            except OSError:
                pass
            connection.close()  # closed by the server, or it said something that nobody asked for

    def _give(self, connection: socket.socket) -> bool:
        with self._lock:
            if len(self._idle) >= MAX_IDLE or self._pid != os.getpid():
                return False
            self._idle.append(connection)
            return True

    def _unreachable(self, error: Exception, timeout_s: float) -> PeerUnreachable:
        if isinstance(error, TimeoutError):
            return PeerUnreachable(f"{self.place.url} did not answer within {timeout_s:.3g} s")
        what = "closed the connection" if isinstance(error, _Gone) else f"cannot be reached: {error}"
        return PeerUnreachable(f"{self.place.url} {what}")


class _Gone(ConnectionError):
    """The connection ended before any of the answer came."""


def _left(deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    return left
