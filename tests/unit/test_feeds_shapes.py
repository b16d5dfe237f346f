"""Shapes of declared feeds, and the tools of a whole file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vagus.config import FeedSettings, SourceSettings
from vagus.errors import ConfigError
from vagus.feeds import FORMATS, Shape
from vagus.feeds.declared import feeds_of
from vagus.feeds.feed import all_, base, failover, list_, pair, refeed, union
from vagus.feeds.shapes import shape_of
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
    opaque = [feed.map(str), feed.select("rwfs"), pair(feed, feed), list_([feed]), of("hosts").foreach(lambda x: feed)]
    for other in [*opaque, feed.flatten("nope"), feed.flatten("rwfs"), union(feed, of("text"))]:
        assert shape_of(other) == Shape("any")


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
