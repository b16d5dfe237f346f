"""systemd's journal as journalctl prints it: `-o json`, `-o export`, and the short forms, which are syslog's.

    journalctl -f -o json | vagus health logtail journald -

The rules are syslog's. In JSON and export the fields that the journal itself vouches for tell what is the kernel's
and systemd's, so that no program can speak in their names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from vagus.health.filter_syslog import SyslogFilter
from vagus.health.log_syslog import FIELDS
from vagus.model import Report

MAX_ENTRY_FIELDS = 200
MAX_JSON_CHARS = 64 << 10
MAX_PATHS = 100

_WANTED = frozenset(
    {"MESSAGE", "SYSLOG_IDENTIFIER", "PRIORITY", "_COMM", "_TRANSPORT", "_PID", "_UID", "_HOSTNAME", "_SYSTEMD_UNIT"}
    | {"__REALTIME_TIMESTAMP", "_SOURCE_REALTIME_TIMESTAMP", "__CURSOR"}
)
_FIELD = re.compile(r"([A-Z_][A-Z0-9_]{0,63})=(.*)", re.DOTALL)
_BINARY = re.compile(r"[A-Z_][A-Z0-9_]{0,63}\Z")
_CURSOR = re.compile(r"s=([0-9a-f]{32});")
_json = msgspec.json.Decoder(dict[str, object])


class JournaldFilter(SyslogFilter):
    """Reports of the journal's entries. Fields of a filter file: syslog's, and priority, unit, transport."""

    name = "journald"
    fields = (*FIELDS, "priority", "unit", "transport")

    def __init__(self, node: str = "", **options: Any) -> None:
        super().__init__(node, **options)
        self._exports: dict[str, _Export] = {}

    def read(self, line: str, path: str, t_ns: int) -> Report | None:
        """The report in an entry that ends with this line, or None. Never raises."""
        export = self._exports.get(path)
        if line.startswith("{"):
            if export is None and ('"MESSAGE":[' in line or '"MESSAGE" : [' in line or self.promising(line)):
                return self._entry(_from_json(line), path, t_ns)
            return None
        if export is None:
            if not line.startswith("__CURSOR="):
                return super().read(line, path, t_ns)
            if len(self._exports) >= MAX_PATHS:
                self._exports.clear()
            export = self._exports[path] = _Export()
        entry = export.take(line)
        return None if entry is None else self._entry(entry, path, t_ns)

    def _entry(self, entry: Mapping[str, str], path: str, t_ns: int) -> Report | None:
        message = entry.get("MESSAGE", "").partition("\n")[0]
        if not message or not self.promising(message):
            return None
        return self.judge(
            {
                "time": "",
                "host": entry.get("_HOSTNAME", ""),
                "source": _program(entry),
                "content": message,
                "priority": entry.get("PRIORITY", ""),
                "unit": entry.get("_SYSTEMD_UNIT", ""),
                "transport": entry.get("_TRANSPORT", ""),
            },
            path,
            _time_ns(entry, t_ns),
        )


def _program(entry: Mapping[str, str]) -> str:
    """The program's name; those that rules believe only where the journal itself vouches for it."""
    if entry.get("_TRANSPORT") == "kernel":
        return "kernel"
    name = entry.get("SYSLOG_IDENTIFIER") or entry.get("_COMM") or "unknown"
    trusted = {"kernel": False, "systemd": entry.get("_PID") == "1", "smartd": entry.get("_UID") == "0"}
    return name if trusted.get(name, True) else f"not-{name}"


def _time_ns(entry: Mapping[str, str], t_ns: int) -> int:
    text = entry.get("_SOURCE_REALTIME_TIMESTAMP") or entry.get("__REALTIME_TIMESTAMP") or ""
    return int(text) * 1000 if text.isascii() and text.isdigit() and len(text) <= 17 else t_ns


def _from_json(line: str) -> dict[str, str]:
    """The fields of an entry that are wanted. What is not UTF-8 comes as an array of bytes, what came twice as a list."""
    if len(line) > MAX_JSON_CHARS:
        return {}
    try:
        found = _json.decode(line.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError):
        return {}
    entry = {}
    for name in found.keys() & _WANTED:
        value = found[name]
        if isinstance(value, list) and value and isinstance(value[0], str):
            value = value[0]
        if isinstance(value, list) and all(isinstance(byte, int) and 0 <= byte < 256 for byte in value):
            value = bytes(value).decode("utf-8", "replace")
        if isinstance(value, str):
            entry[name] = value
    return entry


class _Export:
    """An entry of the export format, line by line: FIELD=VALUE, or FIELD and below it a length and so many bytes.

    A value of bytes may hold lines that look like fields, and even like the end of the entry, so its length is
    counted. Where that fails (a line was cut, or is not UTF-8), all is skipped up to an entry with a cursor of the
    same journal, which a program cannot know.
    """

    def __init__(self) -> None:
        self._entry: dict[str, str] = {}
        self._journal = ""
        self._name = ""  # of the value that is being read
        self._value = b""
        self._lost = False

    def take(self, line: str) -> dict[str, str] | None:
        """The entry that this line ends, or None."""
        if self._lost:
            cursor = _CURSOR.match(line[9:]) if line.startswith("__CURSOR=") else None
            if cursor is None or cursor[1] != self._journal:
                return None
            self._lost, self._entry, self._name = False, {}, ""
        if self._name:
            self._more(line)
            return None
        if not line:
            entry, self._entry = self._entry, {}
            return entry or None
        field = _FIELD.match(line)
        if field is None:
            self._lost = _BINARY.match(line) is None
            self._name, self._value = line, b""
            return None
        name, value = field.groups()
        if name == "__CURSOR" and not self._journal:
            cursor = _CURSOR.match(value)
            self._journal = cursor[1] if cursor else ""
        if name in _WANTED and len(self._entry) < MAX_ENTRY_FIELDS:
            self._entry.setdefault(name, value)
        return None

    def _more(self, line: str) -> None:
        self._value += line.encode("utf-8", "surrogateescape") + b"\n"
        if "\ufffd" in line or len(self._value) > MAX_JSON_CHARS:
            self._lost = True
            return
        if len(self._value) < 8:
            return
        end = 8 + int.from_bytes(self._value[:8], "little")
        if len(self._value) > end + 1:
            self._lost = True
        elif len(self._value) == end + 1:  # the newline behind the value
            if self._name in _WANTED:
                self._entry.setdefault(self._name, self._value[8:end].decode("utf-8", "replace"))
            self._name = ""
