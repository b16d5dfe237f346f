"""Formats from options alone, as a YAML file gives them: what they mean, and what is said of wrong ones."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from vagus.config import FeedSettings, SourceSettings
from vagus.errors import ConfigError
from vagus.feeds import FORMATS, Data, Descriptor, Shape
from vagus.feeds.load import load_format


def from_yaml(text: str) -> Any:
    """The format of a feed's settings, written as YAML."""
    settings = msgspec.convert(
        {"name": "f", "source": {"all": ["file:/x"]}, **msgspec.yaml.decode(text.encode())}, FeedSettings
    )
    return load_format(settings)


def test_entries() -> None:
    fmt = from_yaml("""
format: entries
options:
  sep: "="
  fields:
    Date: {type: time, layouts: [epoch], unit: ns}
    VMStat: list[int]
    5minload: {type: float, min: 0, unit: load}
    RWFS: {type: int?, none: "-"}
    Name: {type: str, key: Node Name}
""")
    body = b"Date=1.5\nVMStat=1 2\n5minload=0.5\nRWFS=-\nNode Name=a b\n"
    value = {"Date": 1_500_000_000, "VMStat": [1, 2], "5minload": 0.5, "RWFS": None, "Name": "a b"}
    assert fmt.parse(body) == (value, Descriptor(end=len(body)))
    assert fmt.parse(fmt.print(value))[0] == value
    assert dict(fmt.shape.parts)["5minload"] == Shape("float", unit="load")


def test_entries_of_any_keys() -> None:
    fmt = from_yaml("format: entries\n")
    assert fmt.parse(b"a: 1\nb: 2\n")[0] == {"a": "1", "b": "2"}
    assert fmt.print({"a": "1"}) == b"a: 1\n"
    assert fmt.shape.kind == "map"


def test_record_and_lines() -> None:
    options = """
options:
  layout: "{host}:{port} [{values}] {state}"
  check: port > 79
  fields:
    host: word
    port: {type: u16, max: 1024}
    values: {type: list, of: float, sep: ","}
    state: {type: choice, words: [up, down]}
""".replace("host: word", 'host: {type: str, until: ":"}')
    body = b"a:80 [1.0,2.5] up"
    value = {"host": "a", "port": 80, "values": [1.0, 2.5], "state": "up"}
    one = from_yaml("format: record" + options)
    assert one.parse(body) == (value, Descriptor(end=len(body)))
    assert one.print(value) == body
    many = from_yaml("format: lines" + options)
    assert many.parse(body + b"\n" + body + b"\n")[0] == [value, value]
    found = many.parse(body + b"\nb:70 [] down\nc:2000 [] up\n")[1]
    assert [(part.code, part.note) for _, part in found.inside] == [
        (Data.SEMANTIC, "port > 79 is not so"),
        (Data.NESTED, ""),
    ]


def test_lines_of_a_union_are_structs_of_its_branches() -> None:
    fmt = from_yaml("""
format: lines
options:
  of:
    type: union
    of:
      Comment: {layout: "#{text}", fields: {text: str}}
      Node: {sep: " ", fields: {host: word, port: u16}}
""")
    body = b"#old\na.example.org 3121\n"
    value, found = fmt.parse(body)
    assert [type(one).__name__ for one in value] == ["Comment", "Node"]
    assert (value[0].text, value[1].host, value[1].port) == ("old", "a.example.org", 3121)
    assert found == Descriptor(end=len(body))
    assert fmt.print(value) == body
    assert [name for name, _ in fmt.shape.parts[0][1].parts] == ["Comment", "Node"]


def test_lines_of_scalars_blocks_and_columns() -> None:
    assert from_yaml("format: lines").parse(b"a\n\nb")[0] == ["a", "b"]
    assert from_yaml("format: lines\noptions: {of: int?, keep_empty: true}").parse(b"1\n\n2")[0] == [1, None, 2]
    blocks = from_yaml('format: lines\noptions: {end: "\\n\\n", of: {type: entries, fields: {Node: str, Load: float}}}')
    assert blocks.parse(b"Node: a\nLoad: 1\n\nNode: b\nLoad: 2\n")[0] == [
        {"Node": "a", "Load": 1.0},
        {"Node": "b", "Load": 2.0},
    ]
    columns = from_yaml("format: lines\noptions: {sep: ' ', blanks: true, fields: {name: word, size: int}}")
    assert columns.parse(b"a    5\n  b\t7\n")[0] == [{"name": "a", "size": 5}, {"name": "b", "size": 7}]


@pytest.mark.parametrize(
    ("body", "kind", "value"),
    [
        (b"ff", "{type: int, base: 16}", 255),
        (b"2007-04-26", "time", 1177545600.0),
        (b"yes", "bool", True),
        (b"\x01\x02", "{type: binary, bits: 16, order: little}", 513),
        (b"a,b", "{type: list, sep: ','}", ["a", "b"]),
        (b"1;2", "{type: list, of: {type: union, of: {n: int, t: str}}, sep: ';'}", [1, 2]),
        (b"k: 1\n", "{type: map, of: int}", {"k": 1}),
        (b"1.5 2", "'list[float]'", [1.5, 2.0]),
        (b"", "'list[float]?'", None),
        (b"abc", "{type: str, matching: '[a-c]+'}", "abc"),
        (b"5", "{type: int, check: $ > 4}", 5),
    ],
)
def test_types(body: bytes, kind: str, value: Any) -> None:
    fmt = from_yaml(f"format: record\noptions: {{fields: {{x: {kind}}}}}")
    assert fmt.parse(body) == ({"x": value} if value is not None else {"x": None}, Descriptor(end=len(body)))


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("record", {}, "fields must map names to types"),
        ("record", {"fields": {}}, "fields must map names to types"),
        ("record", {"fields": {"a": "number"}}, "field 'a': 'number' is no type; write one of str, int"),
        ("record", {"fields": {"a": "list[list[number]]"}}, "'number' is no type"),
        ("record", {"fields": {"a": 5}}, "is no type"),
        ("record", {"fields": {"a": {"type": 5}}}, "is not a word"),
        ("record", {"fields": {"a": {"type": "int", "least": 1}}}, "'least' is not known; there are bits"),
        ("record", {"fields": {"a": {"type": "word", "width": 1}}}, "not known"),
        ("record", {"fields": {"a": {"type": "choice"}}}, "needs more options"),
        ("record", {"fields": {"a": {"type": "choice", "words": "abc"}}}, "words"),
        ("record", {"fields": {"a": {"type": "list", "of": "int", "sep": 5}}}, "sep"),
        ("record", {"fields": {"a": {"type": "str", "matching": "(a"}}}, "is not a regular expression of RE2"),
        ("record", {"fields": {"a": {"type": "str", "min": 1}}}, "min and max are of numbers"),
        ("record", {"fields": {"a": {"type": "time", "layouts": ["%Q"]}}}, "%Q"),
        ("record", {"fields": {"a": {"type": "time", "layouts": 5}}}, "layouts"),
        ("record", {"fields": {"a": {"type": "int", "unit": 5}}}, "unit must be text"),
        ("record", {"fields": {"a": {"type": "union", "of": ["int"]}}}, "a union needs of"),
        ("record", {"fields": {"a": {"type": "union", "of": {"A": "x", "B": "int"}}}}, "branch 'A'"),
        (
            "record",
            {"fields": {"a": {"type": "union", "of": {"A b": {"fields": {"x": "int"}}, "c": "int"}}}},
            "letters, digits",
        ),
        ("record", {"fields": {"a": "int", "b": "int"}}, "a record needs layout"),
        ("record", {"fields": {"a": "int"}, "layout": 5}, "layout must be text"),
        ("record", {"fields": {"a": "int"}, "layout": "{b}"}, "it must name a"),
        ("record", {"fields": {"a": "int"}, "check": "a <"}, "character 4"),
        ("record", {"fields": {"a": "int"}, "check": 5}, "check"),
        ("record", {"fields": {f"f{n}": "int" for n in range(600)}, "sep": ","}, "1 to 500 fields"),
        ("entries", {"fields": {"a:b": "int"}, "sep": ":"}, "what ends a key"),
        ("entries", {"fields": ["a"]}, "fields must map"),
        ("lines", {"of": "int", "fields": {"a": "int"}}, "within it"),
        ("lines", {"max_length": 0}, "max_length"),
        ("lines", {"end": ""}, "sep of lines"),
    ],
)
def test_wrong_options_are_refused_with_what_to_write(name: str, options: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match) as refused:
        FORMATS.make(name, **options)
    assert str(refused.value).startswith(f"format {name}: ")
    settings = FeedSettings(name="f", source=SourceSettings(all=("file:/x",)), format=name, options=options)
    with pytest.raises(ConfigError, match="feed 'f'"):
        load_format(settings)


def test_types_nested_without_end_are_refused() -> None:
    kind: Any = "int"
    for _ in range(100):
        kind = {"type": "list", "of": kind, "sep": ",", "term": ";"}
    with pytest.raises(ConfigError, match="deep"):
        FORMATS.make("lines", of=kind)
    with pytest.raises(ConfigError, match="deep"):
        FORMATS.make("lines", of="list[" * 1000 + "int" + "]" * 1000)
