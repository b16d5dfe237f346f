"""W3C Trace Context: the specification's own examples, and the cases of its conformance tests."""

import pytest
from multidict import CIMultiDict

from vagus.client.trace_context import TraceContext, inject, make, of_headers, parse, parse_state, text
from vagus.errors import ConfigError

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("value", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-02", False),  # level 2's random flag
        (f"00-{TRACE}-{SPAN}-ff", True),
        (f" 00-{TRACE}-{SPAN}-01\t", True),
        (f"01-{TRACE}-{SPAN}-01", True),  # a later version is read as this one
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be", True),
        (f"fe-{TRACE}-{SPAN}-01-", True),
    ],
)
def test_good_ones(value, sampled):
    assert parse(value) == TraceContext(TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-what",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01.what",
        f"cc-{TRACE}-{SPAN}-01.what",
        f"cc-{TRACE}-{SPAN}-011",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN.upper()}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}0-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-.1",
        f"00-{TRACE}-{SPAN}",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-" + "x" * 600,
        None,
        b"00",
    ],
)
def test_invalid_ones(value):
    with pytest.raises(ConfigError, match="traceparent"):
        parse(value)
    assert of_headers({"traceparent": value}) is None


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ("foo=1,bar=2", "foo=1,bar=2"),
        (" foo=1 \t,, bar=a b", "foo=1,bar=a b"),
        ("0a@v=1,fw529a3039@dt=FfwAAA", "0a@v=1,fw529a3039@dt=FfwAAA"),
        ("foo=1,foo=2", ""),
        ("foo", ""),
        ("Foo=1", ""),
        ("foo@=1", ""),
        ("0foo=1", ""),
        ("foo=a=b", ""),
        ("foo=é", ""),
        ("=1", ""),
        ("foo=", ""),
        ("z" * 257 + "=1", ""),
        ("z" * 256 + "=1", "z" * 256 + "=1"),
        ("foo=" + "v" * 257, ""),
        (",".join(f"k{n}=1" for n in range(32)), ",".join(f"k{n}=1" for n in range(32))),
        (",".join(f"k{n}=1" for n in range(33)), ""),
        ("k=" + "x" * 9000, ""),
    ],
)
def test_state(state, kept):
    assert parse_state(state) == kept
    assert parse(f"00-{TRACE}-{SPAN}-01", state) == TraceContext(TRACE, SPAN, True, kept)


def test_headers_of_any_case_and_given_twice():
    found = of_headers({"TraceParent": f"00-{TRACE}-{SPAN}-01", "TRACESTATE": "a=1"})
    assert found == TraceContext(TRACE, SPAN, True, "a=1")
    many = CIMultiDict([("Traceparent", f"00-{TRACE}-{SPAN}-01"), ("tracestate", "a=1"), ("tracestate", "b=2")])
    assert of_headers(many) == TraceContext(TRACE, SPAN, True, "a=1,b=2")
    many.add("traceparent", f"00-{TRACE}-{SPAN}-01")
    assert of_headers(many) is None
    assert of_headers({}) is None
    assert of_headers(None) is None
    assert of_headers({"tracestate": "a=1"}) is None


def test_what_is_made_and_injected_replaces_what_was():
    made = make(TraceContext(TRACE, SPAN, False, "a=1"))
    assert (made.trace_id, made.sampled, made.state) == (TRACE, False, "a=1")
    assert made.span_id != SPAN
    headers = {"Traceparent": "old", "TraceState": "old", "Accept": "x"}
    inject(headers, made)
    assert headers == {"traceparent": text(made), "tracestate": "a=1", "Accept": "x"}
    first, second = make(), make(sampled=False)
    assert first.trace_id != second.trace_id
    assert (first.sampled, second.sampled) == (True, False)
    inject(headers, first)
    assert "tracestate" not in headers
