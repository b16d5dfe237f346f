"""What every registered tool promises: it takes any item, raises nothing but its own errors, and leaves whole files."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vagus.clock import NS
from vagus.config import FeedSettings
from vagus.errors import ConfigError, VagusError
from vagus.feeds import TOOLS, Data, Descriptor, Item, Meta, Net, Notice, Raw, Shape, State, Tool, ToolContext
from vagus.feeds.tools import make_tools

START_NS = 1_700_000_000 * NS
WRITTEN: dict[str, list[dict[str, Any]]] = {  # options with which a tool does as much as it can
    "accum": [
        {"slicesize": 3, "slicefile": "s{}.xml", "minalert": True, "maxalert": True, "after": 1, "totalfile": "t.xml"},
        {},
    ],
    "alert": [{"when": "load > 1", "file": "alerts.json"}, {"field": "load", "maximum": 1, "missing": "5s"}],
    "archive": [{"every": "1s", "max_files": 2, "max_bytes": 2000}],
    "db": [{"file": "a.sqlite", "every": "1s"}],
    "plot": [{"file": "a.png", "every": "1h", "fields": ["load"], "width": 200, "height": 200}],  # drawn quickly
    "print": [{"file": "a.txt"}, {"style": "json", "file": "a.json"}, {"fields": ["load"], "file": "f.txt"}],
    "rrd": [{"folder": "rrd", "fields": ["load"]}],
    "rss": [{"file": "a.rss", "title": "t", "path": "load", "every": "1s"}],
    "select": [
        {"file": "a.csv"},
        {"file": "a.json", "style": "json", "where": "load > 0"},
        {"file": "t.csv", "columns": {"l": "load", "n": "meta.location"}, "order": "l", "group": "load", "limit": 3},
    ],
    "xml": [{"file": "a.xml", "max_bytes": 4096}],
}
CASES = [(name, number) for name in TOOLS for number in range(len(WRITTEN.get(name, [{}])))]


class Line(msgspec.Struct):
    load: float | None = None
    words: list[str] = []


class Odd(str):
    __slots__ = ()


ring: list[Any] = []
ring.append(ring)
SHAPES = [
    Shape("any"),
    Shape("record", "Line", (("load", Shape("float")), ("words", Shape("list", parts=(("", Shape("string")),))))),
]
TEXT = st.text(st.characters(codec=None), max_size=8)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    TEXT,
    st.binary(max_size=4),
    st.sampled_from(
        [
            10**400,
            Odd("x"),
            Net.OK,
            Decimal(1),
            datetime(2026, 1, 1, tzinfo=timezone.utc),
            {1},
            object(),
            ring,
            "x" * 9000,
        ]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(TEXT | st.sampled_from(["load", "words", ""]) | st.integers(0, 1), inner, max_size=3),
        st.builds(Line, inner, st.just(["a"])),
    ),
    max_leaves=8,
)


@st.composite
def items(draw: st.DrawFn) -> Item[Any]:
    net = draw(st.sampled_from([Net.OK, Net.OK, Net.OK, Net.NOT_MODIFIED, Net.TIMEOUT, Net.MISSED]))
    due_ns = START_NS + draw(st.integers(-5, 20)) * NS
    data, errors, value = Data.NONE, 0, None
    if net is Net.OK:
        value = draw(values)
        data = draw(st.sampled_from([Data.GOOD, Data.NESTED, Data.SYNTAX])) if value is not None else Data.SYNTAX
        errors = 0 if data is Data.GOOD else draw(st.integers(1, 3))
    location, part = (
        draw(st.sampled_from(["http://a", "proc:b\x00", "", "é" * 300])),
        draw(st.sampled_from(["", "0", "1.2"])),
    )
    return Item(Meta("f", location, due_ns, due_ns + NS, net, data, errors, 5, draw(TEXT), part=part), value)


def attempt(call: Callable[[], Iterable[Notice]]) -> list[Notice]:
    """What a call tells. What a tool may raise is no failure of the test, but it must say what is wrong."""
    said = ""
    try:
        return list(call())
    except (OSError, VagusError) as error:
        said = str(error)
    assert said
    return []


def offer(tool: Tool, item: Item[Any]) -> list[Notice]:
    """As the runner does."""

    def take() -> Iterable[Notice]:
        if getattr(tool, "wants_raw", False):
            tool.take_raw(Raw(item.meta, b"body"))  # type: ignore[attr-defined]
        if getattr(tool, "wants_descriptor", False):
            wrong = Descriptor(
                State.PARTIAL, item.meta.errors, item.meta.data, inside=(("load", Descriptor(errors=1)),)
            )
            tool.take_descriptor(wrong if item.meta.errors == 2 else None)  # type: ignore[attr-defined]
        return tool.take(item)

    return attempt(take)


def made(name: str, number: int, folder: Path, shape: Shape) -> Tool:
    if name == "rrd" and shutil.which("rrdtool") is None:
        pytest.skip("rrdtool is not installed")
    feed = FeedSettings(name="f", of="x", tools=({name: WRITTEN.get(name, [{}])[number]},))
    [tool] = make_tools(feed, ToolContext("f", folder, shape, "node-a", 1.0))
    return tool


def check_file(path: Path) -> None:
    """Whether a file is whole, by its kind."""
    kind, body = path.suffix, path.read_bytes()
    assert not path.name.endswith(".new"), "a temporary file was left"
    if kind in (".xml", ".rss"):
        ElementTree.fromstring(body)
    elif kind == ".json":
        assert not body or body.endswith(b"\n")
        for line in body.splitlines():
            json.loads(line)
    elif kind == ".csv":
        rows = list(csv.reader(io.StringIO(body.decode().replace("\x00", " "), newline="")))
        assert len({len(row) for row in rows}) <= 1
    elif kind == ".txt":
        assert not body or body.endswith(b"\n")
        assert all(line.isprintable() for line in body.decode().split("\n"))


def run(name: str, number: int, folder: Path, shape: Shape, taken: list[Item[Any]]) -> list[Notice]:
    tool = made(name, number, folder, shape)
    notices = []
    now_ns = START_NS
    for item in taken:
        notices += offer(tool, item)
        now_ns += 2 * NS
        notices += attempt(partial(tool.tick, now_ns))
    return [*notices, *tool.finish(now_ns)]


@pytest.mark.parametrize(("name", "number"), CASES)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(taken=st.lists(items(), max_size=8), shape=st.sampled_from(SHAPES))
def test_any_item_is_taken_and_files_are_whole(name: str, number: int, taken: list[Item[Any]], shape: Shape) -> None:
    with tempfile.TemporaryDirectory() as outside:
        folder = Path(outside) / "tools"
        notices = run(name, number, folder, shape, taken)
        for notice in notices:
            assert isinstance(notice, Notice)
            assert (notice.tool, notice.feed) == (name, "f")
            assert notice.text
        assert {path.name for path in Path(outside).iterdir()} <= {"tools"}
        for path in folder.rglob("*"):
            if path.is_file():
                check_file(path)


def good_items() -> list[Item[Any]]:
    shapes = [Line(float(n % 4), ["a", "b"]) for n in range(8)]
    return [
        Item(Meta("f", f"http://{n % 3}", START_NS + n * NS, START_NS + n * NS + 5, Net.OK, Data.GOOD, 0, 5), value)
        for n, value in enumerate(shapes)
    ]


@pytest.mark.parametrize(("name", "number"), CASES)
def test_a_replay_writes_the_same(name: str, number: int, tmp_path: Path) -> None:
    told = [run(name, number, tmp_path / which, SHAPES[1], good_items()) for which in ("live", "replay")]
    assert told[0] == told[1]
    for path in (tmp_path / "live").rglob("*"):
        if path.suffix in (".xml", ".csv", ".json", ".txt"):
            assert path.read_bytes() == (tmp_path / "replay" / path.relative_to(tmp_path / "live")).read_bytes(), path


@pytest.mark.parametrize(("name", "number"), CASES)
def test_a_feed_without_items_ends_well(name: str, number: int, tmp_path: Path) -> None:
    assert run(name, number, tmp_path / "tools", SHAPES[1], []) == []


@pytest.mark.parametrize(("name", "number"), CASES)
def test_what_cannot_be_written_is_an_error_of_the_tool(name: str, number: int, tmp_path: Path) -> None:
    folder = tmp_path / "tools"
    folder.write_text("not a folder")

    def whole() -> Iterable[Notice]:
        tool = made(name, number, folder, SHAPES[1])
        for item in good_items():
            offer(tool, item)
        for call in (tool.tick, tool.finish):
            attempt(partial(call, START_NS + 100 * NS))
        return ()

    attempt(whole)
    assert folder.read_text() == "not a folder"


@pytest.mark.parametrize("name", list(TOOLS))
def test_wrong_options_name_feed_and_tool(name: str, tmp_path: Path) -> None:
    good = WRITTEN.get(name, [{}])[0]
    wrong = [{**good, "no_such_option": 1}, {**good, **{key: object() for key in list(good)[:1] or ["file"]}}]
    for options in wrong:
        feed = FeedSettings(name="comon", of="x", tools=({name: options},))
        with pytest.raises(ConfigError, match=f"^feed 'comon': tool {name}: "):
            make_tools(feed, ToolContext("comon", tmp_path))


@pytest.mark.parametrize("name", list(TOOLS))
def test_the_name_is_the_registered_one(name: str, tmp_path: Path) -> None:
    assert made(name, 0, tmp_path, SHAPES[1]).name == name
    assert name in WRITTEN, "say with which options it does as much as it can"
