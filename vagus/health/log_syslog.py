"""Syslog's lines: RFC 3164, RFC 5424, ISO times, and journalctl's short forms."""

from __future__ import annotations

import re

HEADER = (
    r"(?P<time>[A-Z][a-z]{2} {1,2}\d{1,2} \d\d:\d\d:\d\d(?:\.\d{1,9})?"
    r"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?"
    r"|(?:[A-Z][a-z]{2} )?\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?: [A-Z]{2,5})?) "
    r"(?P<sender>[A-Za-z0-9_.:%-]{1,255}) "
)
"""The time and the host of a line."""

_LINE = re.compile(r"(?:<\d{1,3}>)?" + HEADER + r"(?P<source>[^\s\[:]{1,100})(?:\[\d{1,10}\])?: (?P<content>.*)")
_RFC5424 = re.compile(
    r"<\d{1,3}>1 (?P<time>\d{4}-\d\d-\d\dT\S{8,30}) (?P<host>\S{1,255}) (?P<source>\S{1,48}) \S{1,128} \S{1,32} "
    r'(?:-|(?:\[(?:[^\]"]|"(?:[^"\\]|\\.)*")*\])+) ?(?:\ufeff)?(?P<content>.*)'
)
_UPTIME = re.compile(r"\[ {0,11}\d{1,11}\.\d{1,9}\] ")
_ZONE = re.compile(r"(?:[A-Z][a-z]{2} )?(\d.{18,30}?) (?:(UTC|GMT)|[A-Z]{2,5})\Z")

FIELDS = ("time", "host", "source", "content")


def plain_time(text: str) -> str:
    """The time of a header without a weekday and a zone's short name, which is local time's unless it is UTC's."""
    found = _ZONE.match(text) if text[-1:].isalpha() else None
    return text if found is None else found[1] + ("Z" if found[2] else "")


def split_syslog(line: str) -> dict[str, str] | None:
    """The fields of a line, or None; `source` is the program."""
    found = _LINE.match(line)
    if found is not None:
        fields = found.groupdict()
        fields["host"] = fields.pop("sender")
        fields["time"] = plain_time(fields["time"])
    else:
        found = _RFC5424.match(line)
        if found is None:
            return None
        fields = found.groupdict()
    if fields["source"] == "kernel":
        fields["content"] = _UPTIME.sub("", fields["content"], count=1)
    return fields
