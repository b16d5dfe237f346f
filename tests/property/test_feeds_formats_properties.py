"""Formats never raise, whatever the bytes, and their values go through JSON and MessagePack."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.feeds import Data, Format
from vagus.feeds.formats.declared import entries
from vagus.feeds.formats.json import Json
from vagus.feeds.formats.text import Text
from vagus.feeds.formats.uptime import Uptime

DECLARED = {"a": "int", "b": "list[float]", "c": "str?", "d": "bool"}
FORMATS: list[Format] = [Text(), Text(encoding="utf-16"), Json(), entries(), entries(fields=DECLARED), Uptime()]

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
nested = st.recursive(
    scalars, lambda s: st.lists(s, max_size=4) | st.dictionaries(st.text(max_size=4), s, max_size=4), max_leaves=10
)
near_misses = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(str.encode),
    st.text("0123456789:,. updaysminhrsuserload average\n", max_size=120).map(str.encode),
    st.lists(st.tuples(st.sampled_from("abcde"), st.text("0123456789.-+e naif", max_size=12)), max_size=8).map(
        lambda rows: "\n".join(f"{k}: {v}" for k, v in rows).encode()
    ),
    nested.map(lambda v: repr(v).replace("'", '"').replace("None", "null").encode(errors="replace")),
)


def parsed(fmt: Any, body: bytes) -> tuple[Any, Data, int]:
    value, found = fmt.parse(body)
    return value, found.code, found.errors


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda f: type(f).__name__)
@settings(deadline=None, max_examples=30)
@given(body=near_misses)
def test_never_raises_and_is_json_ready(fmt: Format, body: bytes) -> None:
    value, data, errors = parsed(fmt, body)
    assert (errors == 0) == (data is Data.GOOD)
    again: Any = msgspec.msgpack.decode(msgspec.msgpack.encode(value))
    assert again == msgspec.json.decode(msgspec.json.encode(value))
    assert parsed(fmt, body) == (value, data, errors)


@settings(deadline=None, max_examples=30)
@given(nested)
def test_json_round_trip(value: Any) -> None:
    body = msgspec.json.encode(value)
    found, data, errors = parsed(Json(), body)
    if data is Data.GOOD:
        assert found == msgspec.json.decode(body)
    else:
        assert data in (Data.SEMANTIC, Data.NESTED)  # an integer beyond 64 bits
        assert errors > 0


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(-(2**63), 2**64 - 1), max_size=20), st.floats(allow_nan=False, allow_infinity=False))
def test_entries_round_trip(many: list[int], one: float) -> None:
    body = f"many: {' '.join(map(str, many))}\none: {one!r}\n".encode()
    value, data, _ = parsed(entries(fields={"many": "list[int]", "one": "float"}), body)
    assert (value, data) == ({"many": many, "one": one}, Data.GOOD)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 5000), st.integers(0, 23), st.integers(0, 59), st.none() | st.integers(0, 100))
def test_uptime_round_trip(days: int, hours: int, minutes: int, users: int | None) -> None:
    """What procps prints (library/uptime.c: print of days, then hours:minutes or minutes) reads back exactly."""
    up = f"{days} day{'s' if days > 1 else ''}, " if days else ""
    up += f"{hours:2}:{minutes:02}, " if hours else f"{minutes} min, "
    who = "" if users is None else f"{users:2} user{'s' if users > 1 else ''}, "
    line = f" 01:02:03 up {up} {who} load average: 0.10, 0.20, 0.30\n"
    value, data, _ = parsed(Uptime(), line.encode())
    assert data is Data.GOOD
    assert value is not None
    assert (value.up_s, value.users) == (days * 86400 + hours * 3600 + minutes * 60, users)
