"""Past to present as an iterator over the gateway's newline-delimited JSON, going on by itself where it broke off."""

from __future__ import annotations

import math
import random
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import msgspec

from vagus.client.series import Series, one_row
from vagus.errors import PeerUnreachable
from vagus.model import Event, Field, Level, Scalar, Stream

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

MAX_LINE_BYTES = 4 << 20
FIRST_RETRY_S = 0.1
LAST_RETRY_S = 5.0


class _Line(msgspec.Struct):
    t_ns: int | None = None
    event: str | None = None
    dropped: int = 0
    missing: dict[str, str] | None = None
    back: str = ""
    gap: dict[str, str] | None = None
    refused: dict[str, str] | None = None
    at: dict[str, str] | None = None
    error: str = ""
    end: bool = False


class Tick(msgspec.Struct, frozen=True, omit_defaults=True):
    """One sample's selected fields by name; None where a float is missing. id: where a subscription goes on after it."""

    t_ns: int
    node: str
    kind: str
    labels: dict[str, str]
    values: dict[str, float | int | None]
    id: str = ""

    def series(self) -> Series:
        """The tick as a batch of one row, in the form of a query's answer; integers keep their exactness."""
        fields, columns = [], []
        for name, value in self.values.items():
            dtype = "f8" if value is None or isinstance(value, float) else "i8" if value < 0 else "u8"
            fields.append(Field(name, dtype=dtype))
            columns.append((dtype, struct.pack(_PACKED[dtype], math.nan if value is None else value)))
        return one_row(Stream(self.node, self.kind, tuple(fields), self.labels), self.t_ns, columns)


class Happened(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event."""

    t_ns: int
    node: str
    event: str
    level: str = "info"
    source: str = ""
    fields: dict[str, Scalar] = {}
    id: str = ""

    def record(self) -> Event:
        """The event as vagus' own record."""
        return Event(self.t_ns, self.event, self.node, Level(self.level), self.source, self.fields)


_PACKED = {"f8": "<d", "i8": "<q", "u8": "<Q"}

Open = Callable[[Mapping[str, Any]], "tuple[HTTPResponse, HTTPConnection]"]
"""Begins an answer of GET /v1/tail with these parameters more. Raises PeerUnreachable."""


class Tail:
    """Iterates until closed: a `Series` of one row for a sample, an `Event` for an event.

    `ticks()` gives the same with plain values. patience_s: how long a broken connection is tried again before it is an
    error; 0: not at all. What comes meanwhile is not lost: the gateway is asked to go on behind the last item.

    dropped: items lost because this reader was slow; missing: nodes that are away, by error; gaps: nodes that could
    not say exactly where this reader stood, by reason; refused: names that the access rules keep from it; reconnects:
    how often the connection was made again.
    """

    def __init__(self, open_: Open, url: str, patience_s: float = 0.0, since_s: float = 0.0) -> None:
        self.dropped = 0
        self.reconnects = 0
        self.missing: dict[str, str] = {}
        self.gaps: dict[str, str] = {}
        self.refused: set[str] = set()
        self._open = open_
        self._url = url
        self._patience_s = patience_s
        self._since_s = since_s
        self._begun_s = self._heard_s = time.monotonic()
        self._at: dict[str, str] = {}
        self._closed = False
        self._response, self._connection = open_({"since": _seconds(since_s)} if since_s else {})

    def __iter__(self) -> Tail:
        return self

    def __next__(self) -> Series | Event:
        """The next item. Raises StopIteration when the gateway ends, PeerUnreachable when it is lost."""
        item = self._next()
        if item is None:
            raise StopIteration
        return item.series() if isinstance(item, Tick) else item

    def ticks(self) -> Iterator[Tick | Event]:
        """The same items as plain Python values, without numpy."""
        while (item := self._next()) is not None:
            yield item

    def positions(self) -> str:
        """Where each node's stream stands: `after=` of another subscription goes on there."""
        return ",".join(f"{quote(node, safe='')}={position}" for node, position in self._at.items())

    def _next(self) -> Tick | Event | None:
        while not self._closed:
            try:
                line = self._line()
            except PeerUnreachable as error:
                self._again(error)
                continue
            if line != b"\n" and (item := self._read(line)) is not None:
                return item
        return None

    def _line(self) -> bytes:
        try:
            line = self._response.readline(MAX_LINE_BYTES)
        except Exception as error:
            raise PeerUnreachable(f"{self._url} stopped sending ({type(error).__name__}: {error})") from error
        if not line.endswith(b"\n"):  # not even a last word, or half of one
            raise PeerUnreachable(f"{self._url} stopped sending")
        self._heard_s = time.monotonic()
        return line

    def _again(self, error: PeerUnreachable) -> None:
        """Opens the stream once more behind what was received; raises `error` when patience ends."""
        self._hang_up()
        deadline, pause_s = self._heard_s + self._patience_s, FIRST_RETRY_S
        if not self._at:
            deadline = 0.0  # where to go on is not known
        while not self._closed:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                self._closed = True
                raise error
            time.sleep(min(left_s, pause_s * random.uniform(0.5, 1.0)))
            pause_s = min(2 * pause_s, LAST_RETRY_S)
            since_s = self._since_s + time.monotonic() - self._begun_s  # for nodes of which nothing is known yet
            try:
                self._response, self._connection = self._open({"since": _seconds(since_s), "after": self.positions()})
            except PeerUnreachable as again:
                error = again
                continue
            self.reconnects += 1
            return

    def _read(self, line: bytes) -> Tick | Event | None:
        try:
            about = msgspec.json.decode(line, type=_Line)
            if about.t_ns is not None:
                if about.event is not None:
                    happened = msgspec.json.decode(line, type=Happened)
                    self._behind(happened.id)
                    return happened.record()
                tick = msgspec.json.decode(line, type=Tick)
                self._behind(tick.id)
                return tick
        except (msgspec.DecodeError, ValueError) as error:
            raise PeerUnreachable(f"{self._url} sent a line that cannot be read: {error}") from error
        self._notice(about)
        return None

    def _behind(self, item_id: str) -> None:
        node, equals, position = item_id.partition("=")
        if equals:
            self._at[unquote(node)] = position

    def _notice(self, about: _Line) -> None:
        self.dropped += about.dropped
        self._at.update(about.at or {})
        self.missing.pop(about.back, None)
        if about.missing:
            self.missing[about.missing.get("node", "?")] = about.missing.get("error", "")
        if about.gap:
            self.gaps[about.gap.get("node", "?")] = about.gap.get("error", "")
        if about.refused:
            self.refused.add(about.refused.get("name", "?"))
        if about.error:
            self.close()
            raise PeerUnreachable(f"{self._url}: {about.error}")
        if about.end:
            if self._patience_s:
                self._again(PeerUnreachable(f"{self._url} ended"))
            else:
                self.close()

    def _hang_up(self) -> None:
        self._connection.close()
        self._response.close()

    def close(self) -> None:
        """Ends the stream."""
        self._closed = True
        self._hang_up()

    def __enter__(self) -> Tail:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _seconds(value: float) -> str:
    return f"{value:.3f}s"
