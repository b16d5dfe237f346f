"""Times and spans from query strings."""

from datetime import datetime, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.errors import ConfigError
from vagus.gateway.errors import Problem
from vagus.gateway.params import parse_time, span_of

NOW = 1_700_000_000 * 10**9


@pytest.mark.parametrize(
    ("text", "t_ns"),
    [
        ("0", 0),
        ("1700000000000000001", NOW + 1),
        ("2023-11-14T22:13:20Z", NOW),
        ("2023-11-14t22:13:20.000000001z", NOW + 1),
        ("2023-11-14 23:13:20.5+01:00", NOW + 500_000_000),
        ("2023-11-14T23:13:20 01:00", NOW),  # the + became a space on its way
        ("2023-11-14T12:13:20-10:00", NOW),
        ("2024-02-29T00:00:00Z", 1_709_164_800 * 10**9),
    ],
)
def test_times(text, t_ns):
    assert parse_time(text) == t_ns


@pytest.mark.parametrize(
    "text",
    ["", "now", "9999-01-01T00:00:00Z", "2023-02-29T00:00:00Z", "2023-11-14T22:13:20", "-1", "1" * 21, "١٢", "1e9"],
)
def test_not_times(text):
    with pytest.raises(ConfigError):
        parse_time(text)


@settings(deadline=None, max_examples=30)
@given(st.datetimes(datetime(1970, 1, 2), datetime(2099, 1, 1), timezones=st.just(timezone.utc)))
def test_rfc3339_agrees_with_datetime(moment):
    whole, micros = int(moment.replace(microsecond=0).timestamp()), moment.microsecond
    assert parse_time(moment.isoformat()) == whole * 10**9 + micros * 1000


def test_spans():
    assert span_of("", "", "", NOW) == (NOW + 1 - 300 * 10**9, NOW + 1)
    assert span_of("1m", "", "", NOW) == (NOW + 1 - 60 * 10**9, NOW + 1)
    assert span_of("", "5", "9", NOW) == (5, 9)
    assert span_of("", "", "9", NOW) == (0, 9)
    assert span_of("10000w", "", "", NOW) == (0, NOW + 1)


@pytest.mark.parametrize("given", [("1m", "5", ""), ("x", "", ""), ("", "9", "9"), ("", "", "9" * 19)])
def test_bad_spans(given):
    with pytest.raises(Problem) as caught:
        span_of(*given, NOW)
    assert caught.value.status == 422
