"""One connection of the plain HTTP client: a request, then bytes in, an answer out; bounded at each byte.

The parser is Node's llhttp. Its callbacks only note what they see; what it means is decided after it has returned, so
that nothing of a new exchange happens inside the parse of an old one.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import httptools

MAX_HEAD_BYTES = 64 << 10  # of all that is not body: status line, headers, trailers
SMALL_BYTES = 512
CHUNK_BYTES = 16  # of a chunk's frame, at most, for each byte of body
WANTED = frozenset(
    (
        b"etag",
        b"last-modified",
        b"location",
        b"content-encoding",
        b"retry-after",
        b"content-length",
        b"transfer-encoding",
    )
)
REDIRECTS = (301, 302, 303, 307, 308)

Place = tuple[str, int]
"""A host and port."""


class Answer:
    """What has come of an answer."""

    __slots__ = ("body_bytes", "fields", "headed", "parts", "reason", "status", "whole")

    def __init__(self) -> None:
        self.status = 0
        self.reason = b""
        self.fields: dict[bytes, bytes] = {}  # WANTED ones, the first of each name, names in small letters
        self.parts: list[bytes | bytearray] = []
        self.body_bytes = 0
        self.headed = False
        self.whole = False

    def field(self, name: bytes) -> str:
        """A header's value as text, empty when there is none."""
        return self.fields.get(name, b"").decode("utf-8", errors="surrogateescape").strip()

    def add(self, body: bytes) -> None:
        """A part of the body. Small ones go together: each by itself would cost many times its length."""
        parts = self.parts
        last = parts[-1] if parts else None
        if last is None or len(body) >= SMALL_BYTES:
            parts.append(body)
        elif isinstance(last, bytearray):
            last += body
        else:
            parts.append(bytearray(body))

    @property
    def body(self) -> bytes:
        parts = self.parts
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)


class Asked(Protocol):
    """Who waits for the answer on a connection."""

    max_bytes: int

    def answered(self, answer: Answer, keep: Connection | None) -> None:
        """All of it is here, or as much as is of use: too long a body, or headers that send us elsewhere.

        keep: the connection, where it may be used again.
        """

    def broken(self, why: str, heard: bool) -> None:
        """The connection ended or spoke no HTTP; heard: whether anything of the answer had come."""


class Pool(Protocol):
    """Who keeps idle connections."""

    def keep(self, connection: Connection) -> None:
        """An exchange is over, and the connection may be used again."""

    def lost(self, connection: Connection) -> None:
        """A connection without an exchange has ended."""


class Connection(asyncio.Protocol):
    """Carries one exchange at a time, and between two waits in its pool."""

    __slots__ = (
        "_answer",
        "_asked",
        "_extra",
        "_heard",
        "_keeps",
        "_parser",
        "idle_since_s",
        "place",
        "pool",
        "served",
        "transport",
    )

    def __init__(self, pool: Pool, place: Place) -> None:
        self.pool = pool
        self.place = place
        self.transport: Any = None
        self.served = 0
        self.idle_since_s = 0.0
        self._asked: Asked | None = None
        self._answer = Answer()
        self._heard = 0  # bytes since the request
        self._extra = False  # more came than the answer
        self._keeps = False  # the server will take another request
        self._parser = _parser(self)

    # --- for the client ----------------------------------------------------------------------------------------------

    def send(self, asked: Asked, request: bytes) -> None:
        """Begins an exchange; exactly one of `answered` and `broken` follows, unless `abort` comes first."""
        self._asked = asked
        self._answer = Answer()
        self._heard = 0
        self.transport.write(request)

    @property
    def is_usable(self) -> bool:
        return not self.transport.is_closing()

    def abort(self) -> None:
        """Ends the connection at once; nobody is told."""
        self._asked = None
        if self.transport is not None:
            self.transport.abort()

    # --- from the transport ------------------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self._asked is None:  # bytes that nobody asked for must not become the answer to the next request
            self.transport.abort()
            return
        self._heard += len(data)
        error = ""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            error = "the server switches to another protocol"
        except httptools.HttpParserError as found:
            error = f"malformed answer: {found}"
        answer = self._answer  # only now: what came may have been an interim one
        if answer.whole:
            self._finish(bool(error) or self._extra)
        elif error:
            self._break(error)
        elif answer.body_bytes > self._asked.max_bytes or (answer.headed and self._is_decided(answer)):
            self._finish(True)
        elif self._heard - (1 + CHUNK_BYTES) * answer.body_bytes > MAX_HEAD_BYTES:
            self._break(f"more than {MAX_HEAD_BYTES} bytes of headers")

    def _is_decided(self, answer: Answer) -> bool:
        """Whether the headers alone say that the body is of no use."""
        fields = answer.fields
        if b"content-encoding" in fields or (b"location" in fields and answer.status in REDIRECTS):
            return True
        length = fields.get(b"content-length", b"")
        return self._asked is not None and length.isdigit() and int(length[:20]) > self._asked.max_bytes

    def _finish(self, spoiled: bool) -> None:
        asked, self._asked = self._asked, None
        reusable = self._keeps and not spoiled and not self.transport.is_closing()
        self._keeps = False
        self.served += 1
        if not reusable:
            self.transport.abort()
        if asked is not None:
            asked.answered(self._answer, self if reusable else None)

    def _break(self, why: str) -> None:
        asked, self._asked = self._asked, None
        self.transport.abort()
        if asked is not None:
            asked.broken(why, self._heard > 0)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._asked is None:
            self.pool.lost(self)
            return
        answer = self._answer
        if exc is None and answer.headed and not answer.fields.keys() & {b"content-length", b"transfer-encoding"}:
            answer.whole = True  # its end is the connection's
            self._finish(True)
            return
        self._break(str(exc) if exc is not None else "the server closed the connection before the answer was whole")

    # --- from the parser ---------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._answer.whole:
            self._extra = True

    def on_status(self, status: bytes) -> None:
        if not self._answer.whole:
            self._answer.reason += status[:300]

    def on_header(self, name: bytes, value: bytes) -> None:
        answer = self._answer
        if not answer.headed:
            name = name.lower()
            if name in WANTED:
                answer.fields.setdefault(name, value)

    def on_headers_complete(self) -> None:
        answer = self._answer
        if not answer.whole:
            answer.status = self._parser.get_status_code()
            answer.headed = True

    def on_body(self, body: bytes) -> None:
        answer = self._answer
        if not answer.whole:
            answer.body_bytes += len(body)
            if self._asked is not None and answer.body_bytes <= self._asked.max_bytes:
                answer.add(body)

    def on_message_complete(self) -> None:
        answer = self._answer
        if answer.whole:
            return
        if 100 <= answer.status < 200:  # interim: the answer itself follows
            self._answer = Answer()
        else:
            answer.whole = True
            self._keeps = self._parser.should_keep_alive()  # only known here


def _parser(connection: Connection) -> Any:
    parser = httptools.HttpResponseParser(connection)
    # as tolerant of servers as aiohttp's parser of answers is, which is the same llhttp
    parser.set_dangerous_leniencies(
        lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
    )
    return parser
