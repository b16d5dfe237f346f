"""Shapes of declared feeds, and the tools of a whole file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vagus.config import FeedSettings, SourceSettings
from vagus.errors import ConfigError
from vagus.feeds import FORMATS, Shape
from vagus.feeds.contracts import PAIR
from vagus.feeds.declared import feeds_of
from vagus.feeds.feed import all_, base, dict_, failover, list_, pair, refeed, union
from vagus.feeds.shapes import shape_of
from vagus.feeds.template import Template
from vagus.feeds.tools import tools_of
from vagus.feeds.when import every

TICK = every("60s", timeout="5s")


def of(name: str, fmt: Any = None) -> Any:
    return base(all_("file:/x"), TICK, fmt or name)


def test_feature_13_a_feed_tells_its_shape_where_it_is_declared() -> None:
    comon, slices = FORMATS.make("comon").shape, FORMATS.make("comon_slices").shape
    feed = of("comon")
    for same in (feed, feed.where("rwfs > 0"), feed.named("x"), refeed(feed), union(feed, of("comon")), failover(feed)):
        assert shape_of(same) == comon
    assert shape_of(of("comon_slices").flatten()) == slices.parts[0][1]
    rows = shape_of(of("comon_slices").flatten().flatten("slices"))
    assert rows.kind == "record"
    assert "context" in dict(rows.parts)
    assert shape_of(feed.flatten("vm_stat")).kind == "int"
    mixed = shape_of(union(feed, of("uptime")))
    assert (mixed.kind, len(mixed.parts)) == ("union", 2)


def test_feature_13_what_functions_make_may_be_anything() -> None:
    feed = of("comon")
    opaque = [feed.map(str), feed.select("rwfs"), of("hosts").foreach(lambda x: feed)]
    for other in [*opaque, feed.flatten("nope"), feed.flatten("rwfs"), union(feed, of("text"))]:
        assert shape_of(other) == Shape("any")


def test_feature_6_what_is_joined_has_the_shapes_of_its_sides() -> None:
    feed, busy = of("comon"), FORMATS.make("uptime").shape
    comon = Shape("optional", parts=(("", shape_of(feed)),))  # a side that failed is None
    pairs = pair(feed, of("uptime"))
    assert shape_of(pairs) == Shape("record", PAIR, (("0", comon), ("1", Shape("optional", parts=(("", busy),)))))
    assert shape_of(dict_({"a": feed})) == Shape("record", parts=(("a", comon),))
    assert shape_of(list_([feed, feed])) == Shape("list", parts=(("", comon),))
    assert shape_of(pairs.flatten()) == Shape("any")


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("rwfs > 0", r"the feed has no rwfs; there are: \$\[0\], \$\[1\]"),
        ("$[2].rwfs > 0", r"no 2; "),
        ("$[0].vm_stat.x > 0", r"no 0\.vm_stat\.x"),
        ("$[-1].nope > 0", r"no -1\.nope"),
        ("meta.location == 'a'", "meta is known to tools alone"),
    ],
)
def test_feature_15_a_condition_on_what_a_pair_has_not_is_refused_at_once(text: str, lost: str) -> None:
    pairs = pair(of("comon"), of("comon"))
    with pytest.raises(ConfigError, match=f"where: .*{lost}"):
        pairs.where(text)
    with pytest.raises(ConfigError, match=f"select: .*{lost}"):
        pairs.select(text)
    source = SourceSettings(all=("file:/x",))
    declared = FeedSettings(name="both", pair=("a", "a"), where=text)
    with pytest.raises(ConfigError, match=f"feed 'both': where: .*{lost}"):
        feeds_of([FeedSettings(name="a", source=source, format="comon"), declared])


def test_feature_15_conditions_on_what_may_be_there_are_taken() -> None:
    pairs = pair(of("comon"), of("json"))
    assert pairs.where("$[0].rwfs > 0 && $[0].vm_stat[3] > 1 && $[-1].any.thing[0] > 1") is not pairs
    rows = dict_({"a": of("comon"), "b": of("comon_slices")})
    assert rows.where("a.rwfs > 0 && b[0].slices[1].context > 1") is not rows


def test_feature_5_what_a_file_declares_for_each_item_has_the_shape_of_its_format() -> None:
    nodes = FeedSettings(name="nodes", source=SourceSettings(all=("file:/x",)), format="hosts", flatten=True)
    places = SourceSettings(all=("http://{host}:3121/",))
    reports = FeedSettings(name="reports", foreach="nodes", source=places, format="comon", where="rwfs > 0")
    both = FeedSettings(name="both", foreach="nodes", union=(reports_of("comon"), reports_of("comon")))
    rows = FeedSettings(name="rows", foreach="nodes", source=places, format="comon_slices", flatten=True)
    feeds = feeds_of([nodes, reports, both, rows])
    comon = FORMATS.make("comon").shape
    assert (shape_of(feeds["reports"]), shape_of(feeds["both"])) == (comon, comon)
    assert shape_of(feeds["rows"]) == FORMATS.make("comon_slices").shape.parts[0][1]


def reports_of(fmt: str) -> FeedSettings:
    return FeedSettings(source=SourceSettings(all=("http://{host}:3121/",)), format=fmt)


def test_feature_11_the_tools_of_a_file(tmp_path: Path) -> None:
    source = SourceSettings(all=("file:/x",))
    settings = [
        FeedSettings(name="a", source=source, format="comon", every="5m", tools=("accum", {"xml": {"file": "a.xml"}})),
        FeedSettings(name="b", source=source, format="comon", tools=({"select": {"where": "nope > 1"}},)),
        FeedSettings(name="c", source=source),
    ]
    feeds = {"a": of("comon"), "b": of("comon").map(lambda value: value), "c": of("text")}
    found = tools_of(settings, feeds, tmp_path, "node-a")
    assert {name: [tool.name for tool in tools] for name, tools in found.items()} == {
        "a": ["accum", "xml"],
        "b": ["select"],
    }
    for tool in found["a"]:
        tool.finish(1)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"accum.xml", "a.xml"}
    with pytest.raises(ConfigError, match="feed 'b': tool select: where: the feed has no nope"):
        tools_of(settings, {**feeds, "b": of("comon")}, tmp_path)


def test_feature_5_a_number_of_thousands_of_digits_fills_no_location() -> None:
    with pytest.raises(ConfigError, match="must be 1 to 1000 printable characters"):
        Template("http://{}/").fill(10**5000)


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        ({"select": {"columns": ["rwfs"], "descending": True}}, "descending does nothing without order"),
        ({"select": {"columns": ["rwfs"], "every": "5s"}}, "every is of a table"),
        ({"accum": {"slicefile": "s.xml"}}, "slicefile does nothing without slicesize"),
        ({"alert": {"when": "rwfs > 1", "style": "text"}}, "style does nothing without file"),
        ({"rrd": {"graph_every": "5m"}}, "graph_every does nothing without graph"),
        ({"rrd": {"fields": ["rwfs"], "types": {"rwsf": "counter"}}}, "types: rwsf: not one of the fields rwfs"),
    ],
)
def test_feature_11_options_that_would_do_nothing_are_refused(
    tool: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vagus.feeds.tools.rrdtool.find_program", lambda: "/bin/false")
    source = SourceSettings(all=("file:/x",))
    settings = [FeedSettings(name="a", source=source, format="comon", every="5m", tools=(tool,))]
    with pytest.raises(ConfigError, match=f"feed 'a': tool {next(iter(tool))}: {message}"):
        tools_of(settings, {"a": of("comon")}, tmp_path)
