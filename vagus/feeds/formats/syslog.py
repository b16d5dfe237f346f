"""Syslog lines: RFC 5424, RFC 3164, and how rsyslog and syslog-ng write either to files, in any mixture."""

from __future__ import annotations

import re

import msgspec

from vagus.errors import NoData
from vagus.feeds.formats.faults import MAX_NOTE, Faults
from vagus.feeds.formats.inverse import inverse
from vagus.feeds.formats.structs import shape_of
from vagus.feeds.formats.timestamps import Time
from vagus.feeds.item import Data, Descriptor, State

MAX_LINES = 1_000_000
MAX_LINE_BYTES = 64 << 10
MAX_PRIORITY = 191
SEVERITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")

_ISO = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
_BSD = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ 0-9]?[0-9] [0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
_ZONE = re.compile(r"(?:Z|[0-9][+-][0-9]{2}:?[0-9]{2})\Z")
_ISO_TIME = Time("iso").filler()
_PRIORITY = re.compile(r"<([0-9]{1,3})>")
_NEW = re.compile(rf"1 (-|{_ISO}) (\S{{1,255}}) (\S{{1,48}}) (\S{{1,128}}) (\S{{1,32}}) ")
_OLD = re.compile(rf"({_ISO}|{_BSD}) (\S{{1,255}}) (?:([^\s\[\]:]{{1,128}})(?:\[([^\]\s]{{1,128}})\])?: ?)?")
_ELEMENT = re.compile(r"\[([^\s=\]\"]{1,32})((?: [^\s=\]\"]{1,32}=\"(?:[^\"\\\]]|\\.)*\")*)\]")
_PARAMETER = re.compile(r" ([^\s=\]\"]{1,32})=\"((?:[^\"\\\]]|\\.)*)\"")
_ESCAPED = re.compile(r'\\(["\\\]])')


class SyslogLine(msgspec.Struct, frozen=True):
    """One message.

    version: 1 for RFC 5424, 0 for RFC 3164. facility, severity (SEVERITIES): None where the line has no priority, as
    in files. time: as it is written; time_s: seconds since 1970, None where it has no year or no zone. host, app, pid,
    msgid: None for `-` and where there is none. data: structured data by id and name.
    """

    version: int
    facility: int | None
    severity: int | None
    time: str | None
    time_s: float | None
    host: str | None
    app: str | None
    pid: str | None
    msgid: str | None
    data: dict[str, dict[str, str]]
    message: str


class Syslog:
    """A body as a list of lines; a line that is none of either kind is one with nothing but its message, and told."""

    name = "syslog"
    shape = shape_of(list[SyslogLine])
    by_lines = True  # no line tells of another: a long file can be parsed in parts

    def parse(self, body: bytes) -> tuple[list[SyslogLine], Descriptor]:
        """The lines, empty ones left out; what is wrong with one stands below its index and field."""
        lines: list[SyslogLine] = []
        faults = Faults()
        start = 0
        for raw in body.split(b"\n"):
            end = start + len(raw)
            if len(lines) >= MAX_LINES:
                faults.wrong(f"more than {MAX_LINES} lines", Data.SEMANTIC, state=State.PANIC)
                break
            if raw.strip():
                wrong: list[tuple[str, Data, str]] = []
                lines.append(_line(raw, wrong))
                if wrong:
                    faults.part(len(lines) - 1, _told(wrong, start, end))
            start = end + 1
        return lines, faults.descriptor(0, len(body))

    def print(self, value: list[SyslogLine]) -> bytes:
        """Each line in its own version. Raises NoData for what such a line cannot hold."""
        try:
            return inverse(self, value, "".join(f"{_printed(line)}\n" for line in value).encode())
        except (AttributeError, TypeError, UnicodeEncodeError) as error:
            raise NoData(f"format syslog prints lists of SyslogLine: {error}") from error


def _line(raw: bytes, wrong: list[tuple[str, Data, str]]) -> SyslogLine:
    if len(raw) > MAX_LINE_BYTES:
        wrong.append(("message", Data.SEMANTIC, f"{len(raw)} bytes; {MAX_LINE_BYTES} are read"))
    try:
        text = raw[:MAX_LINE_BYTES].decode()
    except UnicodeDecodeError:
        text = raw[:MAX_LINE_BYTES].decode(errors="replace")
        wrong.append(("message", Data.SYNTAX, "bytes that are not utf-8"))
    text = text.removesuffix("\r")
    facility = severity = None
    if priority := _PRIORITY.match(text):
        if int(priority[1]) <= MAX_PRIORITY:
            facility, severity = divmod(int(priority[1]), 8)
        else:
            wrong.append(("facility", Data.SEMANTIC, f"priority {priority[1]} is above {MAX_PRIORITY}"))
        text = text[priority.end() :]
    if found := _NEW.match(text):
        data, message = _structured(text[found.end() :], wrong)
        time, host, app, pid, msgid = (None if part == "-" else part for part in found.groups())
        return SyslogLine(1, facility, severity, time, _seconds(time, wrong), host, app, pid, msgid, data, message)
    if found := _OLD.match(text):
        time, host, app, pid = found.groups()
        message = text[found.end() :]
        return SyslogLine(0, facility, severity, time, _seconds(time, wrong), host, app, pid, None, {}, message)
    wrong.append(("time", Data.SYNTAX, f"no line of syslog: {text[:60]!r}"))
    return SyslogLine(0, facility, severity, None, None, None, None, None, None, {}, text)


def _seconds(time: str | None, wrong: list[tuple[str, Data, str]]) -> float | None:
    if time is None or not _ZONE.search(time):
        return None
    text = time.encode()
    value, _, found = _ISO_TIME(text, 0, len(text))
    if found is not None:
        wrong.append(("time_s", found.code, found.note))
        return None
    return float(value)


def _structured(text: str, wrong: list[tuple[str, Data, str]]) -> tuple[dict[str, dict[str, str]], str]:
    """Structured data, and the message behind it."""
    if text == "-" or text.startswith("- "):
        return {}, text[2:].removeprefix("\ufeff")
    data: dict[str, dict[str, str]] = {}
    at = 0
    while element := _ELEMENT.match(text, at):
        if element[1] in data:
            wrong.append(("data", Data.SEMANTIC, f"{element[1]} stands twice"))
        parameters = data.setdefault(element[1], {})
        for name, value in _PARAMETER.findall(element[2]):
            parameters.setdefault(name, _ESCAPED.sub(r"\1", value))
        at = element.end()
    if not at or (at < len(text) and text[at] != " "):
        wrong.append(("data", Data.SYNTAX, f"no structured data: {text[at : at + 60]!r}"))
        return data, text[at:]
    return data, text[at + 1 :].removeprefix("\ufeff")


def _told(wrong: list[tuple[str, Data, str]], start: int, end: int) -> Descriptor:
    faults = Faults()
    for name, code, note in wrong:
        faults.part(name, Descriptor(State.PARTIAL, 1, code, start, end, note=note[:MAX_NOTE]))
    return faults.descriptor(start, end)


def _printed(line: SyslogLine) -> str:
    has_priority = line.facility is not None and line.severity is not None
    priority = f"<{8 * (line.facility or 0) + (line.severity or 0)}>" if has_priority else ""
    if line.version == 0:
        tag = "" if line.app is None else f"{line.app}[{line.pid}]: " if line.pid else f"{line.app}: "
        return f"{priority}{line.time} {line.host} {tag}{line.message}"
    words = " ".join(word or "-" for word in (line.time, line.host, line.app, line.pid, line.msgid))
    data = "".join(f"[{name}{_parameters(parameters)}]" for name, parameters in line.data.items()) or "-"
    return f"{priority}1 {words} {data}" + (f" {line.message}" if line.message else "")


def _parameters(parameters: dict[str, str]) -> str:
    return "".join(f' {name}="{_escape(value)}"' for name, value in parameters.items())


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
