"""Every type of the format language, on good and broken text: feature 9; what descriptors say: feature 10."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Any, Literal

import pytest

from vagus.errors import ConfigError, NoData
from vagus.feeds import (
    F32,
    I8,
    I64,
    U8,
    U16,
    U64,
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
    Record,
    Shape,
    State,
    Str,
    Time,
    Union,
    Word,
    as_format,
    entries,
    entry,
    field,
    lines,
    one_of,
)


def parsed(what: Any, body: bytes) -> tuple[Any, Data, int]:
    value, found = as_format(what).parse(body)
    return value, found.code, found.errors


def good(value: Any) -> tuple[Any, Data, int]:
    return value, Data.GOOD, 0


def round_trip(what: Any, body: bytes, value: Any) -> None:
    """The body is canonical: it gives the value, and the value the body."""
    assert parsed(what, body) == good(value)
    assert as_format(what).print(value) == body


# --- feature 9: the types ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
@pytest.mark.parametrize("signed", [True, False])
def test_feature_9_sized_integers(bits: int, signed: bool) -> None:
    node = Int(bits, signed)
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    for value in (least, most, 0):
        round_trip(node, str(value).encode(), value)
    for beyond in (least - 1, most + 1, 10**30, int("9" * 4000)):
        assert parsed(node, str(beyond).encode()) == (None, Data.SEMANTIC, 1)
    assert parsed(node, b"9" * 10_000) == (None, Data.SEMANTIC, 1)
    for text in (b"", b"-", b"1_0", b"1.5", b"0x10", b"1 2", b"\xd9\xa3", b"1\0"):
        assert parsed(node, text) == (None, Data.SYNTAX, 1), text
    assert parsed(node, b" +007 ") == good(7)


def test_feature_9_integers_of_other_bases_and_fixed_width() -> None:
    round_trip(Int(base=16), b"ff", 255)
    round_trip(Int(base=2), b"-101", -5)
    round_trip(Int(base=8), b"17", 15)
    round_trip(List(Int(width=3), sep=""), b"  7 12-13", [7, 12, -13])
    assert parsed(List(Int(width=3), sep=""), b"  7 1") == ([7, None], Data.SYNTAX, 2)


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("bits", [8, 16, 24, 32, 48, 64])
@pytest.mark.parametrize("signed", [True, False])
def test_feature_9_binary_integers(bits: int, signed: bool, order: Literal["big", "little"]) -> None:
    value = -2 if signed else 2 ** (bits - 1) + 1
    round_trip(Binary(bits, signed, order), value.to_bytes(bits // 8, order, signed=signed), value)
    assert parsed(Binary(bits, signed, order), b"") == (None, Data.SYNTAX, 1)
    assert parsed(Binary(bits, signed, order), bytes(bits // 8 + 1))[1:] == (Data.SYNTAX, 1)
    round_trip(Binary(8), b"\n", 10)  # no newline at the end of a body, a value


def test_feature_9_binary_floats_and_bytes() -> None:
    round_trip(Binary(32, order="little", kind="float"), b"\0\0\xc0\x3f", 1.5)
    round_trip(Binary(64, kind="float"), b"\x3f\xf8" + bytes(6), 1.5)
    assert parsed(Binary(32, kind="float"), b"\x7f\xc0\0\0") == (None, Data.SEMANTIC, 1)
    round_trip(Bytes(3), b"a\0\n", b"a\0\n")
    round_trip(Bytes(), b"\xff\n", b"\xff\n")


def test_feature_9_floats() -> None:
    for text, value in ((b"1.5", 1.5), (b"-0.25", -0.25), (b"1e+300", 1e300), (b"7.0", 7.0)):
        round_trip(Float(), text, value)
    for text in (b".5", b"5.", b"+5e-1", b" 0.5 "):
        assert parsed(Float(), text)[1] is Data.GOOD, text
    for text in (b"nan", b"-inf", b"Infinity", b"1e999"):
        assert parsed(Float(), text) == (None, Data.SEMANTIC, 1), text
    for text in (b"", b".", b"1_0", b"1,5", b"e5", b"nano"):
        assert parsed(Float(), text) == (None, Data.SYNTAX, 1), text
    assert parsed(Float(32), b"1e39") == (None, Data.SEMANTIC, 1)
    assert parsed(Float(min=0, max=1), b"1.01") == (None, Data.SEMANTIC, 1)


def test_feature_9_booleans_and_words() -> None:
    round_trip(Bool(), b"true", True)
    round_trip(Bool(("1", "0")), b"0", False)
    assert parsed(Bool(), b"Off") == good(False)
    assert parsed(Bool(), b"maybe") == (None, Data.SYNTAX, 1)
    round_trip(List(Choice(("up", "upper")), sep=""), b"upperup", ["upper", "up"])
    assert parsed(Choice(("up", "down")), b"left") == (None, Data.SYNTAX, 1)


def test_feature_9_strings_up_to_a_character() -> None:
    class Pair(Record):
        name: Annotated[str, Str(until=":")] = field(after=":")
        rest: str

    round_trip(Pair, b"a b: c:d", Pair("a b", " c:d"))
    assert parsed(Pair, b"no colon") == (Pair("no colon", None), Data.NESTED, 1)  # type: ignore[arg-type]
    with pytest.raises(NoData, match="read back"):
        Pair.print(Pair("a:b", ""))


def test_feature_9_strings_of_fixed_width() -> None:
    class Fixed(Record):
        code: Annotated[str, Str(width=3)]
        name: Annotated[str, Str(width=6, pad=" ")]
        n: int

    round_trip(Fixed, b"abcxy    12", Fixed("abc", "xy", 12))
    value, found = Fixed.parse(b"ab")
    assert (value, found.errors) == (None, 3)
    for wrong in ("toolong", "ab"):
        with pytest.raises(NoData):
            as_format(Str(width=3)).print(wrong)


def test_feature_9_strings_up_to_a_regex() -> None:
    class Split(Record):
        head: Annotated[str, Str(until_regex=r"\d+")]
        n: int

    round_trip(Split, b"abc12", Split("abc", 12))
    assert parsed(Str(until_regex="x"), b"abc") == good("abc")  # as far as there is text


def test_feature_9_strings_matching_a_regex() -> None:
    quoted = Str(matching=r'"(?:[^"\\]|\\.)*"')
    round_trip(List(quoted, sep=","), rb'"a,b","\",c"', ['"a,b"', r'"\",c"'])
    assert parsed(quoted, b"a") == (None, Data.SYNTAX, 1)
    assert parsed(Str(matching="[a-z]+"), b"abc1") == (None, Data.SYNTAX, 1)
    round_trip(Str(matching="ä+"), "ää".encode(), "ää")


def test_feature_9_strings_of_other_encodings() -> None:
    round_trip(Str(encoding="latin-1"), b"\xfc", "ü")
    value, found = as_format(Str()).parse(b"a\xff")
    assert (value, found.code, found.errors) == ("a\ufffd", Data.SYNTAX, 1)
    assert as_format(Str(encoding="ascii")).parse("ü".encode())[1].code is Data.SYNTAX


T0 = datetime(2007, 4, 26, 0, 0, 2, tzinfo=timezone.utc).timestamp()


@pytest.mark.parametrize(
    ("layout", "text", "seconds"),
    [
        ("iso", b"2007-04-26T00:00:02Z", T0),
        ("iso", b"2007-04-26T00:00:02.5Z", T0 + 0.5),
        ("epoch", b"1177545602", T0),
        ("epoch", b"-1.5", -1.5),
        ("clf", b"26/Apr/2007:00:00:02 +0000", T0),
        ("rfc2822", b"Thu, 26 Apr 2007 00:00:02 +0000", T0),
        ("ctime", b"Thu Apr 26 00:00:02 2007", T0),
        ("%d.%m.%Y %I:%M:%S %p", b"26.04.2007 12:00:02 AM", T0),
        ("%H:%M", b"01:02", 3720.0),
        ("%s", b"1177545602", T0),
        ("%Y%% %H:%M:%S.%f", b"1970% 00:00:01.250000", 1.25),
    ],
)
def test_feature_9_timestamps(layout: str, text: bytes, seconds: float) -> None:
    round_trip(Time(layout), text, seconds)
    round_trip(Time(layout, "ns"), text, round(seconds * 1e9))


@pytest.mark.parametrize(
    ("layout", "text", "code"),
    [
        ("iso", b"2007-02-30", Data.SEMANTIC),
        ("iso", b"2007-04-26T24:00:00Z", Data.SEMANTIC),
        ("iso", b"today", Data.SYNTAX),
        ("clf", b"26/Xyz/2007:00:00:02 +0000", Data.SYNTAX),
        ("clf", b"26/Apr/2007:00:00:02 +0099", Data.SEMANTIC),
        ("epoch", b"99999999999999999999", Data.SEMANTIC),
        ("%I %p", b"13 AM", Data.SEMANTIC),
    ],
)
def test_feature_9_timestamps_that_are_none(layout: str, text: bytes, code: Data) -> None:
    assert parsed(Time(layout), text) == (None, code, 1)


def test_feature_9_timestamps_of_several_layouts_and_zones() -> None:
    both = Time(("clf", "iso"))
    assert parsed(both, b"10/Oct/2000:13:55:36 -0700") == parsed(both, b"2000-10-10 20:55:36")
    zurich = Time("%Y-%m-%d %H:%M", zone="Europe/Zurich")
    assert parsed(zurich, b"2007-07-01 02:00") == parsed(Time("iso"), b"2007-07-01T00:00Z")
    round_trip(zurich, b"2007-07-01 02:00", parsed(zurich, b"2007-07-01 02:00")[0])
    assert parsed(Time("iso"), b"2016-12-31T23:59:60Z") == parsed(Time("iso"), b"2017-01-01T00:00:00Z")
    assert (
        parsed(Time("syslog", year=2003), b"Oct  1 22:14:15")[0]
        == datetime(2003, 10, 1, 22, 14, 15, tzinfo=timezone.utc).timestamp()
    )
    for wrong in ("", "%Q", "nothing", "%Y %Y", "%I"):
        with pytest.raises(ConfigError):
            Time(wrong)
    with pytest.raises(ConfigError, match="Europe/Zurich"):
        Time(zone="Nowhere/At_all")


class Reply(Record, layout="{size} bytes from {host}: icmp_seq={seq} ttl={ttl} time={ms} ms"):
    size: U16
    host: str
    seq: int
    ttl: U8
    ms: float = field(unit="ms")


def test_feature_9_records() -> None:
    round_trip(Reply, b"64 bytes from ::1: icmp_seq=1 ttl=64 time=0.031 ms", Reply(64, "::1", 1, 64, 0.031))

    class Passwd(Record, sep=":"):
        name: str
        password: str
        uid: int
        gid: int

    round_trip(Passwd, b"root:x:0:1", Passwd("root", "x", 0, 1))

    class Around(Record):
        a: int = field(before="<", after=">")
        b: int = field(before="[", after="]")

    round_trip(Around, b"<1>[2]", Around(1, 2))

    class Inner(Record, layout="({x},{y})"):
        x: int
        y: int

    class Outer(Record, layout="{a} -> {b}"):
        a: Inner
        b: Inner

    round_trip(Outer, b"(1,2) -> (3,4)", Outer(Inner(1, 2), Inner(3, 4)))
    value, found = Outer.parse(b"(1,x) -> (3,4)")
    assert value == Outer(Inner(1, None), Inner(3, 4))  # type: ignore[arg-type]
    assert found.part("a").part("y").code is Data.SYNTAX


def test_feature_9_records_in_columns() -> None:
    class Df(Record, sep=" ", blanks=True):
        device: Word
        size: int
        used: int

    assert parsed(lines(Df), b"/dev/sda1   100 \t 5\n   tmpfs 7      8   \n") == good(
        [Df("/dev/sda1", 100, 5), Df("tmpfs", 7, 8)]
    )


class Comment(Record):
    text: str = field(before="#")


class Host(Record):
    name: Word


def test_feature_9_unions() -> None:
    hosts = lines(Comment | Host)
    round_trip(hosts, b"#a b\nc.example.org\n", [Comment("a b"), Host("c.example.org")])
    assert as_format(one_of(Comment, Host)).print(Host("x")) == b"x"
    with pytest.raises(NoData):
        hosts.print([Host("#no host")])

    number_or_text = as_format(Union((Int(), Str())))
    assert number_or_text.parse(b"5")[0] == 5
    assert number_or_text.parse(b"five")[0] == "five"
    with pytest.raises(NoData):
        number_or_text.print("5")  # it would be read back as a number


def test_feature_9_unions_take_the_branch_with_the_fewest_errors() -> None:
    class Three(Record, sep=" "):
        a: int
        b: int
        c: int

    class Two(Record, sep=" "):
        d: int
        e: int

    either = as_format(one_of(Three, Two))
    assert either.parse(b"1 2 x") == (Three(1, 2, None), Three.parse(b"1 2 x")[1])  # type: ignore[arg-type]
    assert either.parse(b"1 x")[0] == Two(1, None)  # type: ignore[arg-type]


def test_feature_9_constraints() -> None:
    assert parsed(Constrained(Int(), lambda v: v % 2 == 0), b"3") == (None, Data.SEMANTIC, 1)
    value, found = as_format(Constrained(Int(), lambda v: 1 / v > 0)).parse(b"0")
    assert (value, found.code) == (None, Data.SEMANTIC)
    assert "ZeroDivisionError" in found.note

    class Range(Record, sep="..", check=lambda r: r.low <= r.high, note="low is above high"):
        low: int = field(min=0, max=9)
        high: int

    round_trip(Range, b"1..2", Range(1, 2))
    value, found = Range.parse(b"3..2")
    assert (value, found.code, found.errors, found.note) == (Range(3, 2), Data.SEMANTIC, 1, "low is above high")
    value, found = Range.parse(b"11..2")  # a record with a broken field is not checked as a whole
    assert (value, found.code, found.errors) == (Range(None, 2), Data.NESTED, 1)  # type: ignore[arg-type]
    with pytest.raises(NoData):
        Range.print(Range(3, 2))


def test_feature_9_optional() -> None:
    class Log(Record, sep=" "):
        user: str | None = field(none="-")
        size: int | None = field(none="-")

    round_trip(Log, b"- -", Log(None, None))
    round_trip(Log, b"al -5", Log("al", -5))
    assert parsed(Log, b"- x") == (None, Data.NESTED, 1)
    round_trip(Optional(Int()), b"", None)
    assert parsed(Optional(Int()), b"  ") == good(None)
    round_trip(List(Optional(Int()), sep=","), b"1,,3", [1, None, 3])


def test_feature_9_lists_with_separator_and_terminator() -> None:
    round_trip(List(Int(), sep=","), b"1,2,3", [1, 2, 3])
    round_trip(List(Int()), b"1 2 3", [1, 2, 3])
    assert parsed(List(Int()), b" 1\t2\n3 ") == good([1, 2, 3])
    round_trip(List(List(Int(), sep=",", term=";"), sep="|"), b"1,2;|;|3;", [[1, 2], [], [3]])
    round_trip(List(Str(), sep=", ", term="."), b"a, b c.", ["a", "b c"])
    round_trip(List(Str(width=2), sep=""), b"abcd", ["ab", "cd"])

    class Row(Record, layout="{name}: [{values}] end"):
        name: str
        values: Annotated[list[float], List(Float(), sep=";")]

    round_trip(Row, b"r: [1.0;2.5] end", Row("r", [1.0, 2.5]))
    round_trip(Row, b"r: [] end", Row("r", []))
    assert parsed(List(Int(), sep=",", term=";"), b"1,2") == ([1, 2], Data.SYNTAX, 1)


def test_feature_9_lists_of_fixed_length() -> None:
    round_trip(List(Int(), sep=",", length=3), b"1,2,3", [1, 2, 3])
    assert parsed(List(Int(), sep=",", length=3), b"1,2") == ([1, 2], Data.SYNTAX, 1)
    assert parsed(List(Int(), sep=",", length=1), b"1,2") == ([1], Data.SYNTAX, 1)

    class Packet(Record):
        kind: Annotated[int, Binary(8)]
        words: Annotated[list[int], List(Binary(16), sep="", length=2)]
        rest: bytes

    round_trip(Packet, b"\x01\0\x02\0\x03xyz", Packet(1, [2, 3], b"xyz"))


def test_feature_9_lists_read_on_behind_what_is_broken() -> None:
    assert parsed(List(Int(), sep=","), b"1,x,3") == ([1, None, 3], Data.NESTED, 1)
    value, found = as_format(List(Str(matching='"[^"]*"'), sep=",", term="]")).parse(b'"a,b",x,"c"]')
    assert (value, found.part(1).code) == (['"a,b"', None, '"c"'], Data.SYNTAX)
    value, found = as_format(List(Int(), max_length=2)).parse(b"1 2 3")
    assert (value, found.state, found.errors) == ([1, 2], State.PANIC, 1)
    # without separators there is nothing to go on behind
    value, found = as_format(List(Choice(("ab",)), sep="")).parse(b"abxab")
    assert (value, found.state) == (["ab", None], State.PANIC)


class CoMon(Record, style="entries", sep=": "):
    date: float = entry("Date", unit="s")
    vm_stat: list[int] = entries("VMStat")
    rwfs: int | None = entry("RWFS", check=lambda v: v >= 0)


def test_feature_9_key_value_entries() -> None:
    round_trip(CoMon, b"Date: 12.5\nVMStat: 1 2\nRWFS: 7\n", CoMon(12.5, [1, 2], 7))
    round_trip(CoMon, b"Date: 12.5\nVMStat: 1 2\n", CoMon(12.5, [1, 2], None))
    # any order, blanks, keys that begin with another's, lines of other keys, the value's own separators
    body = b"VMStat2: x\nRWFS :\t7 \r\nDate2 : y\nnothing\n: z\nDate:12.5\r\nVM: 3\nVMStat: 1 2"
    assert parsed(CoMon, body) == good(CoMon(12.5, [1, 2], 7))
    value, found = CoMon.parse(b"Date: 1\nDate: 2\nVMStat: 1\n")
    assert (value, found.part("date").code) == (CoMon(1.0, [1], None), Data.SEMANTIC)
    value, found = CoMon.parse(b"Date: 1\nRWFS: -1\n")
    assert value == CoMon(1.0, None, None)  # type: ignore[arg-type]
    assert (found.part("vm_stat").note, found.part("rwfs").code) == ("missing", Data.SEMANTIC)
    assert parsed(CoMon, b"<html>not found</html>") == (None, Data.SYNTAX, 1)
    round_trip(Map(Int()), b"a: 1\nb: 2\n", {"a": 1, "b": 2})
    round_trip(Map(sep="="), b"a=1=2\n", {"a": "1=2"})


def test_feature_9_entries_of_many_keys_and_of_blank_separators() -> None:
    from vagus.feeds import FORMATS

    names = [f"k{n}" for n in range(60)]
    wide = FORMATS.make("entries", fields=dict.fromkeys(names, "int"))
    body = b"".join(b"%s: %d\n" % (name.encode(), place) for place, name in enumerate(names))
    assert wide.parse(body) == ({name: place for place, name in enumerate(names)}, Descriptor(end=len(body)))
    value, found = wide.parse(body.replace(b"k7: 7\n", b"").replace(b"k9: 9", b"k9: x") + b"k3: 1\n")
    assert (value["k7"], value["k9"], value["k3"]) == (None, None, 3)
    assert {key: part.code for key, part in found.inside} == {
        "k3": Data.SEMANTIC, "k7": Data.SYNTAX, "k9": Data.SYNTAX,
    }  # fmt: skip
    blank = FORMATS.make("entries", fields={"a": "int", "ab": "int"}, sep=" ")
    assert blank.parse(b"ab\t2\na 1\n")[0] == {"a": 1, "ab": 2}


def test_feature_9_plain_annotations_are_types() -> None:
    class Plain(Record, sep="|"):
        a: int
        b: float
        c: str
        d: bool
        e: list[int]
        f: int | str
        g: Literal["x", "y"]
        h: I8 | None
        i: F32
        j: U64
        k: I64

    body = b"-1|2.5|t|true|1 2|s|y||0.5|18446744073709551615|-9223372036854775808"
    round_trip(Plain, body, Plain(-1, 2.5, "t", True, [1, 2], "s", "y", None, 0.5, 2**64 - 1, -(2**63)))
    shape = as_format(Plain).shape
    assert (shape.kind, shape.name) == ("record", "Plain")
    assert [(name, part.kind) for name, part in shape.parts] == [
        ("a", "int"), ("b", "float"), ("c", "string"), ("d", "bool"), ("e", "list"), ("f", "union"), ("g", "string"),
        ("h", "optional"), ("i", "float"), ("j", "int"), ("k", "int"),
    ]  # fmt: skip


def test_shapes_tell_units_names_and_branches() -> None:
    assert dict(CoMon.shape.parts)["date"] == Shape("float", unit="s")
    branches = lines(Comment | Host).shape.parts[0][1]
    assert [name for name, _ in branches.parts] == ["Comment", "Host"]
    assert as_format(Time(unit="ns")).shape == Shape("time", unit="ns")


def test_records_are_structs_with_any_names_of_fields() -> None:
    class Odd(Record, sep=","):
        name: str
        shape: int
        parse: int
        print: int

    value, found = Odd.parse(b"a,1,2,3")
    assert value == Odd("a", 1, 2, 3)
    assert (value.name, value.shape, value.parse, value.print) == ("a", 1, 2, 3)
    assert (Odd.name, Odd.shape.kind, found.errors) == ("Odd", "record", 0)
    assert Odd.print(value) == b"a,1,2,3"
    with pytest.raises(AttributeError):
        value.shape = 2  # type: ignore[misc]


# --- feature 10: descriptors ------------------------------------------------------------------------------------------


def test_feature_10_state_errors_code_and_span() -> None:
    body = b"64 bytes from h: icmp_seq=x ttl=300 time=0.5 ms"
    value, found = Reply.parse(body)
    assert value == Reply(64, "h", None, None, 0.5)  # type: ignore[arg-type]
    assert (found.state, found.errors, found.code, found.start, found.end) == (State.PARTIAL, 2, Data.NESTED, 0, 47)
    seq, ttl = found.part("seq"), found.part("ttl")
    assert (seq.code, body[seq.start : seq.end]) == (Data.SYNTAX, b"x")
    assert (ttl.code, body[ttl.start : ttl.end], ttl.note) == (Data.SEMANTIC, b"300", "'300' is not from 0 to 255")
    assert [name for name, _ in found.inside] == ["seq", "ttl"]
    assert found.part("ms") is None
    whole = b"64 bytes from h: icmp_seq=1 ttl=3 time=0.5 ms\n"
    assert Reply.parse(whole)[1] == Descriptor(end=len(whole))


@pytest.mark.parametrize(
    ("body", "value", "errors", "state"),
    [
        (b"64 bytes from h: ttl=9 time=1.0 ms", (64, "h:", None, 9, 1.0), 1, State.PARTIAL),
        (b"64 bytes from h", (64, "h", None, None, None), 3, State.PARTIAL),
        (b"64", (64, None, None, None, None), 4, State.PARTIAL),
        (b"x bytes from h: icmp_seq=1 ttl=2 time=3 ms", (None, "h", 1, 2, 3.0), 1, State.PARTIAL),
        (b"64 bytes from h: icmp_seq=1 ttl=2 time=3 ms!", (64, "h", 1, 2, 3.0), 1, State.PANIC),
        (b"icmp_seq=1 ttl=2 time=3 ms", (None, None, None, 2, 3.0), 3, State.PARTIAL),
        (b"", None, 5, State.PARTIAL),
    ],
)
def test_feature_10_a_broken_field_never_loses_the_record(
    body: bytes, value: tuple[Any, ...] | None, errors: int, state: State
) -> None:
    found, descriptor = Reply.parse(body)
    assert found == (None if value is None else Reply(*value))
    assert (descriptor.errors, descriptor.state) == (errors, state)


def test_feature_10_a_broken_record_never_stops_the_body() -> None:
    body = b"1..2\r\n\n???\n\xff..5\n3..4"

    class Pair(Record, sep=".."):
        a: int
        b: int

    value, found = lines(Pair).parse(body)
    assert value == [Pair(1, 2), None, Pair(None, 5), Pair(3, 4)]  # type: ignore[arg-type]
    assert [key for key, _ in found.inside] == [1, 2]
    broken = found.part(1)
    assert body[broken.start : broken.end] == b"???"
    assert (found.code, found.errors, found.state) == (Data.NESTED, 3, State.PARTIAL)
    blocks = lines(CoMon, sep="\n\n")
    assert [one and one.date for one in blocks.parse(b"Date: 1\nVMStat: 1\n\nx\n\nDate: 2\nVMStat:\n")[0]] == [
        1,
        None,
        2,
    ]


def test_feature_10_too_many_records_are_skipped_and_told() -> None:
    value, found = lines(Int(), max_length=3).parse(b"1\n2\n3\n4\n5\n")
    assert (value, found.state, found.errors, found.code) == ([1, 2, 3], State.PANIC, 1, Data.SYNTAX)


@pytest.mark.parametrize("term", [None, "]"])
@pytest.mark.parametrize("sep", [None, ",", ""])
def test_feature_10_what_is_looked_at_is_linear_in_the_body(sep: str | None, term: str | None) -> None:
    """Elements that look through all that is left, in vain: after a while, the rest of the list is given up."""
    looked: list[int] = []

    class Vain(Str):
        def reader(self) -> Any:
            def read(body: bytes, start: int, end: int) -> Any:
                looked.append(end - start)
                return None, start, Descriptor(State.PARTIAL, 1, Data.SYNTAX, start, start, (), "in vain")

            return read

    body = b"a, " * 50_000
    value, found = as_format(List(Vain(width=1), sep=sep, term=term, max_length=10_000_000)).parse(body)
    assert sum(looked) < 64 * len(body) + (2 << 20)
    assert (found.state, found.code) == (State.PANIC, Data.SYNTAX)
    assert len(value or ()) < 1000


# --- declarations that are refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: Int(12),
        lambda: Int(base=3),
        lambda: Int(min="x"),  # type: ignore[arg-type]
        lambda: Float(16),
        lambda: Float(min=float("nan")),
        lambda: Binary(12),
        lambda: Binary(8, kind="float"),
        lambda: Str(until="a", width=3),
        lambda: Str(matching="("),
        lambda: Str(until_regex="(?=a)"),
        lambda: Str(encoding="utf-7"),
        lambda: Str(until="\ud800"),
        lambda: Choice(()),
        lambda: Choice(("a", "a")),
        lambda: Bool(("up", "down")),
        lambda: List(Str(), sep=""),
        lambda: List(List(Int())),
        lambda: List(Int(), term=",", sep=","),
        lambda: List(Int(), length=-1),
        lambda: Union((Int(),)),
        lambda: Constrained(Int(), 5),  # type: ignore[arg-type]
        lambda: Map(sep="\n"),
        lambda: as_format("no such format"),
        lambda: as_format(object()),
        lambda: lines(Int(), sep=""),
    ],
)
def test_wrong_types_are_refused(make: Any) -> None:
    with pytest.raises(ConfigError):
        make()


@pytest.mark.parametrize(
    ("options", "fields", "match"),
    [
        ({}, {"a": (str, None), "b": (str, None)}, "nothing tells where field 'a' ends"),
        ({"sep": ","}, {"a": (object, None)}, "is no type of a format"),
        ({"style": "rows"}, {"a": (int, None)}, "style is one of"),
        ({"style": "entries"}, {"a": (int, field())}, ""),
        ({"style": "entries"}, {"a": (int, entry("a: b"))}, "what ends a key"),
        ({"style": "entries"}, {"a": (int, entry("x")), "b": (int, entry("x"))}, "the same key"),
        ({"style": "entries"}, {"a": (int, entries("x"))}, "list"),
        ({}, {"a": (int, entry("x"))}, "entry"),
        ({}, {"a": (int, field(none="-"))}, "None"),
        ({}, {"a": (str, field(min=1))}, "min and max are of numbers"),
        ({}, {"a": (int, field(sep=","))}, "lists"),
        ({"layout": "{b}"}, {"a": (int, None)}, "must name a"),
        ({"layout": "{a} }"}, {"a": (int, None)}, "single }"),
        ({"layout": "{a}", "sep": ","}, {"a": (int, None)}, "leave out sep"),
        ({}, {"a": (int, 5)}, "no defaults"),
        ({}, {}, "at least one field"),
    ],
)
def test_wrong_records_are_refused(options: dict[str, Any], fields: dict[str, tuple[Any, Any]], match: str) -> None:
    body = {"__annotations__": {name: kind for name, (kind, _) in fields.items()}}
    body |= {name: spec for name, (_, spec) in fields.items() if spec is not None}
    if match:
        with pytest.raises(ConfigError, match=match):
            type(Record)("R", (Record,), body, **options)
    else:
        type(Record)("R", (Record,), body, **options)


def test_types_nested_too_deeply_are_refused() -> None:
    node: Any = Int()
    for _ in range(30):
        node = Optional(node)
    with pytest.raises(ConfigError, match="deep"):
        as_format(node)


def test_printing_refuses_what_would_not_be_read_back() -> None:
    for node, value in (
        (Int(8), 300), (Int(), 1.5), (Int(), None), (Float(), float("nan")), (Str(matching="a+"), "b"),
        (List(Str(), sep=","), ["a,b"]), (List(Str(), sep=","), [""]), (Map(), {"a: b": "c"}), (Bytes(3), 3),
        (Binary(8), 1000), (Binary(32, kind="float"), "x"), (Bool(), 7), (Choice(("a",)), "b"), (Time(), "now"),
        (Host.__vagus_node__, Comment("x")), (Str(), "\ud800"),
    ):  # fmt: skip
        with pytest.raises(NoData):
            as_format(node).print(value)
