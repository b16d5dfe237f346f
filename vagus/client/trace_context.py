"""W3C Trace Context, level 1: the headers `traceparent` and `tracestate`, by which a trace goes from service to service.

    traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01

They come from outside: what is malformed is no context, and a new trace begins (section 3.2.2 of the specification).
A later version is read as far as this one knows it, and written as this one. A malformed `tracestate` alone is dropped.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping
from typing import NamedTuple

from vagus.errors import ConfigError

PARENT, STATE = "traceparent", "tracestate"
MAX_STATE = 8192
"""Characters of `tracestate`; the specification wants at least 512 carried."""
MAX_MEMBERS = 32
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z")
_KEY = re.compile(r"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})\Z")
_VALUE = re.compile(r"[ -+\--<>-~]{0,255}[!-+\--<>-~]\Z")
_SAMPLED = 1


class TraceContext(NamedTuple):
    """Where in which trace: 32 and 16 hexadecimal digits; whether its spans are recorded; what vendors carry along."""

    trace_id: str
    span_id: str
    sampled: bool = True
    state: str = ""


def parse(parent: str, state: str = "") -> TraceContext:
    """The context of both headers' values. Raises ConfigError for a malformed `traceparent`."""
    found = _PARENT.match(parent.strip(" \t")) if isinstance(parent, str) and len(parent) <= 512 else None
    if found is None:
        raise ConfigError(
            f"{PARENT} {str(parent)[:80]!r} is not VERSION-TRACE-SPAN-FLAGS in lower-case hexadecimal digits"
        )
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None):
        raise ConfigError(f"{PARENT}: version {version} is invalid, or has more than four parts")
    if not trace_id.strip("0") or not span_id.strip("0"):
        raise ConfigError(f"{PARENT}: an id of zeros names nothing")
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED), parse_state(state) if state else "")


def parse_state(state: str) -> str:
    """`tracestate` without its blanks and empty members; empty when it is malformed."""
    if not isinstance(state, str) or len(state) > MAX_STATE:
        return ""
    members: dict[str, str] = {}
    for member in state.split(","):
        member = member.strip(" \t")
        if not member:
            continue
        key, equals, value = member.partition("=")
        if not equals or key in members or not _KEY.match(key) or not _VALUE.match(value):
            return ""
        members[key] = value
    if len(members) > MAX_MEMBERS:
        return ""
    return ",".join(f"{key}={value}" for key, value in members.items())


def of_headers(headers: Mapping[str, str]) -> TraceContext | None:
    """The context that a request carries, whatever the case of the headers' names; None: none, or a malformed one."""
    try:
        parent = _header(headers, PARENT)
        return parse(parent, _header(headers, STATE) or "") if parent else None
    except Exception:  # also headers that are no mapping: the service must not notice
        return None


def _header(headers: Mapping[str, str], wanted: str) -> str | None:
    many = getattr(headers, "getall", None)  # multidict: given twice is malformed as one, a list as the other
    if many is not None:
        return ",".join(many(wanted, ())) or None
    found = headers.get(wanted)
    if found is not None:
        return found
    for name in headers:
        if isinstance(name, str) and name.lower() == wanted:
            return headers[name]
    return None


def make(parent: TraceContext | None = None, sampled: bool = True) -> TraceContext:
    """A new span's context: within `parent`'s trace and with its decision, else the first of a new one."""
    if parent is not None:
        return TraceContext(parent.trace_id, _id(8), parent.sampled, parent.state)
    return TraceContext(_id(16), _id(8), sampled)


def _id(size: int) -> str:
    made = os.urandom(size).hex()
    return made if made.strip("0") else _id(size)


def text(context: TraceContext) -> str:
    """The value of `traceparent`."""
    return f"00-{context.trace_id}-{context.span_id}-{'01' if context.sampled else '00'}"


def inject(headers: MutableMapping[str, str], context: TraceContext) -> None:
    """Sets the headers of a request that is about to be sent; what they said before is gone."""
    for name in [name for name in headers if name.lower() in (PARENT, STATE)]:
        headers.pop(name, None)
    headers[PARENT] = text(context)
    if context.state:
        headers[STATE] = context.state
