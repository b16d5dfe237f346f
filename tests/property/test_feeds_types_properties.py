"""Formats made by chance out of the types: printing is the inverse of parsing, and no bytes make a parser raise."""

from __future__ import annotations

import string
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.feeds import (
    Binary,
    Bool,
    Bytes,
    Choice,
    Constrained,
    Data,
    Descriptor,
    Float,
    Int,
    List,
    Map,
    Optional,
    Str,
    Time,
    Union,
)
from vagus.feeds.formats import keyed, layout, lists
from vagus.feeds.formats.compiled import Compiled
from vagus.feeds.formats.keyed import Keyed
from vagus.feeds.formats.layout import Build, Layout, Slot
from vagus.feeds.formats.lists import Lines
from vagus.feeds.formats.types import Node

Pair = tuple[Node[Any], st.SearchStrategy[Any]]  # a type, and values that it can print
LETTERS = st.text(string.ascii_letters + "äßé", min_size=1, max_size=6)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text("<>[]{}|!~", min_size=1, max_size=3)  # in no value


PUT_IN = st.binary(max_size=3) | st.sampled_from(
    [b" ", b"\t", b"\n", b"\r", b"-", b"_1", b".", b"e5", b"nan", b"\v", b"A: 1\n"]
)


def ints(node: Int) -> st.SearchStrategy[int]:
    low, high = node.bounds
    return st.integers(low, high)


@st.composite
def int_types(draw: Any) -> Pair:
    node = Int(
        bits=draw(st.sampled_from([None, 8, 16, 32, 64])),
        signed=draw(st.booleans()),
        base=draw(st.sampled_from([10, 10, 10, 2, 8, 16])),
    )
    return node, ints(node)


@st.composite
def scalar_types(draw: Any) -> Pair:
    """Types that tell themselves where they end, or are ended by anything that is no letter, digit, sign or point."""
    width = draw(st.integers(1, 8))
    pairs: list[Pair] = [
        draw(int_types()),
        (Float(), FINITE),
        (Float(32), st.floats(width=32, allow_nan=False, allow_infinity=False)),
        (Bool(draw(st.sampled_from([("true", "false"), ("1", "0"), ("yes", "no")]))), st.booleans()),
        (Str(), LETTERS),
        (Str(matching=r"\pL+"), LETTERS),
        (Str(until_regex=r"[^\pL]"), LETTERS),
        (Str(width=width), st.text(string.ascii_letters, min_size=width, max_size=width)),
        (Str(width=8, pad="."), st.text(string.ascii_letters, max_size=8)),
        (Int(bits=32, width=12), st.integers(-(2**31), 2**31 - 1)),
        (Choice(("up", "down", "upper")), st.sampled_from(["up", "down", "upper"])),
        (Time("iso", "ns"), st.integers(0, 2**62)),
        (Time("epoch", "ns"), st.integers(-(2**62), 2**62)),
        (Time("epoch"), st.integers(-(2**38), 2**38).map(lambda t: t / 64)),
        (Time("clf", "s", zone="America/New_York"), st.integers(0, 2**32).map(float)),
        (Constrained(Int(), lambda value: value % 3 == 0), st.integers(-1000, 1000).map(lambda v: 3 * v)),
    ]
    node, values = draw(st.sampled_from(pairs))
    if draw(st.booleans()) and not getattr(node, "width", None):  # which would read what stands behind
        return Optional(node, draw(st.sampled_from(["", "?"]))), st.none() | values
    return node, values


@st.composite
def compound_types(draw: Any, left: int = 2) -> Pair:
    if left == 0 or draw(st.booleans()):
        return draw(scalar_types())
    node, values = draw(compound_types(left - 1))
    kind = draw(st.sampled_from(["list", "union", "record"]))
    if kind == "list":
        node, values = (
            (node.node, values.filter(lambda v: v is not None)) if isinstance(node, Optional) else (node, values)
        )
        # one of the elements is there, so that no list of one nothing is an empty list
        some = st.lists(values, min_size=1, max_size=4)
        return List(node, sep=";,"[left % 2], term=".)"[left % 2] + "&"), some
    if kind == "union":
        if isinstance(node, Optional) or node.open:
            return node, values
        return Union((Choice(("#", "##")), node)), st.sampled_from(["#", "##"]) | values
    return draw(layouts(left))


@st.composite
def layouts(draw: Any, left: int = 1) -> tuple[Layout, st.SearchStrategy[dict[str, Any]]]:
    fields = draw(st.lists(compound_types(left - 1), min_size=1, max_size=4))
    names = [f"f{place}" for place in range(len(fields))]
    after = [draw(TEXTS) for _ in fields]
    slots = tuple(Slot(name, node, text) for name, (node, _), text in zip(names, fields, after, strict=True))
    node = Layout(slots, Build("r", tuple(names)), draw(st.just("") | TEXTS))
    return node, st.fixed_dictionaries({name: values for name, (_, values) in zip(names, fields, strict=True)})


@st.composite
def records_of_entries(draw: Any) -> tuple[Keyed, st.SearchStrategy[dict[str, Any]]]:
    keys = draw(st.lists(st.text("AB cd-", min_size=1, max_size=5).filter(lambda k: k == k.strip()), unique=True,
                         min_size=1, max_size=20))  # fmt: skip
    fields = [draw(scalar_types()) for _ in keys]
    slots = tuple(Slot(key, node, key=key) for key, (node, _) in zip(keys, fields, strict=True))
    node = Keyed(slots, Build("r", tuple(keys)), draw(st.sampled_from([": ", ":", " = ", "="])))
    return node, st.fixed_dictionaries({key: values for key, (_, values) in zip(keys, fields, strict=True)})


def something(value: Any) -> bool:
    return not isinstance(value, dict) or any(one is not None for one in value.values())


@st.composite
def formats(draw: Any) -> tuple[Compiled[Any], st.SearchStrategy[Any]]:
    node, values = draw(st.one_of(layouts(), records_of_entries()))
    values = values.filter(something)
    if isinstance(node, Layout) and draw(st.booleans()):
        return Compiled(Lines(node)), st.lists(values, max_size=4)
    return Compiled(node), values


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_feature_9_printing_is_the_inverse_of_parsing(data: st.DataObject) -> None:
    fmt, values = data.draw(formats())
    value = data.draw(values)
    body = fmt.print(value)
    again, found = fmt.parse(body)
    assert (again, found) == (value, Descriptor(end=len(body)))
    assert fmt.print(again) == body


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_feature_9_scalars_print_what_they_parse(data: st.DataObject) -> None:
    node, values = data.draw(scalar_types())
    fmt, value = Compiled(node), data.draw(values)
    body = fmt.print(value)
    assert fmt.parse(body) == (value, Descriptor(end=len(body)))
    assert fmt.print(fmt.parse(body)[0]) == body


@settings(deadline=None, max_examples=30)
@given(st.data(), st.sampled_from([8, 16, 24, 32, 48, 64]), st.booleans(), st.sampled_from(["big", "little"]))
def test_feature_9_binary_round_trip(data: st.DataObject, bits: int, signed: bool, order: Any) -> None:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    fmt = Compiled(List(Binary(bits, signed, order), sep=""))
    values = data.draw(st.lists(st.integers(low, high), max_size=5))
    body = fmt.print(values)
    assert len(body) == len(values) * bits // 8
    assert fmt.parse(body) == (values, Descriptor(end=len(body)))


@settings(deadline=None, max_examples=30)
@given(st.dictionaries(st.text(string.ascii_letters + "é", min_size=1), LETTERS, min_size=1, max_size=6))
def test_feature_9_maps_round_trip(value: dict[str, str]) -> None:
    fmt = Compiled(Map())
    assert fmt.parse(fmt.print(value))[0] == value


def damaged(body: bytes) -> st.SearchStrategy[bytes]:
    """A body with some bytes gone, others put in, or pieces of it repeated."""
    cut = st.tuples(st.integers(0, len(body)), st.integers(0, len(body)), PUT_IN)
    pieces = st.lists(cut.map(lambda at: body[: min(at[:2])] + at[2] + body[max(at[:2]) :]), min_size=1, max_size=2)
    return pieces.map(b"".join)


def checked(found: Descriptor, start: int, end: int) -> None:
    """What every descriptor promises."""
    assert start <= found.start <= found.end <= end
    assert (found.errors == 0) == (found.code is Data.GOOD)
    own = found.errors - sum(part.errors for _, part in found.inside)
    assert own >= 0
    assert (found.code is Data.NESTED) == (found.errors > 0 and own == 0)
    assert bool(found.note) == (own > 0)
    for _, part in found.inside:
        assert part.errors
        checked(part, found.start, max(found.end, part.end))


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_feature_10_no_bytes_raise_and_descriptors_say_what_is_wrong(data: st.DataObject) -> None:
    fmt, values = data.draw(formats())
    body = data.draw(damaged(fmt.print(data.draw(values))) | st.binary(max_size=60))
    value, found = fmt.parse(body)
    checked(found, 0, len(body))
    assert fmt.parse(body) == (value, found)
    plain = msgspec.to_builtins(value)
    assert msgspec.json.decode(msgspec.json.encode(plain)) == msgspec.msgpack.decode(msgspec.msgpack.encode(plain))


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_generated_code_reads_as_the_definition_does(data: st.DataObject) -> None:
    node, values = data.draw(st.one_of(layouts(), records_of_entries()))
    body = data.draw(damaged(Compiled(node).print(data.draw(values.filter(something)))))
    start = data.draw(st.integers(0, min(3, len(body))))
    end = data.draw(st.integers(max(start, len(body) - 3), len(body)))
    defined = layout.reading(node) if isinstance(node, Layout) else keyed.reading(node)
    assert node.reader()(body, start, end) == defined(body, start, end)
    if isinstance(node, Layout):
        assert node.filler()(body, start, end) == layout.filling(node)(body, start, end)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from([b"1 a", b"2 b", b"x", b"", b"\xff", b"3 c d", b"70000 a"]), max_size=8))
def test_feature_10_a_broken_record_never_touches_the_next(rows: list[bytes]) -> None:
    node = Layout((Slot("n", Int(16), " "), Slot("s", Str(matching="[a-z]"))), Build("r", ("n", "s")))
    whole, one = Compiled(Lines(node)), Compiled(node)
    value, found = whole.parse(b"\n".join(rows))
    rows = [row for row in rows if row]
    assert value == [one.parse(row)[0] for row in rows]
    assert found.errors == sum(one.parse(row)[1].errors for row in rows)
    assert [key for key, _ in found.inside] == [at for at, row in enumerate(rows) if one.parse(row)[1].errors]


@settings(deadline=None, max_examples=30)
@given(st.binary(max_size=100), st.sampled_from([None, "", ",", "ab"]), st.sampled_from([None, "]", "ab"]))
def test_lists_end_whatever_comes(body: bytes, sep: str | None, term: str | None) -> None:
    for node in (Str(matching="[a-b]*"), Str(width=2), Str(until="c"), Int(), Binary(16), Bytes(3)):
        if term == sep:
            continue
        for length in (None, 3) if term is None else (None,):
            value, found = Compiled(List(node, sep=sep, term=term, length=length)).parse(body)
            checked(found, 0, len(body))
            assert isinstance(value, list)


@settings(deadline=None, max_examples=30)
@given(
    st.text("1a-, ;\t\n\u00e9_.", max_size=30).map(str.encode),
    st.sampled_from([None, ",", ", ", "a"]),
    st.integers(1, 9),
)
def test_lists_cut_at_once_are_those_read_one_by_one(body: bytes, sep: str | None, most: int) -> None:
    for one in (Int(), Float(), Str(), Optional(Str(), "-"), Optional(Int()), Bool()):
        node: List[Any] = List(one, sep=sep, max_length=most)
        if node.split:
            expected = lists.reading(node)(body, 0, len(body))
            assert lists.cutting(node)(body, 0, len(body)) == expected
            assert node.filler()(body, 0, len(body)) == expected
