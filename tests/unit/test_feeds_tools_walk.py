"""The generic-tool API: which callbacks come, with which places and descriptors; one tool works on every format."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from feed_samples import SAMPLES

from vagus.config import FeedSettings, SourceSettings
from vagus.feeds import FORMATS, TOOLS, Data, Descriptor, Item, Meta, Net, Shape, State, ToolContext
from vagus.feeds.contracts import ANY_SHAPE
from vagus.feeds.item import GOOD
from vagus.feeds.tools import make_tools
from vagus.feeds.tools.walk import MAX_DEPTH, MAX_PLACES, REST, Place, Visitor, Walker

EXAMPLES = Path(__file__).parents[2] / "examples" / "feeds" / "tools"
INT, TEXT = Shape("int", unit="s"), Shape("string")


class Line(msgspec.Struct):
    host: str
    load: list[int | None]


class Other(msgspec.Struct):
    text: str


LINE = Shape(
    "record", "Line", (("host", TEXT), ("load", Shape("list", parts=(("", Shape("optional", parts=(("", INT),))),))))
)
OTHER = Shape("record", "Other", (("text", TEXT),))


class Log(Visitor):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def init(self, place: Place) -> str:
        self.told.append(("init", place.path, place.kind))
        return place.path

    def start(self, state: str, value: Any, descriptor: Descriptor | None) -> str:
        errors = None if descriptor is None else descriptor.errors
        self.told.append(("start", state, errors))
        return state

    def field(self, begun: str, name: str, result: Any) -> None:
        self.told.append(("field", begun, name, result))

    def element(self, begun: str, index: int, result: Any) -> None:
        self.told.append(("element", begun, index, result))

    def finish(self, begun: str, value: Any) -> Any:
        self.told.append(("finish", begun))
        return value if isinstance(value, (int, str)) else "whole"

    def started(self) -> list[tuple[str, int | None]]:
        return [(told[1], told[2]) for told in self.told if told[0] == "start"]


def walked(value: Any, shape: Shape = ANY_SHAPE, descriptor: Descriptor | None = GOOD) -> Log:
    log = Log()
    Walker(log, shape).walk(value, descriptor)
    return log


def test_feature_13_the_callbacks_of_a_record_in_order() -> None:
    assert walked(Line("a", [3, None]), LINE).told == [
        ("init", "$", "record"),
        ("start", "$", 0),
        ("init", "host", "string"),
        ("start", "host", 0),
        ("finish", "host"),
        ("field", "$", "host", "a"),
        ("init", "load", "list"),
        ("start", "load", 0),
        ("init", "load[]", "int"),
        ("start", "load[]", 0),
        ("finish", "load[]"),
        ("element", "load", 0, 3),
        ("start", "load[]", 0),
        ("finish", "load[]"),
        ("element", "load", 1, "whole"),
        ("finish", "load"),
        ("field", "$", "load", "whole"),
        ("finish", "$"),
    ]


def test_feature_13_a_place_is_made_once_and_knows_its_shape() -> None:
    walker = Walker(Visitor(), LINE)
    for _ in range(3):
        walker.walk(Line("a", [1, 2]))
    place = walker.places["load[]"]
    assert list(walker.places) == ["$", "host", "load", "load[]"]
    assert (place.kind, place.unit, place.optional, place.depth) == ("int", "s", True, 2)
    assert walker.places["$"].name == "Line"


def test_feature_13_a_union_has_a_place_for_each_branch() -> None:
    union = Shape("list", parts=(("", Shape("union", parts=(("Line", LINE), ("Other", OTHER), ("int", INT)))),))
    log = walked([Other("x"), Line("a", []), 5], union)
    assert [place for place, _ in log.started()] == [
        *("$", "$[]", "$[].Other", "$[].Other.text"),
        *("$[]", "$[].Line", "$[].Line.host", "$[].Line.load"),
        *("$[]", "$[].int"),
    ]
    assert ("field", "$[]", "Other", "whole") in log.told
    assert ("field", "$[]", "int", 5) in log.told


def test_feature_13_without_a_shape_the_value_tells() -> None:
    log = walked({"a": {"b": [1, {"c": "x"}]}, "line": Line("h", [])})
    assert [place for place, _ in log.started()] == [
        "$",
        "a",
        "a.b",
        "a.b[]",
        "a.b[]",
        "a.b[].c",
        "line",
        "line.host",
        "line.load",
    ]


def test_feature_13_a_map_is_one_place_and_the_sides_of_a_pair_are_two() -> None:
    log = walked({"x": 1, "y": 2}, Shape("map", parts=(("", INT),)))
    assert log.started() == [("$", 0), ("${}", 0), ("${}", 0)]
    assert [told for told in log.told if told[0] == "field"] == [("field", "$", "x", 1), ("field", "$", "y", 2)]
    assert [place for place, _ in walked((Line("a", []), None)).started()] == [
        "$",
        "$[0]",
        "$[0].host",
        "$[0].load",
        "$[1]",
    ]


def test_feature_13_descriptors_go_with_their_parts() -> None:
    wrong = Descriptor(State.PARTIAL, 1, Data.SYNTAX)
    inner = Descriptor(State.PARTIAL, 1, Data.NESTED, inside=((1, wrong),))
    outer = Descriptor(State.PARTIAL, 1, Data.NESTED, inside=(("load", inner),))
    assert walked(Line("a", [1, None]), LINE, outer).started() == [
        ("$", 1),
        ("host", 0),
        ("load", 1),
        ("load[]", 0),
        ("load[]", 1),
    ]
    # of a whole body of which only a number is known, nothing is known of the parts
    known = Descriptor(State.PARTIAL, 2, Data.SYNTAX)
    assert walked(Line("a", [1]), LINE, known).started() == [("$", 2), ("host", None), ("load", None), ("load[]", None)]


def test_feature_13_depth_and_places_are_bounded() -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH + 5):
        deep = [deep]
    assert len(walked(deep).started()) == MAX_DEPTH + 1
    ring: list[Any] = []
    ring.append(ring)
    assert len(walked(ring).started()) == MAX_DEPTH + 1
    walker = Walker(Visitor())
    for part in range(3):
        walker.walk({f"{part}.{key}": {"x": key} for key in range(MAX_PLACES)})
    assert len(walker.places) <= MAX_PLACES + 10
    assert {REST, f"{REST}.{REST}"} <= set(walker.places)


def test_feature_13_paths_are_printable_and_never_mixed_up() -> None:
    walker = Walker(Visitor())
    walker.walk({"a.b": 1, "a": {"b": 2}, "\x1b[2J": 3, "x" * 5000: 4})
    assert len(walker.places) == 6
    assert all(path.isprintable() and len(path) < 120 for path in walker.places)


@pytest.mark.parametrize("name", list(FORMATS))
def test_feature_13_the_example_tool_works_on_every_format(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    sample = SAMPLES[name]
    fmt = FORMATS.make(name, **sample.options)
    settings = FeedSettings(
        name="f", source=SourceSettings(all=("file:/x",)), tools=({"longest:Longest": {"file": "sub/found.txt"}},)
    )
    [tool] = make_tools(settings, ToolContext("f", tmp_path, fmt.shape))
    errors = 0
    for body in filter(None, (sample.good, sample.broken)):
        value, found = fmt.parse(body)
        errors += found.errors
        meta = Meta("f", "file:/x", 1, 2, Net.OK, found.code, found.errors, len(body))
        tool.take_descriptor(found)  # type: ignore[attr-defined]
        assert not list(tool.take(Item(meta, value)))
    tool.finish(3)
    lines = (tmp_path / "sub" / "found.txt").read_text().splitlines()
    assert len(lines) == len(tool.walker.places)  # type: ignore[attr-defined]
    assert lines[0].startswith("$: ")
    assert not any(" 0 leaves" in line for line in lines)
    assert errors > 0
    assert not lines[0].endswith(" 0 broken")
    sys.modules.pop("longest")


def test_feature_13_the_example_tool_finds_the_longest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    from longest import Longest

    tool = Longest(ToolContext("f", tmp_path, LINE))
    meta = Meta("f", "x", 1, 2, Net.OK, Data.GOOD)
    for value in (Line("a", [5, 1]), Line("abc", [7]), None, Line("ab", [])):
        tool.take(Item(meta, value))
    assert tool.lines() == [
        "$: longest '', from None to None, 3 leaves, 0 broken",
        "host: longest 'abc', from None to None, 1 leaves, 0 broken",
        "load: longest '', from None to None, 2 leaves, 0 broken",
        "load[]: longest '', from 1 to 7, 1 leaves, 0 broken",
    ]
    assert "longest" not in TOOLS  # it comes from outside
    sys.modules.pop("longest")
