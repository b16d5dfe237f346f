"""The line of the `uptime` command: procps in all its variants, busybox, BSD and Solaris."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from vagus.errors import NoData
from vagus.feeds.contracts import ANY_SHAPE
from vagus.feeds.item import Data, Descriptor, described

MAX_BYTES = 4096
MAX_UP_S = 1e10  # three centuries: more is no uptime

_TIME = re.compile(r"\s*(\d{1,2}:\d\d(?::\d\d)?(?:\s?[ap]m)?)\s+up\s+", re.IGNORECASE)
_UP_PART = re.compile(
    r"(?:(?P<n>\d{1,9})\s*(?P<unit>weeks?|days?|day\(s\)|hours?|hrs?|hr\(s\)|minutes?|mins?|min\(s\)|secs?|seconds?|sec\(s\))"
    r"|(?P<h>\d{1,4}):(?P<m>\d\d))(?=[\s,]|\Z)",
    re.IGNORECASE,
)
_SECONDS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_USERS = re.compile(r"(\d{1,9}) users?(?=[\s,]|\Z)")
_NUMBER = r"(\d{1,9}[.,]\d{1,6})"  # some languages write 0,05
_LOAD = re.compile(rf"load averages?:\s*{_NUMBER},?\s+{_NUMBER},?\s+{_NUMBER}(?!\S)", re.IGNORECASE)
_SEPARATOR = re.compile(r",?\s*")


class UptimeLine(msgspec.Struct, frozen=True):
    """What `uptime` says: local time as printed, seconds up, users (None: this uptime does not count them), load."""

    time: str | None
    up_s: float | None
    users: int | None
    load1: float | None
    load5: float | None
    load15: float | None


class Uptime:
    """One line of `uptime` as an `UptimeLine`; a part that is broken is None and counted."""

    name = "uptime"

    shape = ANY_SHAPE

    def parse(self, body: bytes) -> tuple[UptimeLine | None, Descriptor]:
        """The value and its descriptor; None when nothing could be made of the body."""
        value, code, errors = self._parse(body)
        return value, described(code, errors, len(body))

    def print(self, value: Any) -> bytes:
        """Raises NoData: not printed yet."""
        raise NoData(f"format {self.name} cannot be printed")

    def _parse(self, body: bytes) -> tuple[UptimeLine | None, Data, int]:
        """The typed line; Syntax and the number of broken parts (time, up, load); None when none of them is there."""
        text = body[:MAX_BYTES].decode("utf-8", errors="replace").strip()
        head, _, tail = text.partition("load average")
        time = _TIME.match(head)
        up_s, end = _up_seconds(head, time.end()) if time else (None, 0)
        users = _USERS.search(head, end)
        load = _LOAD.match("load average" + tail)
        loads = [float(number.replace(",", ".")) for number in load.groups()] if load else [None] * 3
        if time is None and load is None:
            return None, Data.SYNTAX, 1
        errors = (time is None) + (up_s is None) + (load is None)
        if len(body) > MAX_BYTES or "\n" in text:
            errors += 1  # more than the one line
        line = UptimeLine(time[1] if time else None, up_s, int(users[1]) if users else None, *loads)
        return line, Data.SYNTAX if errors else Data.GOOD, errors


def _up_seconds(text: str, start: int) -> tuple[float | None, int]:
    """Seconds from `1 day, 2:03`, `5 min`, `2 days` … and where they end; None when there are none."""
    total, end = 0.0, start
    while part := _UP_PART.match(text, end):
        if part["n"]:
            total += int(part["n"]) * _SECONDS[part["unit"][0].lower()]
        else:
            total += int(part["h"]) * 3600 + int(part["m"]) * 60
        end = part.end()
        separator = _SEPARATOR.match(text, end)
        end = separator.end() if separator else end
    return (total, end) if end > start and total < MAX_UP_S else (None, start)
