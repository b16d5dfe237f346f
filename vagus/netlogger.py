"""NetLogger's lines: `name=value` pairs with typed values, and the two forms they come in, ULM and CEDPS best practice.

NetLogger typed nothing; here the text of a value says its type. In quotes it is always text. Without quotes it is a
whole number when it is one of 64 bits in its shortest form (`007` and `+1` are text), a float when it has a point, an
exponent, or is `nan`, `inf`, `-inf`; `true` and `false` are truth values; anything else is text. Text that would be
read as something else is written in quotes, so that what is read back is what was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone

from vagus.clock import NS
from vagus.errors import ConfigError
from vagus.model import Event, Level, Scalar, check_time

MAX_LINE_BYTES = 64 << 10
MAX_PAIRS = 200
_PAIR = re.compile(r'([A-Za-z_][A-Za-z0-9_.:-]*)=(?:"([^"\\]*(?:\\.[^"\\]*)*)"|([^\s"]+)|)(?=\s|\Z)\s*', re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]*\Z")
_INT = re.compile(r"(?:0|-?[1-9][0-9]{0,19})\Z")
_FLOAT = re.compile(r"-?(?:[0-9]+\.[0-9]*|[0-9]*\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][+-]?[0-9]+)?\Z|-?inf\Z|nan\Z")
_PLAIN = re.compile(r"[!#-\[\]-~]+\Z")  # no space, quote, backslash or control character
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_UNESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_TO_ESCAPE = re.compile(r'[\\"\n\r\t]')
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_DATE = re.compile(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?:\.(\d{1,9}))?\Z", re.ASCII)
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):?(\d\d))?\Z", re.ASCII
)
_SECONDS = re.compile(r"(\d{1,10})(?:\.(\d{1,9}))?\Z", re.ASCII)

LEVELS: Mapping[str, Level] = {
    **dict.fromkeys(("emergency", "emerg", "alert", "fatal", "critical", "crit", "panic"), Level.FATAL),
    **dict.fromkeys(("error", "err", "severe"), Level.ERROR),
    **dict.fromkeys(("warning", "warn", "auth", "security"), Level.WARNING),
    **dict.fromkeys(("info", "information", "notice", "usage", "system", "important"), Level.INFO),
    **dict.fromkeys(("debug", "trace", "verbose"), Level.DEBUG),
}
"""Words for levels, of ULM, CEDPS, syslog and loggers, in lower case."""


def read_pairs(line: str) -> dict[str, tuple[str, bool]]:
    """The pairs of a line: the text of each value, and whether it was quoted. Raises ConfigError with the position."""
    pairs: dict[str, tuple[str, bool]] = {}
    at, end = len(line) - len(line.lstrip()), len(line)
    match = _PAIR.match
    while at < end:
        found = match(line, at)
        if found is None:
            raise ConfigError(f"column {at + 1}: expected name=value, got {line[at : at + 40]!r}")
        name, quoted, plain = found.groups()
        if name in pairs:
            raise ConfigError(f"column {at + 1}: {name[:40]!r} is given twice")
        if len(pairs) >= MAX_PAIRS:
            raise ConfigError(f"more than {MAX_PAIRS} pairs in one line")
        if quoted is None:
            pairs[name] = (plain or "", False)
        else:
            pairs[name] = (_ESCAPED.sub(_unescape, quoted) if "\\" in quoted else quoted, True)
        at = found.end()
    return pairs


def _unescape(found: re.Match[str]) -> str:
    return _UNESCAPES.get(found[1], found[1])


def typed(text: str, quoted: bool) -> Scalar:
    """A value with the type that its text says; see the module."""
    if quoted or not text:
        return text
    if text[0] in "-.0123456789in":
        if _INT.match(text):
            number = int(text)
            return number if -(1 << 63) <= number < 1 << 64 else text
        if _FLOAT.match(text):
            return float(text)
        return text
    return {"true": True, "false": False}.get(text, text)


def write_value(value: Scalar) -> str:
    """The text that `typed` reads as this value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if _PLAIN.match(value) and typed(value, False) is value:
        return value
    return '"' + _TO_ESCAPE.sub(lambda found: _ESCAPES[found[0]], value) + '"'


def write_pairs(pairs: Iterable[tuple[str, Scalar]]) -> str:
    """A line without its end. Raises ConfigError: a name that is no name."""
    return " ".join(f"{_checked(name)}={write_value(value)}" for name, value in pairs)


def _checked(name: str) -> str:
    if not _NAME.match(name):
        raise ConfigError(f"{name[:40]!r} cannot stand before '=': letters, digits and _ . : - are allowed")
    return name


# --- ULM -------------------------------------------------------------------------------------------------------------

ULM_LEVELS = {
    Level.DEBUG: "Debug",
    Level.INFO: "Usage",
    Level.WARNING: "Warning",
    Level.ERROR: "Error",
    Level.FATAL: "Emergency",
}
_ULM_OWN = ("DATE", "HOST", "PROG", "LVL", "NL.EVNT")


def read_ulm(pairs: Mapping[str, tuple[str, bool]]) -> Event:
    """The pairs of a ULM line as an event: HOST is its node, PROG its source, NL.EVNT its name (PROG without one).

    Raises ConfigError: DATE, HOST or PROG is missing or malformed. A level that is unknown stays a field.
    """
    date, host, prog = (_need(pairs, name, "a ULM line") for name in ("DATE", "HOST", "PROG"))
    level = LEVELS.get(pairs.get("LVL", ("usage", False))[0].lower())
    fields = {name: typed(*given) for name, given in pairs.items() if name not in _ULM_OWN}
    if level is None:
        fields["LVL"] = pairs["LVL"][0]
    name = pairs.get("NL.EVNT", ("", False))[0] or prog
    return Event(read_date(date), name, host, level or Level.INFO, prog, fields)


def write_ulm(event: Event) -> str:
    """An event as a ULM line without its end. Raises ConfigError: no source (PROG) or node, a field's name."""
    if not event.source or not event.node:
        raise ConfigError(f"event {event.event}: ULM needs a source (PROG) and a node (HOST)")
    if not event.fields.keys().isdisjoint(_ULM_OWN):
        raise ConfigError(f"event {event.event}: a field is named as one of ULM's own: {', '.join(_ULM_OWN)}")
    head = f"DATE={write_date(event.t_ns)} HOST={write_value(event.node)} PROG={write_value(event.source)}"
    head += f" LVL={ULM_LEVELS[event.level]} NL.EVNT={write_value(event.event)}"
    return f"{head} {write_pairs(event.fields.items())}" if event.fields else head


# --- CEDPS -----------------------------------------------------------------------------------------------------------

_CEDPS_OWN = ("ts", "event", "level", "host", "prog")


def read_cedps(pairs: Mapping[str, tuple[str, bool]]) -> Event:
    """The pairs of a CEDPS line as an event: `host` is its node, `prog` its source; guid and status are fields.

    A negative status of an `.end` makes it an error. Raises ConfigError: ts or event is missing or malformed.
    """
    ts, name = (_need(pairs, name, "a CEDPS line") for name in ("ts", "event"))
    level = LEVELS.get(pairs.get("level", ("info", False))[0].lower())
    fields = {name: typed(*given) for name, given in pairs.items() if name not in _CEDPS_OWN}
    if level is None:
        fields["level"] = pairs["level"][0]
    host, prog = (pairs.get(name, ("", False))[0] for name in ("host", "prog"))
    return Event(read_time(ts), name, host, judged(name, level or Level.INFO, fields), prog, fields)


def judged(name: str, level: Level, fields: Mapping[str, Scalar]) -> Level:
    """ERROR for the end of an action whose status is negative, unless the level says worse already."""
    if name.endswith(".end") and level not in (Level.ERROR, Level.FATAL):
        status = fields.get("status", 0)
        if isinstance(status, (int, float)) and status < 0:
            return Level.ERROR
    return level


def write_cedps(event: Event) -> str:
    """An event as a CEDPS line without its end. Raises ConfigError: a field's name."""
    if not event.fields.keys().isdisjoint(_CEDPS_OWN):
        raise ConfigError(f"event {event.event}: a field is named as one of CEDPS' own: {', '.join(_CEDPS_OWN)}")
    level = judged(event.event, event.level, event.fields)
    line = f"ts={write_time(event.t_ns)} event={write_value(event.event)} level={level.value}"
    if event.node:
        line += f" host={write_value(event.node)}"
    if event.source:
        line += f" prog={write_value(event.source)}"
    return f"{line} {write_pairs(event.fields.items())}" if event.fields else line


def _need(pairs: Mapping[str, tuple[str, bool]], name: str, what: str) -> str:
    given = pairs.get(name)
    if given is None or not given[0]:
        raise ConfigError(f"{what} needs {name}=")
    return given[0]


# --- times -----------------------------------------------------------------------------------------------------------


def read_date(text: str) -> int:
    """ULM's `YYYYMMDDhhmmss.usec` in UTC as t_ns; up to nine digits of fraction. Raises ConfigError."""
    found = _DATE.match(text)
    if not found:
        raise ConfigError(f"DATE={text[:40]!r} is not YYYYMMDDhhmmss.usec")
    return _time(found.groups()[:6], found[7], text)


def write_date(t_ns: int) -> str:
    """`YYYYMMDDhhmmss.usec` in UTC; nine digits of fraction when six do not hold it."""
    return f"{_EPOCH + timedelta(seconds=check_time(t_ns) // NS):%Y%m%d%H%M%S}.{_fraction(t_ns)}"


def read_time(text: str) -> int:
    """ISO 8601 date and time as t_ns; without a zone it is UTC. Seconds since the epoch are taken too.

    Raises ConfigError.
    """
    found = _ISO.match(text)
    if found:
        t_ns = _time(found.groups()[:6], found[7], text)
        if found[8]:
            east_s = int(found[9]) * 3600 + int(found[10]) * 60
            t_ns -= (east_s if found[8] == "+" else -east_s) * NS
        return check_time(t_ns)
    found = _SECONDS.match(text)
    if not found:
        raise ConfigError(f"ts={text[:40]!r} is not ISO 8601 such as 2006-12-08T18:48:27.598448Z")
    return check_time(int(found[1]) * NS + int((found[2] or "").ljust(9, "0")))


def write_time(t_ns: int) -> str:
    """ISO 8601 in UTC with `Z`; nine digits of fraction when six do not hold it."""
    return f"{_EPOCH + timedelta(seconds=check_time(t_ns) // NS):%Y-%m-%dT%H:%M:%S}.{_fraction(t_ns)}Z"


def _fraction(t_ns: int) -> str:
    fraction = t_ns % NS
    return f"{fraction:09d}" if fraction % 1000 else f"{fraction // 1000:06d}"


def _time(parts: Iterable[str], fraction: str | None, text: str) -> int:
    year, month, day, hour, minute, second = map(int, parts)
    try:
        leap = second == 60  # written in a leap second: the next one's first moment
        since = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=timezone.utc) - _EPOCH
    except ValueError as error:
        raise ConfigError(f"{text[:40]!r} is not a time: {error}") from error
    seconds = since.days * 86400 + since.seconds + leap
    return check_time(seconds * NS + (int(fraction.ljust(9, "0")) if fraction else 0))
