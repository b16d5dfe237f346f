"""A step that is one HTTP request: a pod's resize, a tunable behind an endpoint. Standard library only.

path is the URL; value is JSON: method, headers, body (text), token_file (sent as a bearer token, read anew each time,
since such tokens are rotated), ca_file (its certificates are the only ones trusted), gone (texts: a refusal that holds
one means that what would have been changed is gone, as 404 and 410 always do).
"""

from __future__ import annotations

import errno
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from vagus.errors import Rejected
from vagus.undo import Step

TIMEOUT_S = 5.0
MAX_ANSWER_BYTES = 8 << 20
_MAX_TOKEN_BYTES = 64 << 10
_WORDS = 500
_GONE = (404, 410)


class Answer(NamedTuple):
    """What a server said: the status, its phrase, the body."""

    status: int
    phrase: str
    body: bytes

    def words(self) -> str:
        """Why it refused, as it says it: `409 Conflict: …`; of JSON the message, else the text's beginning."""
        text = self.body[:_WORDS].decode("utf-8", "replace")
        try:
            told = json.loads(self.body)
            if isinstance(told, dict):
                text = told.get("message") or told.get("error") or told.get("detail") or text
        except (ValueError, RecursionError):
            pass
        text = "".join(c if c.isprintable() else " " for c in str(text)[:_WORDS]).strip()
        return f"{self.status} {self.phrase}{': ' if text else ''}{text}"


def send(step: Step) -> None:
    """Raises OSError (ENOENT: what it would change is gone), Rejected with the server's words."""
    try:
        told: dict[str, Any] = json.loads(step.value)
        gone = [str(text) for text in told.get("gone", ())]
        method, headers, body = str(told.get("method", "PUT")), dict(told.get("headers", {})), told.get("body", "")
        token_file, ca_file = str(told.get("token_file", "")), str(told.get("ca_file", ""))
    except (ValueError, TypeError, AttributeError) as error:
        raise Rejected(step.path, step.value[:200], f"the step is malformed: {error}") from error
    try:
        answer = request(step.path, method, headers, str(body).encode(), token_file, ca_file)
    except OSError as error:
        words = error.strerror or str(error)
        if any(text in words for text in gone):
            raise OSError(errno.ESRCH, words) from error
        raise
    if answer.status < 300:
        return
    words = answer.words()
    if answer.status in _GONE or any(text in words for text in gone):
        raise OSError(errno.ENOENT, words)
    raise Rejected(step.path, str(body)[:200], words)


def request(
    url: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    token_file: str = "",
    ca_file: str = "",
    timeout_s: float = TIMEOUT_S,
) -> Answer:
    """One request on a connection of its own; no redirects, no proxies. Raises OSError.

    It takes `timeout_s` at most (but for the resolver's time), however slowly the server drips, and reads at most 8 MB.
    """
    deadline = time.monotonic() + timeout_s
    sent = {"Connection": "close", "Accept": "application/json", **(headers or {})}
    if token_file:
        sent["Authorization"] = f"Bearer {_token(token_file)}"
    connection = _connection(url, ca_file, timeout_s)
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    alarm = threading.Timer(timeout_s, _cut, (connection,))
    alarm.daemon = True
    try:
        connection.connect()
        alarm.start()
        connection.request(method, target, body or None, sent)
        response = connection.getresponse()
        content = response.read(MAX_ANSWER_BYTES + 1)
        if time.monotonic() >= deadline:  # cut in the middle
            raise TimeoutError
    except TimeoutError as error:
        raise OSError(errno.ETIMEDOUT, f"{parts.netloc} did not answer within {timeout_s:g} s") from error
    except http.client.HTTPException as error:
        if time.monotonic() >= deadline:
            raise OSError(errno.ETIMEDOUT, f"{parts.netloc} did not answer within {timeout_s:g} s") from error
        raise OSError(errno.EPROTO, f"{parts.netloc} speaks no HTTP: {type(error).__name__}: {error}"[:300]) from error
    except ValueError as error:  # a header or address that cannot be sent
        raise OSError(errno.EINVAL, f"{url}: {error}"[:300]) from error
    except OSError as error:
        if time.monotonic() >= deadline:
            raise OSError(errno.ETIMEDOUT, f"{parts.netloc} did not answer within {timeout_s:g} s") from error
        if isinstance(error, (ssl.SSLError, socket.gaierror)):
            raise OSError(errno.EPROTO, f"{parts.netloc}: {error.strerror or error}"[:300]) from error
        raise
    finally:
        alarm.cancel()
        connection.close()
    if len(content) > MAX_ANSWER_BYTES:
        raise OSError(errno.EMSGSIZE, f"{parts.netloc} answered more than {MAX_ANSWER_BYTES} bytes")
    return Answer(response.status, response.reason, content)


def _connection(url: str, ca_file: str, timeout_s: float) -> http.client.HTTPConnection:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise OSError(errno.EINVAL, f"{url[:200]!r} is no URL: {error}") from error
    if parts.scheme not in ("http", "https") or not host or " " in url:
        raise OSError(errno.EINVAL, f"{url[:200]!r} is no http:// or https:// URL")
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        # not ENOENT, which would mean that what is to be changed is gone
        raise OSError(errno.EACCES, f"the certificates in {ca_file} cannot be used: {error}") from error
    return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)


def _token(path: str) -> str:
    try:
        with open(path, "rb") as file:
            token = file.read(_MAX_TOKEN_BYTES).decode("ascii").strip()
    except OSError as error:
        # not ENOENT, which would mean that what is to be changed is gone
        raise OSError(errno.EACCES, f"the token file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise OSError(errno.EACCES, f"the token file {path} holds no token") from error
    return token


def _cut(connection: http.client.HTTPConnection) -> None:
    sock: socket.socket | None = connection.sock
    if sock is not None:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
