"""Formats on known-good bodies and broken ones: a broken field never loses the record."""

from __future__ import annotations

from typing import Any

import pytest

from vagus.errors import ConfigError
from vagus.feeds import Data, State
from vagus.feeds.formats.declared import entries
from vagus.feeds.formats.json import Json
from vagus.feeds.formats.text import Text
from vagus.feeds.formats.uptime import Uptime, UptimeLine

MINUTE, HOUR, DAY = 60, 3600, 86400


def parsed(fmt: Any, body: bytes) -> tuple[Any, Data, int]:
    value, found = fmt.parse(body)
    return value, found.code, found.errors


@pytest.mark.parametrize(
    ("line", "time", "up_s", "users", "load1"),
    [
        (" 21:00:14 up 24 min,  0 user,  load average: 0.02, 0.01, 0.00", "21:00:14", 24 * MINUTE, 0, 0.02),
        (" 10:00:00 up 1 day,  2:03,  2 users,  load average: 1.50, 0.40, 0.30", "10:00:00", 93780, 2, 1.5),
        (" 10:00:00 up 5 min,  1 user,  load average: 0.00, 0.00, 0.00", "10:00:00", 300, 1, 0.0),
        (" 10:00:00 up 2 days,  1 user,  load average: 3.00, 2.00, 1.00", "10:00:00", 2 * DAY, 1, 3.0),
        (" 10:00:00 up 100 days, 23 min,  3 users,  load average: 0.1, 0.2, 0.3", "10:00:00", 8641380, 3, 0.1),
        (" 10:00:00 up  2:03,  load average: 0.00, 0.01, 0.05", "10:00:00", 7380, None, 0.0),  # no utmp
        (" 10:00:00 up 0 min,  load average: 12.34, 3.00, 1.00", "10:00:00", 0, None, 12.34),
        (" 10:00:00 up 3 days,  4:05,  0 users,  load average: 0,52, 0,58, 0,59", "10:00:00", 273900, 0, 0.52),
        ("14:02  up 2 days,  3:04, 12 users, load averages: 1.50 1.60 1.70", "14:02", 183840, 12, 1.5),  # BSD
        ("14:02  up 30 secs, 1 user, load averages: 1.50 1.60 1.70", "14:02", 30, 1, 1.5),
        ("14:02  up 1 day, 2 hrs, 2 users, load averages: 1.50 1.60 1.70", "14:02", DAY + 2 * HOUR, 2, 1.5),
        ("10:11am  up 2 day(s),  3:04,  2 users,  load average: 0.04, 0.04, 0.03", "10:11am", 183840, 2, 0.04),
        (" 2:02PM  up 1 day(s), 5 min(s), 1 user,  load average: 0.04, 0.04, 0.03", "2:02PM", DAY + 300, 1, 0.04),
    ],
)
def test_uptime_of_all_makes(line: str, time: str, up_s: float, users: int | None, load1: float) -> None:
    value, data, errors = parsed(Uptime(), line.encode() + b"\n")
    assert (data, errors) == (Data.GOOD, 0)
    assert value is not None
    assert (value.time, value.up_s, value.users, value.load1) == (time, up_s, users, load1)
    assert value.load5 is not None
    assert value.load15 is not None


@pytest.mark.parametrize(
    ("line", "expected", "errors"),
    [
        (" 10:00:00 up ???,  1 user,  load average: 1.0, 2.0, 3.0", ("10:00:00", None, 1, 1.0, 2.0, 3.0), 1),
        (" 10:00:00 up 5 min,  1 user,  load average: 1.0, x", ("10:00:00", 300, 1, None, None, None), 1),
        ("load average: 1.0, 2.0, 3.0", (None, None, None, 1.0, 2.0, 3.0), 2),
        (" 10:00:00 up 5 min,  1 user", ("10:00:00", 300, 1, None, None, None), 1),
        (" 10:00:00 up 5 min,  load average: 1.0, 2.0, 3.0\nmore", ("10:00:00", 300, None, 1.0, 2.0, 3.0), 1),
    ],
)
def test_uptime_keeps_what_is_whole(line: str, expected: tuple[Any, ...], errors: int) -> None:
    code = Data.SYNTAX if "more" in line else Data.NESTED  # of the line itself, or of its parts
    assert parsed(Uptime(), line.encode()) == (UptimeLine(*expected), code, errors)


@pytest.mark.parametrize("body", [b"", b"nothing of the kind", b"\xff\xfe", b"sh: uptime: not found"])
def test_uptime_of_something_else(body: bytes) -> None:
    assert parsed(Uptime(), body) == (None, Data.SYNTAX, 1)


REPORT = b"""Date: 1177560002.5
VMStat: 1 0 5996 20628
CPUUse: 37 12
DNSFail: 0.0
RWFS: 1
Other: ignored
"""
FIELDS = {
    "Date": "float",
    "VMStat": "list[int]",
    "CPUUse": "list[float]",
    "DNSFail": {"type": "float", "min": 0, "max": 100},
    "RWFS": "bool",
    "Node": "str?",
}


def test_entries_types_declared_keys() -> None:
    assert parsed(entries(fields=FIELDS), REPORT) == (
        {
            "Date": 1177560002.5,
            "VMStat": [1, 0, 5996, 20628],
            "CPUUse": [37.0, 12.0],
            "DNSFail": 0.0,
            "RWFS": True,
            "Node": None,
        },
        Data.GOOD,
        0,
    )


@pytest.mark.parametrize(
    ("was", "now", "key", "value", "code"),
    [
        (b"VMStat: 1 0", b"VMStat: 1 x", "VMStat", [1, None, 5996, 20628], Data.NESTED),
        (b"VMStat: 1 0", b"VMStat: 1_0", "VMStat", [None, 5996, 20628], Data.NESTED),
        (b"VMStat: 1 0", b"VMStat: 99999999999999999999", "VMStat", [None, 5996, 20628], Data.NESTED),
        (b"Date: 1177560002.5", b"Date: nan", "Date", None, Data.SEMANTIC),
        (b"Date: 1177560002.5", b"Date: 1e999", "Date", None, Data.SEMANTIC),
        (b"Date: 1177560002.5", b"Date: today", "Date", None, Data.SYNTAX),
        (b"Date: 1177560002.5\n", b"", "Date", None, Data.SYNTAX),
        (b"DNSFail: 0.0", b"DNSFail: 101", "DNSFail", None, Data.SEMANTIC),
        (b"RWFS: 1", b"RWFS: maybe", "RWFS", None, Data.SYNTAX),
        (b"RWFS: 1", b"RWFS: 1\nRWFS: 0", "RWFS", True, Data.SEMANTIC),
    ],
)
def test_a_broken_field_never_loses_the_record(was: bytes, now: bytes, key: str, value: Any, code: Data) -> None:
    whole, _, _ = parsed(entries(fields=FIELDS), REPORT)
    broken, found = entries(fields=FIELDS).parse(REPORT.replace(was, now))
    assert (found.code, found.errors, found.state) == (Data.NESTED, 1, State.PARTIAL)
    assert found.part(key).code is code
    assert broken == {**(whole or {}), key: value}


def test_entries_leave_alone_what_is_not_declared() -> None:
    """Lines without a declared key are not looked at, whatever they are: that is what makes it fast."""
    value, data, errors = parsed(entries(fields=FIELDS), REPORT.replace(b"Other: ignored", b"no separator \xff"))
    assert (value, data, errors) == parsed(entries(fields=FIELDS), REPORT)


def test_entries_undeclared_keep_every_key_as_text() -> None:
    value, data, errors = parsed(entries(sep="="), b"a = 1\r\nb=2=3\n\n")
    assert (value, data, errors) == ({"a": "1", "b": "2=3"}, Data.GOOD, 0)


@pytest.mark.parametrize("body", [b"", b"\n\n", b"(null)\n"])
def test_entries_of_something_else(body: bytes) -> None:
    assert parsed(entries(fields=FIELDS), body) == (None, Data.SYNTAX, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"fields": {"a": "number"}},
        {"fields": {"a": "list[list[int]]"}},
        {"fields": {"a": {"type": "int", "least": 1}}},
        {"fields": {"a": {"type": "int", "min": "x"}}},
        {"fields": ["a"]},
        {"sep": ""},
    ],
)
def test_entries_refuses_wrong_declarations(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        entries(**options)


def test_json() -> None:
    assert parsed(Json(), b' {"a": [1, 2.5, "x", null, true]} ') == ({"a": [1, 2.5, "x", None, True]}, Data.GOOD, 0)


@pytest.mark.parametrize("body", [b"", b"{", b'{"a": NaN}', b'"\xff"', b"1e999", b"9" * 5000, b'"\\ud800"'])
def test_not_json(body: bytes) -> None:
    assert parsed(Json(), body) == (None, Data.SYNTAX, 1)


def test_json_is_bounded() -> None:
    assert parsed(Json(max_depth=3), b"[[[1]]]") == ([[[1]]], Data.GOOD, 0)
    assert parsed(Json(max_depth=3), b"[[[[1]]]]") == (None, Data.SEMANTIC, 1)
    assert parsed(Json(), b"[" * 100_000) == (None, Data.SEMANTIC, 1)
    assert parsed(Json(max_bytes=5), b"[1, 2]") == (None, Data.SEMANTIC, 1)
    assert parsed(Json(), b'{"a": 18446744073709551616, "b": 1}') == ({"a": 2.0**64, "b": 1}, Data.NESTED, 1)
    assert parsed(Json(), b"[" + b"9" * 400 + b"]") == ([None], Data.NESTED, 1)
    with pytest.raises(ConfigError):
        Json(max_depth=100_000)


def test_text() -> None:
    assert parsed(Text(), "grün".encode()) == ("grün", Data.GOOD, 0)
    assert parsed(Text(), b"a\xff\xfeb") == ("a��b", Data.SYNTAX, 2)
    assert parsed(Text(encoding="latin-1"), b"\xfc") == ("ü", Data.GOOD, 0)
    with pytest.raises(ConfigError):
        Text(encoding="utf-7")
