"""Timestamps of several layouts, as seconds or nanoseconds since the epoch.

Layouts are those of strptime as far as they tell a point in time, read by regular expressions of our own: strptime
takes a whole text only, and knows neither fractions of nanoseconds nor where a prefix ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo

from vagus.clock import NS
from vagus.feeds.contracts import Shape
from vagus.feeds.formats.types import (
    GREATEST_INT,
    LEAST_INT,
    Node,
    Printer,
    Reader,
    Reading,
    broken,
    check_number,
    filled,
    literal,
    quoted,
    refuse,
    trimmed,
)
from vagus.feeds.item import Data

NAMED = {
    "epoch": "%s",
    "clf": "%d/%b/%Y:%H:%M:%S %z",
    "rfc2822": "%a, %d %b %Y %H:%M:%S %z",
    "syslog": "%b %e %H:%M:%S",
    "ctime": "%a %b %e %H:%M:%S %Y",
}
MAX_LAYOUTS = 20

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DIRECTIVES = {
    "Y": r"(?P<Y>[0-9]{4})",
    "m": r"(?P<m>[0-9]{1,2})",
    "d": r"(?P<d>[0-9]{1,2})",
    "e": r" ?(?P<d>[0-9]{1,2})",
    "H": r"(?P<H>[0-9]{1,2})",
    "I": r"(?P<I>[0-9]{1,2})",
    "p": r"(?P<p>[AaPp][Mm])",
    "M": r"(?P<M>[0-9]{2})",
    "S": r"(?P<S>[0-9]{2})",
    "f": r"(?P<f>[0-9]{1,9})",
    "b": rf"(?P<b>(?i:{'|'.join(MONTHS)}))",
    "a": rf"(?i:{'|'.join(DAYS)})",
    "z": r"(?P<z>Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2})",
    "s": r"(?P<s>[+-]?[0-9]{1,20})(?:\.(?P<f>[0-9]{1,30}))?",
    "%": "%",
}
_ISO = (
    r"(?P<Y>[0-9]{4})-(?P<m>[0-9]{2})-(?P<d>[0-9]{2})"
    r"(?:[Tt ](?P<H>[0-9]{2}):(?P<M>[0-9]{2})(?::(?P<S>[0-9]{2})(?:[.,](?P<f>[0-9]{1,30}))?)?"
    r"(?: ?(?P<z>[Zz]|UTC|GMT|[+-][0-9]{2}:?[0-9]{2}))?)?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Time(Node[Any]):
    """A point in time. layouts: tried in order, the first prints: `iso`, `epoch` (seconds), `clf` (web servers' logs),
    `rfc2822`, `syslog`, `ctime`, or one with %Y %m %d %e %H %I %p %M %S %f %b %a %z %s.

    unit: "s" gives a float, "ns" an int. zone: of layouts without one, an IANA name. What a layout does not say is of
    the first of January, 0:00, of `year`; `%f` is a fraction of a second, in up to nine digits; names are English.
    """

    layouts: tuple[str, ...] | str = ("iso",)
    unit: Literal["s", "ns"] = "s"
    zone: str = "UTC"
    year: int = 1970

    def __post_init__(self) -> None:
        if isinstance(self.layouts, str):
            object.__setattr__(self, "layouts", (self.layouts,))
        if self.unit not in ("s", "ns"):
            raise refuse(f"a Time's unit is s or ns, not {self.unit!r}")
        check_number("a Time's year", self.year, 1900, 2250)
        if not 1 <= len(self.layouts) <= MAX_LAYOUTS:
            raise refuse(f"a Time has 1 to {MAX_LAYOUTS} layouts, got {len(self.layouts)}")
        zone_of(self.zone)
        for layout in self.layouts:
            pattern_of(layout)

    @property
    def shape(self) -> Shape:
        return Shape("time", unit=self.unit)

    def _match(self, full: bool) -> Reader:
        zone, year, seconds = zone_of(self.zone), self.year, self.unit == "s"
        matches = [pattern.fullmatch if full else pattern.match for pattern in map(pattern_of, self.layouts)]

        def read(body: bytes, start: int, end: int) -> Reading:
            wrong, past = None, start
            for match in matches:
                found = match(body, start, end)
                if found is None:
                    continue
                try:
                    t_ns = nanoseconds(found.groupdict(), zone, year)
                except (ValueError, OverflowError) as error:
                    note = f"{quoted(body, start, found.end())} is no time: {error}"
                    wrong, past = wrong or broken(Data.SEMANTIC, start, found.end(), note), found.end()
                    continue
                return (t_ns / NS if seconds else t_ns), found.end(), None
            if wrong is None:
                note = f"{quoted(body, start, end)} is no time like {', '.join(self.layouts)}"
                wrong = broken(Data.SYNTAX, start, end if full else start, note)
            return None, past, wrong

        return read

    def reader(self) -> Reader:
        return self._match(False)

    def filler(self) -> Reader:
        fill = filled(self._match(True))

        def read(body: bytes, start: int, end: int) -> Reading:
            value, _, wrong = fill(body, *trimmed(body, start, end))
            return value, end, wrong

        return read

    def printer(self) -> Printer:
        layout, zone, seconds = self.layouts[0], zone_of(self.zone), self.unit == "s"

        def write(value: Any) -> bytes:
            t_ns = round(Decimal(repr(float(value))) * NS) if seconds else int(value)
            whole, fraction = divmod(t_ns, NS)
            digits = f"{fraction:09}".rstrip("0")
            if layout == "epoch" or layout == "%s":
                sign, whole, fraction = ("-", *divmod(-t_ns, NS)) if t_ns < 0 else ("", whole, fraction)
                digits = f"{fraction:09}".rstrip("0")
                return f"{sign}{whole}{'.' * bool(digits)}{digits}".encode()
            at = (_EPOCH + timedelta(seconds=whole)).astimezone(zone)
            if layout == "iso":
                text = f"{at:%Y-%m-%dT%H:%M:%S}{'.' * bool(digits)}{digits}"
                return (text + (_offset(at) if self.zone != "UTC" else "Z")).encode()
            return _printed(NAMED.get(layout, layout), at, whole, fraction).encode()

        return write


def zone_of(name: str) -> tzinfo:
    """A time zone by its IANA name. Raises ConfigError."""
    if name == "UTC":
        return timezone.utc
    try:
        return ZoneInfo(name)
    except Exception as error:  # of several kinds, by what is wrong with the name or this machine's tables
        raise refuse(f"a Time's zone is UTC or a name like Europe/Zurich, not {name!r}: {error}") from error


def pattern_of(layout: str) -> re.Pattern[bytes]:
    """The regular expression of a layout. Raises ConfigError."""
    if layout == "iso":
        return re.compile(_ISO.encode())
    literal("a Time's layout", layout)
    text = NAMED.get(layout, layout)
    parts = []
    for part in re.finditer(r"%(.?)|[ \t]+|[^% \t]+", text, re.DOTALL):
        if part[1] is None:
            parts.append("[ ]+" if part[0].isspace() else re.escape(part[0]))
        elif part[1] in _DIRECTIVES and _DIRECTIVES[part[1]]:
            parts.append(_DIRECTIVES[part[1]])
        else:
            known = " ".join(f"%{one}" for one in _DIRECTIVES)
            raise refuse(f"a Time's layout knows {known}, not {part[0]!r}; or one of iso, {', '.join(NAMED)}")
    try:
        pattern = re.compile("".join(parts).encode())
    except re.error as error:
        raise refuse(f"a Time's layout has each part once, but {layout!r}: {error}") from error
    if not pattern.groups:
        raise refuse(f"a Time's layout tells a time, {layout!r} does not")
    if ("I" in pattern.groupindex) != ("p" in pattern.groupindex):
        raise refuse(f"a Time's layout has %I and %p together: {layout!r}")
    return pattern


def nanoseconds(parts: dict[str, bytes | None], zone: tzinfo, year: int) -> int:
    """The time that the parts of a layout tell. Raises ValueError where there is none, or none of 64 bits."""
    fraction = int((parts.get("f") or b"0")[:9].ljust(9, b"0"))
    if epoch := parts.get("s"):
        whole = int(epoch)
        t_ns = whole * NS + (-fraction if epoch.startswith(b"-") else fraction)
    else:
        month = MONTHS.index(parts["b"].decode().lower()) + 1 if parts.get("b") else int(parts.get("m") or 1)  # type: ignore[union-attr]
        hour = int(parts.get("H") or 0)
        if parts.get("I"):
            hour = int(parts["I"] or 0)
            if not 1 <= hour <= 12:
                raise ValueError("hour must be in 1..12")
            hour = hour % 12 + 12 * ((parts.get("p") or b"").lower() == b"pm")
        second = int(parts.get("S") or 0)
        leap = second == 60  # is the second after 59 to all who count in seconds of 86400 a day
        given = parts.get("z")
        at = datetime(
            int(parts.get("Y") or year),
            month,
            int(parts.get("d") or 1),
            hour,
            int(parts.get("M") or 0),
            59 if leap else second,
            tzinfo=_fixed(given) if given else zone,
        )
        since = at - _EPOCH
        t_ns = (since.days * 86400 + since.seconds + leap) * NS + fraction
    if not LEAST_INT <= t_ns <= GREATEST_INT:
        raise ValueError("not between 1678 and 2554")
    return t_ns


def _fixed(text: bytes) -> timezone:
    if text[:1] not in (b"+", b"-"):
        return timezone.utc
    hours, minutes = int(text[1:3]), int(text[-2:])
    if minutes > 59:
        raise ValueError("an offset has at most 59 minutes")
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[:1] == b"-" else offset)


def _offset(at: datetime) -> str:
    text = at.strftime("%z")
    return f"{text[:3]}:{text[3:5]}"


def _printed(layout: str, at: datetime, whole: int, fraction: int) -> str:
    makers: dict[str, Callable[[], str]] = {
        "Y": lambda: f"{at.year:04}",
        "m": lambda: f"{at.month:02}",
        "d": lambda: f"{at.day:02}",
        "e": lambda: f"{at.day:2}",
        "H": lambda: f"{at.hour:02}",
        "I": lambda: f"{(at.hour + 11) % 12 + 1:02}",
        "p": lambda: "PM" if at.hour >= 12 else "AM",
        "M": lambda: f"{at.minute:02}",
        "S": lambda: f"{at.second:02}",
        "f": lambda: f"{fraction:09}" if fraction % 1000 else f"{fraction // 1000:06}",
        "b": MONTHS[at.month - 1].capitalize,
        "a": DAYS[at.weekday()].capitalize,
        "z": lambda: _offset(at).replace(":", ""),
        "s": lambda: str(whole),
        "%": lambda: "%",
    }
    return re.sub(r"%(.)", lambda found: makers[found[1]](), layout)
