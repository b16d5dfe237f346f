"""Query parameters: a struct for each route, and the span of time that they name."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta

from vagus import config
from vagus.clock import NS
from vagus.errors import ConfigError
from vagus.gateway.errors import Problem, invalid_input
from vagus.gateway.inputs import AHEAD_S
from vagus.model import MAX_NAME, MAX_T_NS
from vagus.selector import MAX_SELECTOR

T = TypeVar("T")

SelectorText = Annotated[
    str,
    Meta(min_length=1, max_length=MAX_SELECTOR, description='kind[.field]{label="value"}; * crosses dots'),
]
NodeName = Annotated[str, Meta(max_length=MAX_NAME, description="ask only this node; default: all")]
Since = Annotated[str, Meta(max_length=40, description="how far back: seconds, or text such as 30s, 5m, 24h")]
TimeText = Annotated[str, Meta(max_length=40, description="RFC 3339 with a zone, or nanoseconds since the epoch")]


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base: an unknown parameter is an error."""


class QueryParams(Params, frozen=True):
    """Of GET /v1/query: which samples, of when, in which format."""

    selector: SelectorText
    since: Since = ""
    start: TimeText = ""
    end: TimeText = ""
    limit: Annotated[int, Meta(ge=0, le=10_000_000, description="newest ticks of each stream; 0: all")] = 0
    rate: Annotated[bool, Meta(description="counters as their change per second")] = False
    node: NodeName = ""
    format: Literal["json", "csv", "msgpack", "arrow", "parquet", "openmetrics"] = "json"


History = Annotated[bool, Meta(description="also what has ended")]


class SensorsParams(Params, frozen=True):
    """Of GET /v1/sensors: which streams, of which node."""

    selector: SelectorText = "*"
    node: NodeName = ""
    history: History = False


class DirectoryParams(Params, frozen=True):
    """Of GET /v1/directory: what kind of thing, of which node, with which labels."""

    type: Literal["", "stream", "gateway", "observer", "feed", "policy", "actuator"] = ""
    node: NodeName = ""
    label: Annotated[str, Meta(max_length=1000, description="name=value, comma-separated; all must be so")] = ""
    history: History = False


class PathParams(Params, frozen=True, rename={"origin": "from"}):
    """Of GET /v1/path: from a node (its name or address) to a node, a device or any address."""

    origin: Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
    to: Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
    history: History = False


class HealthParams(Params, frozen=True):
    """Of GET /v1/health: only verdicts of these statuses, comma-separated."""

    status: Annotated[str, Meta(max_length=200, description="names or letters, comma-separated; default: all")] = ""
    node: NodeName = ""


class SubjectParams(Params, frozen=True):
    """Of routes that take nothing but a node."""

    node: NodeName = ""


class RecordsParams(Params, frozen=True):
    """Of GET /v1/records: which records, since when, how many, newest first."""

    kind: Literal["event", "receipt", "decision", "reward", "report", "item"]
    since: Annotated[Since, Meta(description="how far back; default: 1h")] = ""
    start: TimeText = ""
    end: TimeText = ""
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 100
    node: NodeName = ""
    event: Annotated[str, Meta(max_length=2000, description='of events: a name, or log.*{node="a"}; default: all')] = ""
    where: Annotated[
        tuple[Annotated[str, Meta(max_length=500)], ...],
        Meta(max_length=20, description="of events: predicates on their fields, such as VAL>2; given again: all hold"),
    ] = ()
    level: Annotated[Literal["", "debug", "info", "warning", "error", "fatal"], Meta(description="the least level")] = (
        ""
    )


class HealthzParams(Params, frozen=True):
    """Of GET /healthz: of what; `node`: whether this gateway lives, whatever is missing elsewhere."""

    scope: Annotated[
        Literal["cluster", "node"], Meta(description="node: 200 while this gateway lives, whatever else is missing")
    ] = "cluster"


class NoParams(Params, frozen=True):
    """Of routes that take none."""


def params_of(request: web.BaseRequest, kind: type[T]) -> T:
    """The query string as a struct of `kind`; unknown, repeated or malformed parameters raise Problem (422)."""
    given: dict[str, Any] = {name: [] for name in _lists(kind)}  # type: ignore[arg-type]
    for name, value in request.query.items():
        if isinstance(given.get(name), list):
            given[name].append(value)
            continue
        if name in given:
            raise Problem(422, "invalid", f"{name[:50]!r} is given twice", f"query.{name[:50]}", "give it once")
        given[name] = value
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        problem = invalid_input(error, "query")
        known = ", ".join(field.name for field in msgspec.structs.fields(kind)) or "none"  # type: ignore[arg-type]
        raise Problem(422, "invalid", str(problem), problem.detail.where, f"known parameters: {known}") from error


@lru_cache
def _lists(kind: type[Any]) -> tuple[str, ...]:
    """The parameters that may be given several times."""
    found = []
    for field in msgspec.inspect.type_info(kind).fields:  # type: ignore[attr-defined]
        type_ = field.type
        while isinstance(type_, msgspec.inspect.Metadata):
            type_ = type_.type
        if isinstance(type_, msgspec.inspect.VarTupleType):
            found.append(field.encode_name)
    return tuple(found)


def span_of(since: str, start: str, end: str, now_ns: int, default: str = "5m") -> tuple[int, int]:
    """[start_ns, end_ns) from the parameters `since`, or `start` and `end`. Raises Problem (422)."""
    if since and (start or end):
        raise Problem(422, "invalid", "since excludes start and end", "query.since", "give since, or start and end")
    end_ns = _time(end, "end", now_ns) if end else now_ns + 1
    if start:
        start_ns = _time(start, "start", now_ns)
    else:
        try:
            start_ns = max(0, end_ns - round(config.seconds(since or default) * NS))
        except ConfigError as error:
            raise Problem(422, "invalid", str(error), "query.since") from error
    if start_ns >= end_ns:
        raise Problem(422, "invalid", f"start ({start_ns}) is not before end ({end_ns})", "query.start")
    return start_ns, end_ns


def _time(text: str, name: str, now_ns: int) -> int:
    try:
        t_ns = parse_time(text)
    except ConfigError as error:
        raise Problem(422, "invalid", str(error), f"query.{name}") from error
    if t_ns > now_ns + AHEAD_S * NS:
        raise Problem(422, "invalid", f"{text} is more than one hour ahead", f"query.{name}", "check year and unit")
    return t_ns


_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:([Zz])|([-+ ])(\d\d):(\d\d))", re.ASCII
)


def parse_time(text: str) -> int:
    """RFC 3339 with a zone (to the nanosecond), or nanoseconds since the epoch, as t_ns. Raises ConfigError.

    A `+` of the zone that a query string has turned into a space is understood.
    """
    if text.isascii() and text.isdigit() and len(text) <= 20:
        t_ns = int(text)
    else:
        found = _RFC3339.fullmatch(text.strip())
        if not found:
            raise ConfigError(f"time {text[:40]!r} is neither RFC 3339 with a zone (2026-01-31T12:00:00Z) nor t_ns")
        *parts, fraction, _zulu, sign, hours, minutes = found.groups()
        try:
            moment = datetime(*map(int, parts), tzinfo=timezone.utc)  # type: ignore[misc,arg-type]
        except ValueError as error:
            raise ConfigError(f"time {text[:40]!r} is not a date: {error}") from error
        whole = (moment - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(seconds=1)
        if hours:
            offset = int(hours) * 3600 + int(minutes) * 60
            whole += offset if sign == "-" else -offset
        t_ns = whole * NS + int((fraction or "0").ljust(9, "0"))
    if not 0 <= t_ns < MAX_T_NS:
        raise ConfigError(f"time {text[:40]!r} is not between 1970 and 2100")
    return t_ns
