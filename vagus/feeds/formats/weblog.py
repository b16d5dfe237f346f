"""Logs of web servers: NCSA's common log format, and the combined one of Apache and nginx."""

from __future__ import annotations

import calendar
import re
import time
from dataclasses import dataclass
from datetime import date
from typing import Annotated

from vagus.feeds.contracts import Shape
from vagus.feeds.formats.annotated import node_of
from vagus.feeds.formats.compiled import Compiled
from vagus.feeds.formats.compounds import Optional, Union
from vagus.feeds.formats.lists import Lines
from vagus.feeds.formats.record import Record, field
from vagus.feeds.formats.types import Int, Node, Printer, Reader, Reading, Str, broken, matched, quoted
from vagus.feeds.item import Data

MAX_LINES = 1_000_000

_TIME = re.compile(rb"[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9]{2}:[0-9]{2}:[0-9]{2} [+-][0-9]{4}")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class LogTime(Node[int]):
    """`10/Oct/2000:13:55:36 -0700` as seconds since 1970; printed in UTC."""

    @property
    def shape(self) -> Shape:
        return Shape("time", unit="s")

    def reader(self) -> Reader:
        return matched(_TIME, "time of a web server's log", _seconds)[0]

    def printer(self) -> Printer:
        return lambda value: _written(value).encode()


def _seconds(body: bytes, start: int, end: int) -> Reading:
    text = body[start:end].decode()
    try:
        zone_s = (int(text[-4:-2]) * 3600 + int(text[-2:]) * 60) * (-1 if text[-5] == "-" else 1)
        day = date(int(text[7:11]), _MONTHS.index(text[3:6]) + 1, int(text[:2]))
        hour, minute, second = int(text[12:14]), int(text[15:17]), int(text[18:20])
        if hour > 23 or minute > 59 or second > 60:
            raise ValueError
    except ValueError:
        return None, end, broken(Data.SEMANTIC, start, end, f"{quoted(body, start, end)} is no time")
    return calendar.timegm((*day.timetuple()[:3], hour, minute, second)) - zone_s, end, None


def _written(seconds: int) -> str:
    at = time.gmtime(seconds)
    day = f"{at.tm_mday:02}/{_MONTHS[at.tm_mon - 1]}/{at.tm_year:04}"
    return f"{day}:{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} +0000"


class Request(Record, layout="{method} {target} {protocol}"):
    """The first line of a request of HTTP/1.0 and later."""

    method: Annotated[str, Str(matching=r"[A-Za-z_-]{1,40}")]
    target: Annotated[str, Str(matching=r'(?:[^"\\ ]|\\.)+')]
    protocol: Annotated[str, Str(matching=r"HTTP/[0-9.]{1,8}")]


Quoted = Str(matching=r'(?:[^"\\]|\\.)*')
AnyRequest = Annotated[Request | str, Union((node_of(Request), Quoted))]
"""What else a client may have sent is text, as it was written, escapes included."""
Perhaps = Annotated[str | None, Optional(Quoted, "-")]
Status = Annotated[int, Int(min=0, max=999)]
Size = Annotated[int | None, Optional(Int(min=0), "-")]
Name = Annotated[str | None, Optional(Str(), "-")]


class CommonLog(Record, layout='{host} {ident} {user} [{time_s}] "{request}" {status} {size_bytes}'):
    """A request. ident, user, size_bytes: None for `-`."""

    host: str
    ident: Name
    user: Name
    time_s: Annotated[int, LogTime()]
    request: AnyRequest
    status: Status
    size_bytes: Size = field(unit="bytes")


class CombinedLog(
    Record, layout='{host} {ident} {user} [{time_s}] "{request}" {status} {size_bytes} "{referer}" "{agent}"'
):
    """A request, with where its client said that it came from, and what it is."""

    host: str
    ident: Name
    user: Name
    time_s: Annotated[int, LogTime()]
    request: AnyRequest
    status: Status
    size_bytes: Size = field(unit="bytes")
    referer: Perhaps = field()
    agent: Perhaps = field()


def common_log() -> Compiled[list[CommonLog]]:
    """A body as a list of requests; of a line in another format, what could be read."""
    return Compiled(Lines(node_of(CommonLog), max_length=MAX_LINES), "common_log")


def combined_log() -> Compiled[list[CombinedLog]]:
    """A body as a list of requests; of a line in another format, what could be read."""
    return Compiled(Lines(node_of(CombinedLog), max_length=MAX_LINES), "combined_log")
