"""Live samples as an iterator over the gateway's newline-delimited JSON."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

import msgspec

from vagus.errors import PeerUnreachable

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

MAX_LINE_BYTES = 4 << 20


class Tick(msgspec.Struct, frozen=True):
    """One sample's selected fields by name; None where a float is missing."""

    t_ns: int
    node: str
    kind: str
    labels: dict[str, str]
    values: dict[str, float | int | None]


class _Line(msgspec.Struct):
    t_ns: int | None = None
    dropped: int = 0
    missing: dict[str, str] | None = None
    error: str = ""
    end: bool = False


class Tail:
    """Iterates over ticks until closed. dropped: chunks lost because this reader was slow; missing: nodes by error."""

    def __init__(self, response: HTTPResponse, connection: HTTPConnection, url: str) -> None:
        self.dropped = 0
        self.missing: dict[str, str] = {}
        self._response = response
        self._connection = connection
        self._url = url
        self._closed = False

    def __iter__(self) -> Tail:
        return self

    def __next__(self) -> Tick:
        """The next tick. Raises StopIteration when the gateway ends, PeerUnreachable when it is lost."""
        while not self._closed:
            try:
                line = self._response.readline(MAX_LINE_BYTES)
            except Exception as error:
                self.close()
                raise PeerUnreachable(f"{self._url} stopped sending ({type(error).__name__}: {error})") from error
            if not line:  # not even a last word
                self.close()
                raise PeerUnreachable(f"{self._url} stopped sending")
            if line != b"\n" and (tick := self._read(line)) is not None:
                return tick
        raise StopIteration

    def _read(self, line: bytes) -> Tick | None:
        try:
            about = msgspec.json.decode(line, type=_Line)
            if about.t_ns is not None:
                return msgspec.json.decode(line, type=Tick)
        except msgspec.DecodeError as error:
            raise PeerUnreachable(f"{self._url} sent a line that cannot be read: {error}") from error
        self.dropped += about.dropped
        if about.end:
            self.close()
        if about.missing:
            self.missing[about.missing.get("node", "?")] = about.missing.get("error", "")
        if about.error:
            self.close()
            raise PeerUnreachable(f"{self._url}: {about.error}")
        return None

    def close(self) -> None:
        """Ends the stream."""
        self._closed = True
        self._connection.close()
        self._response.close()

    def __enter__(self) -> Tail:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
