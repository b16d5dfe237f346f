"""Live samples as an iterator over the gateway's newline-delimited JSON: numpy batches of one row, or plain ticks."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec

from vagus.client.series import Series, one_row
from vagus.errors import PeerUnreachable
from vagus.model import Field, Stream

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

MAX_LINE_BYTES = 4 << 20


class _Line(msgspec.Struct):
    t_ns: int | None = None
    dropped: int = 0
    missing: dict[str, str] | None = None
    error: str = ""
    end: bool = False


class Tick(msgspec.Struct, frozen=True):
    """One sample's selected fields by name; None where a float is missing."""

    t_ns: int
    node: str
    kind: str
    labels: dict[str, str]
    values: dict[str, float | int | None]

    def series(self) -> Series:
        """The tick as a batch of one row, in the form of a query's answer; integers keep their exactness."""
        fields, columns = [], []
        for name, value in self.values.items():
            dtype = "f8" if value is None or isinstance(value, float) else "i8" if value < 0 else "u8"
            fields.append(Field(name, dtype=dtype))
            columns.append((dtype, struct.pack(_PACKED[dtype], math.nan if value is None else value)))
        return one_row(Stream(self.node, self.kind, tuple(fields), self.labels), self.t_ns, columns)


_PACKED = {"f8": "<d", "i8": "<q", "u8": "<Q"}


class Tail:
    """Iterates over live samples, a `Series` of one row each, until closed; `ticks()` gives the same as plain values.

    dropped: chunks lost because this reader was slow; missing: nodes by error.
    """

    def __init__(self, response: HTTPResponse, connection: HTTPConnection, url: str) -> None:
        self.dropped = 0
        self.missing: dict[str, str] = {}
        self._response = response
        self._connection = connection
        self._url = url
        self._closed = False

    def __iter__(self) -> Tail:
        return self

    def __next__(self) -> Series:
        """The next sample. Raises StopIteration when the gateway ends, PeerUnreachable when it is lost."""
        tick = self._next()
        if tick is None:
            raise StopIteration
        return tick.series()

    def ticks(self) -> Iterator[Tick]:
        """The same samples as plain Python values, without numpy."""
        while (tick := self._next()) is not None:
            yield tick

    def _next(self) -> Tick | None:
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
        return None

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
