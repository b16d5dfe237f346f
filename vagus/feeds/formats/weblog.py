"""Logs of web servers: NCSA's common log format, and the combined one of Apache and nginx."""

from __future__ import annotations

from typing import Annotated

from vagus.feeds.formats.annotated import node_of
from vagus.feeds.formats.compiled import Compiled
from vagus.feeds.formats.compounds import Optional, Union
from vagus.feeds.formats.lists import Lines
from vagus.feeds.formats.record import Record, field
from vagus.feeds.formats.timestamps import Time
from vagus.feeds.formats.types import Int, Str

MAX_LINES = 1_000_000


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
LogTime = Annotated[float, Time("clf")]
Name = Annotated[str | None, Optional(Str(), "-")]


class CommonLog(Record, layout='{host} {ident} {user} [{time_s}] "{request}" {status} {size_bytes}'):
    """A request. ident, user, size_bytes: None for `-`; time_s: seconds since 1970, printed in UTC."""

    host: str
    ident: Name
    user: Name
    time_s: LogTime
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
    time_s: LogTime
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
