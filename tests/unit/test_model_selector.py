"""Records refuse what they cannot mean; selectors select what they say."""

from __future__ import annotations

import contextlib
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vagus.errors import ConfigError
from vagus.model import Event, Field, Metric, Receipt, Report, Status, Stream, Target, to_builtins
from vagus.selector import compile_pattern, parse

LINK = Stream(
    node="a", kind="net.link", fields=(Field("rx_bytes", "bytes", "u8", True), Field("mtu")), labels={"dev": 'e"0\\'}
)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Field("no-dash"),
        lambda: Field("x", dtype="f16"),
        lambda: Stream(node="", kind="a", fields=(Field("x"),)),
        lambda: Stream(node="a", kind="a..b", fields=(Field("x"),)),
        lambda: Stream(node="a", kind="a", fields=()),
        lambda: Stream(node="a", kind="a", fields=(Field("x"), Field("x"))),
        lambda: Stream(node="a", kind="a", fields=(Field("x"),), labels={"node": "b"}),
        lambda: Metric(Status.HEALTHY, math.nan),
        lambda: Report("o", "s", 1, {}),
        lambda: Report("", "s", 1, {"c": Metric(Status.HEALTHY)}),
        lambda: Report("o", "s", 253_402_300_799 * 10**9, {"c": Metric(Status.HEALTHY)}),  # the year 9999
        lambda: Event(-1, "e", "n"),
        lambda: Status.parse("fine"),
        lambda: Target.parse("nowhere"),
    ],
)
def test_records_refuse_nonsense(make):
    with pytest.raises(ConfigError):
        make()


def test_a_series_is_named_as_prometheus_would():
    assert LINK.series("rx_bytes") == 'net.link.rx_bytes{dev="e\\"0\\\\",node="a"}'
    copy = msgspec.msgpack.decode(msgspec.msgpack.encode(LINK), type=Stream)
    assert copy == LINK
    assert hash(copy) == hash(LINK)


def test_bad_records_from_outside_are_validation_errors():
    with pytest.raises(msgspec.ValidationError, match="score"):
        msgspec.convert([int(Status.HEALTHY), math.inf], Metric)


@pytest.mark.parametrize(
    ("text", "indexes"),
    [
        ("net.link", [0, 1]),
        ("net.link.mtu", [1]),
        ("net.*", [0, 1]),
        ("*bytes", [0]),
        ("net.link.*", [0, 1]),
        ("*", [0, 1]),
        ("net", []),
        ("net.link.rx", []),
        ('*{node="a"}', [0, 1]),
        ('*{node="b"}', []),
        ('*{dev="e\\"0\\\\"}', [0, 1]),
        ('*{dev=~"e.*", node!="b"}', [0, 1]),
        ('*{dev!~"e.*"}', []),
        ('*{absent=""}', [0, 1]),
    ],
)
def test_selectors(text, indexes):
    assert parse(text).fields(LINK) == indexes


@pytest.mark.parametrize(
    "text", ["", "{", "a{", "a{b}", 'a{b="c}', 'a{b=~"("}', 'a{b=~"(a+)+"}', "a b", "x" * 3000, "a;b"]
)
def test_bad_selectors_are_refused(text):
    with pytest.raises(ConfigError):
        parse(text)


TWICE = [r"((a+))+b", r"(a|a)*b", r"(a|aa)+b", r"(?:(?:a)*)*b", r"([a-z]+)*b", r"(a+|b)*c", r"(a{1,9}){1,9}b"]
MANY = [".*.*.*b", "a?" * 60 + "a" * 60, "(ab|a)(bc|c)" * 12, "[ab]*[ab]*[ab]*c", "(?=(a+)+b).*", r"(.*)\1+b"]
FINE = [
    "",
    "eth.*",
    ".*foo.*bar.*",
    "(eth|wlan)[0-9]+",
    r"\d+-\d+-\d+",
    "https?://.*",
    "(?i)error.*",
    "(/.*)?",
    r"web-\d",
]


@pytest.mark.parametrize("pattern", [*TWICE, *MANY])
def test_patterns_that_could_take_forever_are_refused(pattern):
    with pytest.raises(ConfigError, match="could take forever"):
        compile_pattern(pattern)


@pytest.mark.parametrize("pattern", [*FINE, r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}"])
def test_patterns_of_every_day_are_taken(pattern):
    assert compile_pattern(pattern).pattern == pattern


def test_many_stars_are_no_search_without_end():
    stream = Stream("n", "a" * 150, (Field("a" * 150),))
    assert parse("*a" * 100 + "*").fields(stream) == [0]
    assert parse("*a" * 100 + "*b").fields(stream) == []


@given(st.text(max_size=200))
def test_any_text_is_a_selector_or_a_clear_error(text):
    with contextlib.suppress(ConfigError):
        assert set(parse(text).fields(LINK)) <= {0, 1}


def test_builtins_are_json_ready():
    receipt = Receipt(1, "a", "c", "dry", Target("pid", "1"), "cpu_cores", None, math.inf, 1.0, True)
    built = to_builtins(receipt)
    assert built["target"] == "pid:1"
    assert built["requested"] is None
    assert b"NaN" not in msgspec.json.encode(built)
