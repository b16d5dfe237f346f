"""Answers of 200 in JSON, whose heads differ by length and date alone: made once, and sent as they are."""

from __future__ import annotations

import time
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

import msgspec

_heads: dict[int, bytes] = {}
_second = 0
_encode = msgspec.json.Encoder().encode


def head_of(status: int, length: int) -> bytes:
    """The head of an answer in JSON, with the empty line."""
    return (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
        f"Server: vagus\r\nContent-Length: {length}\r\nDate: {formatdate(usegmt=True)}\r\n\r\n"
    ).encode()


class PlainAnswer:
    """What aiohttp's handler needs of a response, and no more; stands for a web.Response with the same bytes.

    HTTP/1.0 and the last answer of a connection have a line more.
    """

    __slots__ = ("_body", "_request", "keep_alive", "status")

    def __init__(self, answer: Any) -> None:
        self.status = 200
        self.keep_alive = True
        self._body = _encode(answer)

    def force_close(self) -> None:
        """The connection ends with this answer."""
        self.keep_alive = False

    async def prepare(self, request: Any) -> None:
        """Notes where it goes."""
        self._request = request
        self.keep_alive = self.keep_alive and request.keep_alive

    async def write_eof(self) -> None:
        """Sends it. Raises ConnectionError."""
        global _second
        now = int(time.time())
        if now != _second:
            _heads.clear()
            _second = now
        body = self._body
        head = _heads.get(len(body))
        if head is None:
            head = _heads[len(body)] = head_of(200, len(body))
        request = self._request
        old = request.version < (1, 1)
        if old or not self.keep_alive:
            if old:
                head = b"HTTP/1.0" + head[8:]
            if old is self.keep_alive:
                head = head[:-2] + (b"Connection: keep-alive\r\n\r\n" if old else b"Connection: close\r\n\r\n")
        await request.writer.write(head + body)
