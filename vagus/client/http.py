"""Requests to one gateway over kept-alive connections: HTTP/1.1 from the standard library, or HTTPS where a proxy stands.

Thread-safe and fork-safe: each call takes a connection from a small pool of this process.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from vagus.client.answers import error_of
from vagus.client.endpoint import address
from vagus.errors import ConfigError, PeerUnreachable, VagusError

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

H = TypeVar("H", bound="Http")
MSGPACK = "application/msgpack"
MAX_IDLE = 8
MAX_ANSWER_BYTES = 1 << 30


class Http:
    """A gateway's address, its token, and idle connections to it."""

    def __init__(self, url: str, token: str, timeout_s: float = 30.0) -> None:
        self._secure, host, port = address(url)
        self.url = url.rstrip("/")
        self.timeout_s = timeout_s
        self._host = host
        self._port = port
        self._headers = {"Authorization": f"Bearer {token}"}
        self._idle: list[HTTPConnection] = []
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def close(self) -> None:
        """Closes idle connections; the object may be used again."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def __enter__(self: H) -> H:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    # --- one request -------------------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: bytes | None = None,
        accept: str = "",
        idempotent: bool | None = None,
        media: str = MSGPACK,
    ) -> tuple[bytes, Mapping[str, str]]:
        """The body and headers of a successful answer; `body` is of the type `media`. Other answers raise.

        An idempotent request (a GET, unless said otherwise) whose kept-alive connection dropped is sent once more.
        """
        tries = 2 if (method == "GET" if idempotent is None else idempotent) else 1
        for left in range(tries - 1, -1, -1):
            connection, fresh = self._take()
            try:
                response = self._send(connection, method, path, query, body, accept, media)
                answer = response.read(MAX_ANSWER_BYTES)
            except Exception as error:
                connection.close()
                if left and not fresh and isinstance(error, ConnectionError):
                    continue
                raise self._unreachable(error) from error
            except BaseException:
                connection.close()  # interrupted half-way: what would come next on it is not known
                raise
            if response.will_close:
                connection.close()
            else:
                self._give(connection)
            if response.status >= 400:
                raise error_of(response.status, answer, self.url)
            return answer, dict(response.headers.items())
        raise AssertionError("unreachable: the last try returns or raises")

    def _stream(self, path: str, query: Mapping[str, Any]) -> tuple[HTTPResponse, HTTPConnection]:
        connection = self._new()
        try:
            response = self._send(connection, "GET", path, query, None, "")
            answer = response.read(MAX_ANSWER_BYTES) if response.status >= 400 else b""
        except Exception as error:
            connection.close()
            raise self._unreachable(error) from error
        if response.status >= 400:
            connection.close()
            raise error_of(response.status, answer, self.url)
        return response, connection

    def _send(
        self,
        connection: HTTPConnection,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: bytes | None,
        accept: str,
        media: str = MSGPACK,
    ) -> HTTPResponse:
        if query:
            given = [
                (n, v) for n, values in query.items() for v in (values if isinstance(values, tuple) else (values,))
            ]
            pairs = [f"{name}={quote(str(value), safe='')}" for name, value in given if value not in ("", None)]
            path = f"{path}?{'&'.join(pairs)}"
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = media
        if accept:
            headers["Accept"] = accept
        connection.request(method, path, body=body, headers=headers)
        return connection.getresponse()

    def _take(self) -> tuple[HTTPConnection, bool]:
        with self._lock:
            if self._pid != os.getpid():
                self._pid, self._idle = os.getpid(), []  # after a fork: the parent's connections are not ours
            while self._idle:
                connection = self._idle.pop()
                if connection.sock is not None and not _readable(connection.sock):
                    return connection, False
                connection.close()  # the gateway closed it meanwhile
        return self._new(), True

    def _give(self, connection: HTTPConnection) -> None:
        with self._lock:
            if len(self._idle) < MAX_IDLE and self._pid == os.getpid():
                self._idle.append(connection)
                return
        connection.close()

    def _new(self) -> HTTPConnection:
        from http.client import HTTPConnection, HTTPSConnection  # 25 ms: not before it is needed

        if self._secure:  # by the certificates that this machine trusts; SSL_CERT_FILE names others
            return HTTPSConnection(self._host, self._port, timeout=self.timeout_s)
        return HTTPConnection(self._host, self._port, timeout=self.timeout_s)

    def _unreachable(self, error: Exception) -> VagusError:
        if type(error).__name__ == "SSLCertVerificationError":  # which is a ValueError too
            return PeerUnreachable(
                f"{self.url} shows a certificate that is not trusted here: {error}; SSL_CERT_FILE=FILE names who signed it"
            )
        if isinstance(error, ValueError) or type(error).__name__ == "InvalidURL":
            return ConfigError(f"the request to {self.url} cannot be made: {error}")
        if isinstance(error, TimeoutError):
            return PeerUnreachable(f"{self.url} did not answer within {self.timeout_s:g} s")
        return PeerUnreachable(
            f"{self.url} cannot be reached ({type(error).__name__}: {error}): is it running? `vagus up` or "
            "`vagus health serve` starts it"
        )


def _readable(sock: Any) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
