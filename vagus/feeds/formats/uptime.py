"""The line of the `uptime` command: procps in all its variants, busybox, BSD and Solaris."""

from __future__ import annotations

import re

import msgspec

from vagus.errors import NoData
from vagus.feeds.formats.faults import Faults, whole
from vagus.feeds.formats.inverse import inverse
from vagus.feeds.formats.structs import shape_of
from vagus.feeds.item import Descriptor

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
    """One line of `uptime` as an `UptimeLine`; a part that is broken is None and told by its name (load1 for all)."""

    name = "uptime"
    shape = shape_of(UptimeLine)

    def parse(self, body: bytes) -> tuple[UptimeLine | None, Descriptor]:
        """None when neither time nor load is there. More than the one line is a SYNTAX error of its own."""
        size = len(body)
        text = body[:MAX_BYTES].decode("utf-8", errors="replace").strip()
        head, _, tail = text.partition("load average")
        time = _TIME.match(head)
        up_s, end = _up_seconds(head, time.end()) if time else (None, 0)
        users = _USERS.search(head, end)
        load = _LOAD.match("load average" + tail)
        loads = [float(number.replace(",", ".")) for number in load.groups()] if load else [None] * 3
        if time is None and load is None:
            return None, whole(body, "no line of uptime")
        faults = Faults()
        for name, missing in (("time", time is None), ("up_s", up_s is None), ("load1", load is None)):
            if missing:
                faults.broken(name, "it is not there, or not written so", 0, size)
        if size > MAX_BYTES or "\n" in text:
            faults.wrong("more than the one line")
        line = UptimeLine(time[1] if time else None, up_s, int(users[1]) if users else None, *loads)
        return line, faults.descriptor(0, size)

    def print(self, value: UptimeLine) -> bytes:
        """As procps prints it. Raises NoData for parts that are None, and what is finer than its minutes and digits."""
        try:
            up_s = int(value.up_s or 0)
            days, rest = divmod(up_s, 86400)
            up = f"{days} day{'s' if days != 1 else ''}, " if days else ""
            if rest >= 3600:
                up += f"{rest // 3600:2}:{rest // 60 % 60:02}"
            else:
                up += f"{rest // 60} min" if up_s >= 60 or not up_s else f"{up_s} sec"
            who = "" if value.users is None else f"  {value.users} user{'s' if value.users != 1 else ''},"
            loads = ", ".join(_load(load) for load in (value.load1, value.load5, value.load15) if load is not None)
            return inverse(self, value, f" {value.time} up {up},{who}  load average: {loads}\n".encode())
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            raise NoData(f"format uptime prints values of UptimeLine: {error}") from error


def _load(load: float) -> str:
    return f"{load:.2f}" if round(load, 2) == load else f"{load:.6f}"


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
