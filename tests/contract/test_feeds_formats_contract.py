"""What every registered format promises: values of its shape, printing that is read back, no record lost for another's sake."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fixtures.feed_samples import SAMPLES
from vagus.errors import NoData
from vagus.feeds import FORMATS, Data, Descriptor, Shape, State

ROWS = b"".join(b"%d,%d.5,plab%d\n" % (n, n, n) for n in range(12))
MANY = {
    "ndjson": b"".join(b'{"node": "plab%d", "load": %d.5}\n' % (n, n) for n in range(12)),
    "csv": b"id,load,node\n" + ROWS,
    "openmetrics": b"".join(
        b'# HELP m%d h\n# TYPE m%d gauge\nm%d{a="b"} %d\nm%d{a="c"} 2.5\n' % (n, n, n, n, n) for n in range(6)
    ),
    "hosts": b"".join(b"%splab%d.example.org\n" % (b"#" * (n % 3 == 0), n) for n in range(12)),
    "syslog": b"".join(b"<34>Oct 11 22:14:%d a su[%d]: failed\n" % (n, n) for n in range(10, 22)),
    "common_log": b"".join(
        b'192.0.2.%d - - [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.0" 200 2326\n' % n for n in range(12)
    ),
    "combined_log": b"".join(
        b'192.0.2.%d - - [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.0" 200 2326 "-" "curl/8"\n' % n for n in range(12)
    ),
    "comon_slices": b"".join(
        b"Start: 1177560002 Thu Apr 26 00:00:02 2007\nNode: plab%d\n"
        b" 565    1    1    3    3  65  139.6  261.8  0.0 13.7       4      90 princeton_comon\n\n" % n
        for n in range(12)
    ),
    "lines": b"".join(b"line %d\n" % n for n in range(12)),
}


def records(name: str, value: Any) -> Counter[str]:
    """The records of a value; of metrics their samples."""
    if name == "openmetrics":
        return Counter(repr(sample) for metric in value for sample in metric.samples)
    return Counter(map(repr, value))


def fits(value: Any, shape: Shape, broken: Descriptor | None) -> bool:
    """Whether a value is of a shape; a part with an error may be None."""
    if value is None and broken is not None and broken.errors:
        return True
    parts = dict(shape.parts)
    match shape.kind:
        case "any":
            return True
        case "record":
            fields = value if isinstance(value, dict) else {}
            if isinstance(value, msgspec.Struct):
                fields = {name: getattr(value, name) for name in value.__struct_fields__}
            return list(fields) == list(parts) and all(
                fits(fields[name], part, broken.part(name) if broken else None) for name, part in parts.items()
            )
        case "union":
            return any(fits(value, part, broken) for part in parts.values())
        case "optional":
            return value is None or fits(value, parts[""], broken)
        case "list":
            return isinstance(value, list) and all(
                fits(one, parts[""], broken.part(n) if broken else None) for n, one in enumerate(value)
            )
        case "map":
            return isinstance(value, dict) and all(
                isinstance(key, str) and fits(one, parts[""], broken.part(key) if broken else None)
                for key, one in value.items()
            )
        case "time":
            return type(value) in (int, float)
        case _:
            return type(value) is {"bool": bool, "int": int, "float": float, "string": str, "bytes": bytes}[shape.kind]


def check(found: Descriptor, size: int) -> None:
    """A descriptor says the same about the whole as about the parts."""
    assert 0 <= found.start <= found.end <= size
    assert (found.errors == 0) == (found.code is Data.GOOD) == (found.state is State.NORMAL)
    assert found.code is not Data.NESTED or (found.inside and not found.note)
    assert found.code not in (Data.SYNTAX, Data.SEMANTIC) or found.note
    inside = sum(part.errors for _, part in found.inside)
    assert inside <= found.errors
    if found.code is Data.NESTED and len(found.inside) < 1000:
        assert inside == found.errors
    for _, part in found.inside:
        assert part.errors > 0
        check(part, size)


def test_every_format_has_samples() -> None:
    assert set(FORMATS) == set(SAMPLES)
    assert set(MANY) <= set(FORMATS)


@pytest.mark.parametrize("name", list(FORMATS))
def test_feature_10_values_are_of_their_shape_and_print(name: str) -> None:
    sample = SAMPLES[name]
    fmt = FORMATS.make(name, **sample.options)
    value, found = fmt.parse(sample.good)
    check(found, len(sample.good))
    assert found == Descriptor(end=len(sample.good))
    assert value is not None
    assert fits(value, fmt.shape, None)
    msgspec.json.encode(value)
    try:
        printed = fmt.print(value)
    except NoData:
        assert name == "rss"  # of all, only this one cannot
    else:
        assert fmt.parse(printed) == (value, Descriptor(end=len(printed)))
    for wrong in (object(), b"x", [object()], {"a": object()}, float("nan")):
        with pytest.raises(NoData):
            fmt.print(wrong)


@pytest.mark.parametrize("name", [name for name in FORMATS if SAMPLES[name].broken is not None])
def test_feature_10_broken_bodies_are_told(name: str) -> None:
    sample = SAMPLES[name]
    fmt = FORMATS.make(name, **sample.options)
    value, found = fmt.parse(sample.broken)
    check(found, len(sample.broken or b""))
    assert found.errors > 0
    assert value is None or fits(value, fmt.shape, found)


def mutated(body: bytes, dice: random.Random) -> bytes:
    at, size = dice.randrange(len(body)), dice.choice((1, 1, 1, 3))
    junk = dice.choice((dice.randbytes(size), bytes(dice.choices(b'0-",:#{}[]%\\ \t\n<(', k=size))))
    return body[:at] + (b"" if dice.random() < 0.3 else junk) + body[at + (size if dice.random() < 0.7 else 0) :]


@pytest.mark.parametrize("name", MANY)
def test_feature_10_what_is_broken_loses_no_other_record(name: str) -> None:
    """A change touches its own record, and the next one where it takes away what separates the two."""
    fmt = FORMATS.make(name)
    body = MANY[name]
    value, found = fmt.parse(body)
    assert found.errors == 0
    whole = records(name, value)
    assert whole.total() == 12
    dice = random.Random(7)
    first = body.index(b"\n") + 1 if name == "csv" else 0  # a header is for all rows
    for _ in range(300):
        changed = body[:first] + mutated(body[first:], dice)
        value, found = fmt.parse(changed)
        check(found, len(changed))
        assert fits(value, fmt.shape, found), changed
        assert (whole - records(name, value)).total() <= 2, changed


@pytest.mark.parametrize("name", list(FORMATS))
def test_feature_10_mutations_never_raise(name: str) -> None:
    sample = SAMPLES[name]
    fmt = FORMATS.make(name, **sample.options)
    dice = random.Random(11)
    for _ in range(100 if name == "rss" else 300):
        body = sample.good
        for _ in range(dice.choice((1, 1, 2, 5))):
            body = mutated(body or b"x", dice)
        value, found = fmt.parse(body)
        check(found, len(body))
        assert value is None or fits(value, fmt.shape, found), body
        assert fmt.parse(body) == (value, found)
        again: Any = msgspec.msgpack.decode(msgspec.msgpack.encode(value))
        assert again == msgspec.json.decode(msgspec.json.encode(value)) or name in ("record", "lines")


@pytest.mark.parametrize("name", list(FORMATS))
@settings(deadline=None, max_examples=30)
@given(body=st.binary(max_size=300))
def test_feature_10_arbitrary_bytes_never_raise(name: str, body: bytes) -> None:
    fmt = FORMATS.make(name, **SAMPLES[name].options)
    value, found = fmt.parse(body)
    check(found, len(body))
    assert value is None or fits(value, fmt.shape, found)
    try:
        printed = fmt.print(value)
    except NoData:
        return
    assert fmt.parse(printed)[0] == value
