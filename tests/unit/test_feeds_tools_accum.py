"""The accumulator and its tool: what is counted, its files, its alerts."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from feed_samples import COMON, SAMPLES

from vagus.clock import NS
from vagus.config import FeedSettings
from vagus.config.reading import decode
from vagus.errors import ConfigError, VagusError
from vagus.feeds import FORMATS, Data, Item, Meta, Net, Notice, ToolContext
from vagus.feeds.tools import make_tools
from vagus.feeds.tools.accum import Accum
from vagus.feeds.tools.accum_profile import TRACKED
from vagus.feeds.tools.accum_report import report, xml_of
from vagus.feeds.tools.accumulator import Accumulator
from vagus.model import Status


def item(
    value: Any = None, t_s: int = 1, net: Net = Net.OK, data: Data = Data.GOOD, errors: int = 0, note: str = ""
) -> Item[Any]:
    meta = Meta("f", "http://a", t_s * NS, t_s * NS + 5, net, data if net is Net.OK else Data.NONE, errors, 10, note)
    return Item(meta, value)


def counted(values: Sequence[Any]) -> Accumulator:
    accum = Accumulator()
    for value in values:
        accum.take(item(value))
    return accum


def place(accum: Accumulator, path: str, more: int = 10, less: int = 3) -> dict[str, Any]:
    found = next(found for found in report(accum, more, less)["places"] if found["path"] == path)
    assert isinstance(found, dict)
    return found


def test_feature_11_accum_profiles_values_of_a_place() -> None:
    found = place(counted([{"x": n % 3} for n in range(10)]), "x", more=2, less=1)
    assert found == {
        "path": "x",
        "kind": "any",
        "unit": "",
        "good": 10,
        "bad": 0,
        "percent_bad": 0.0,
        "missing": 0,
        "codes": {},
        "count": 10,
        "min": 0,
        "max": 2,
        "mean": 0.9,
        "sum": 9.0,
        "distinct": 3,
        "tracked_percent": 100.0,
        "most": [{"value": 0, "count": 4, "percent": 40.0}, {"value": 1, "count": 3, "percent": 30.0}],
        "least": [{"value": 2, "count": 3, "percent": 30.0}],
    }


def test_feature_11_accum_counts_items_and_errors_by_code() -> None:
    accum = Accumulator()
    items = [
        item({"x": 1}),
        item(net=Net.TIMEOUT, note="no answer for 5 s"),
        item(net=Net.TIMEOUT, note="second"),
        item(net=Net.MISSED),
        item(net=Net.NOT_MODIFIED),
        item(data=Data.SYNTAX, errors=3),
        item({"x": None}, data=Data.NESTED, errors=2),
    ]
    for one in items:
        accum.take(one)
    found = report(accum)
    counts = {key: found[key] for key in ("items", "good", "bad", "failed", "percent_bad", "errors")}
    assert counts == {"items": 7, "good": 2, "bad": 2, "failed": 3, "percent_bad": 71.429, "errors": 5}
    assert [(error["code"], error["count"], error["note"]) for error in found["net_errors"]] == [
        ("timeout", 2, "no answer for 5 s"),
        ("missed", 1, ""),
    ]
    assert [(error["code"], error["count"]) for error in found["data_errors"]] == [("Nested", 1), ("Syntax", 1)]
    whole = place(accum, "$")
    assert (whole["good"], whole["bad"], whole["codes"]) == (1, 2, {"Nested": 1, "Syntax": 1})
    assert msgspec.json.encode(found)


def test_feature_11_accum_tells_of_each_place_of_a_record_what_was_wrong() -> None:
    fmt = FORMATS.make("comon")
    accum = Accumulator(fmt.shape)
    for body in (COMON, COMON.replace(b"221", b"slow"), COMON.replace(b"14 64", b"14 x")):
        value, found = fmt.parse(body)
        meta = Meta("f", "http://a", 1, 2, Net.OK, found.code, found.errors, len(body))
        accum.take(Item(meta, value), found)
    assert (accum.good, accum.bad) == (1, 2)
    rwfs, columns, date = place(accum, "rwfs"), place(accum, "vm_stat[]"), place(accum, "date")
    assert (rwfs["good"], rwfs["bad"], rwfs["percent_bad"], rwfs["codes"]) == (2, 1, 33.333, {"Syntax": 1})
    assert (columns["good"], columns["bad"]) == (11, 1)
    assert (date["good"], date["bad"], date["unit"]) == (3, 0, "s")
    assert place(accum, "vm_stat")["mean"] == 4  # of a list: its lengths
    assert place(accum, "drift")["missing"] == 3


def test_feature_11_accum_tracks_a_thousand_distinct_values() -> None:
    accum = counted([*range(2 * TRACKED), *[5] * TRACKED])
    found = place(accum, "$")
    assert (found["distinct"], found["count"], found["max"]) == (TRACKED, 3 * TRACKED, 2 * TRACKED - 1)
    assert found["tracked_percent"] == 66.667
    assert found["most"][0] == {"value": 5, "count": TRACKED + 1, "percent": 33.367}
    assert len(found["most"]) == 10
    assert len(found["least"]) == 3


@pytest.mark.parametrize(
    ("values", "least", "most", "mean"),
    [
        ([1e308, 1e308, -1e308], -1e308, 1e308, 1e308 / 3),
        ([0.1] * 10, 0.1, 0.1, 0.1),
        ([2**53, 1, 1], 1, 2**53, (2**53 + 2) / 3),
        ([5e-324, 5e-324], 5e-324, 5e-324, 5e-324),
        ([float("nan"), 2.0, float("inf")], 2.0, 2.0, 2.0),
        ([10**400, 3], 3, 3, 3),
        ([True, False], None, None, None),
    ],
)
def test_feature_11_accum_is_exact_and_takes_every_number(
    values: list[Any], least: float | None, most: float | None, mean: float | None
) -> None:
    found = place(counted(values), "$")
    assert (found["min"], found["max"], found["mean"], found["good"]) == (least, most, mean, len(values))
    assert msgspec.json.encode(found)


def test_feature_11_accum_takes_what_no_format_makes() -> None:
    odd = [object(), b"\xff", "x" * 5000, "x" * 4999, "\ud800", {1: 2}, (1, "a"), Net.OK, Status.DEAD]
    accum = counted(odd)
    found = report(accum)
    assert found["items"] == len(odd)
    ElementTree.fromstring(xml_of(found))
    assert {"<object>", "0xff"} <= {value["value"] for value in place(accum, "$")["most"]}


def test_feature_11_accum_xml_is_the_talks(tmp_path: Path) -> None:
    tool = Accum(ToolContext('como"n', tmp_path))
    for one in (item({"load": 1.5, "who": "a<b\x00"}), item(net=Net.STATUS, note="HTTP 500"), item({"load": 0.5})):
        tool.take(one)
    tool.finish(9 * NS)
    root = ElementTree.parse(tmp_path / "accum.xml").getroot()
    assert root.tag == "feed_accumulator"
    assert root.attrib == {"feed": 'como"n', "kind": "total"}
    [error] = root.findall("net_errors/error")
    assert [(part.tag, part.text) for part in error] == [
        ("errcode", "status"),
        ("errmsg", "an HTTP error status, or a command that failed"),
        ("errnum", "1"),
        ("errnote", "HTTP 500"),
    ]
    load = root.find("places/place[@path='load']")
    assert load is not None
    assert {part.tag: part.text for part in load if not part.attrib} == {
        "good": "2",
        "bad": "0",
        "percent_bad": "0.0",
        "missing": "0",
        "count": "2",
        "min": "0.5",
        "max": "1.5",
        "avg": "1.0",
        "sum": "2.0",
        "distinct": "2",
        "tracked_percent": "100.0",
    }
    assert root.findtext("places/place[@path='who']/most") == "a<b\\x00"


def test_feature_11_accum_writes_slices_and_the_total(tmp_path: Path) -> None:
    tool = Accum(ToolContext("f", tmp_path), slicesize=3, slicefile="slices/{}.xml", slices=2, totalfile="all.xml")

    def items_of(name: str) -> str | None:
        return ElementTree.parse(tmp_path / name).getroot().findtext("items")

    for number in range(1, 12):
        tool.take(item({"x": number}, number))
    assert sorted(path.name for path in (tmp_path / "slices").iterdir()) == ["2.xml", "3.xml"]
    assert items_of("all.xml") == "9"
    tool.finish(20 * NS)
    assert sorted(path.name for path in (tmp_path / "slices").iterdir()) == ["3.xml", "4.xml"]
    assert items_of("slices/4.xml") == "2"
    assert items_of("all.xml") == "11"
    root = ElementTree.parse(tmp_path / "slices" / "3.xml").getroot()
    assert (root.get("kind"), root.get("number"), root.findtext("first_ns")) == ("slice", "3", str(7 * NS + 5))
    assert place(tool.total, "x")["max"] == 11


def test_feature_11_accum_writes_the_total_by_time(tmp_path: Path) -> None:
    tool = Accum(ToolContext("f", tmp_path), every="60s", slicesize=100)
    path = tmp_path / "accum.xml"
    for now_s in (0, 1, 59):
        tool.take(item({"x": 1}))
        tool.tick(now_s * NS)
    assert not path.exists()
    tool.tick(60 * NS)
    assert ElementTree.parse(path).getroot().findtext("items") == "3"
    path.unlink()
    tool.tick(120 * NS)  # nothing is new
    assert not path.exists()


def told(tool: Accum, values: Sequence[float], gap_s: int = 1000) -> list[Notice]:
    return [notice for n, value in enumerate(values) for notice in tool.take(item({"x": value, "y": 1}, n * gap_s))]


def test_feature_11_accum_alerts_on_a_new_minimum_and_maximum(tmp_path: Path) -> None:
    tool = Accum(ToolContext("f", tmp_path), minalert=True, maxalert=("x",), after=3, webhooks=["http://h/"])
    notices = told(tool, [5, 9, 1, 4, 10, 10, 0, 0])
    assert [(notice.rule, notice.value, notice.text) for notice in notices] == [
        ("x maximum", 10.0, "10 is a new maximum of x; it was 9"),
        ("x minimum", 0.0, "0 is a new minimum of x; it was 1"),
    ]
    first = notices[0]
    assert (first.tool, first.feed, first.subject, first.t_ns) == ("accum", "f", "http://a", 4000 * NS + 5)
    assert (first.status, first.webhooks, first.report) == (Status.MAYBE_UNHEALTHY, ("http://h/",), False)


def test_feature_11_accum_alerts_know_the_slices_before(tmp_path: Path) -> None:
    tool = Accum(ToolContext("f", tmp_path), minalert=True, maxalert=True, after=1, slicesize=2)
    assert [(n.rule, n.value) for n in told(tool, [5, 9, 7, 6, 8, 10, 5, 4])] == [
        ("x maximum", 9.0),
        ("x maximum", 10.0),
        ("x minimum", 4.0),
    ]


def test_feature_11_accum_tells_one_alert_of_a_place_in_a_while(tmp_path: Path) -> None:
    tool = Accum(ToolContext("f", tmp_path), maxalert=["x"], after=1, again="5m")
    assert [n.value for n in told(tool, range(20), gap_s=60)] == [1.0, 6.0, 11.0, 16.0]
    quiet = Accum(ToolContext("f", tmp_path))
    assert told(quiet, [5, 9, 1, 20]) == []


def test_feature_11_accum_two_extremes_within_one_list(tmp_path: Path) -> None:
    tool = Accum(ToolContext("f", tmp_path), minalert=True, maxalert=True, after=1)
    tool.take(item([5, 6]))
    assert [(n.rule, n.value) for n in tool.take(item([9, 2, 7, 1]))] == [
        *[("$ maximum", 4.0)],  # the length of the list
        *[("$[] minimum", 1.0), ("$[] maximum", 9.0)],
    ]


def test_feature_11_accum_asks_the_users_function(tmp_path: Path) -> None:
    def often(one: Item[Any], accum: Accumulator) -> Any:
        if one.value == {"x": 3, "y": 1}:
            raise KeyError("three")
        return f"{accum.items} items" if accum.items % 2 == 0 else accum.items == 5

    tool = Accum(ToolContext("f", tmp_path), useralert=often)
    assert [n.text for n in told(tool, [1, 1])] == ["2 items"]
    with pytest.raises(VagusError, match=r"useralert .*often raised KeyError: 'three'"):
        tool.take(item({"x": 3, "y": 1}))
    assert tool.total.items == 3
    assert [n.text.endswith("often says so") for n in told(tool, [1, 2])] == [False, True]


def test_feature_11_accum_from_a_config_file_alone(tmp_path: Path) -> None:
    text = b"""
name: comon
source: {all: ["http://127.0.0.1:3121/"]}
format: comon
tools:
  - accum: {minalert: false, maxalert: false, lesssig: 3, moresig: 3, slicesize: 1000, slicefile: accumslice.xml, totalfile: accum.xml}
"""
    settings = decode(text, FeedSettings, "x.yaml")
    [tool] = make_tools(settings, ToolContext("comon", tmp_path, FORMATS.make("comon").shape))
    value, found = FORMATS.make("comon").parse(SAMPLES["comon"].good)
    tool.take(Item(Meta("comon", "http://a", 1, 2, Net.OK, found.code, found.errors), value))
    tool.finish(3)
    assert {path.name for path in tmp_path.iterdir()} == {"accumslice.xml", "accum.xml"}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"slicesize": -1}, "slicesize"),
        ({"no": 1}, "unknown field `no`"),
        ({"useralert": "no_such_module:f"}, "no_such_module"),
        ({"useralert": "json"}, "module:function"),
        ({"slicefile": "a{x}.xml"}, "slicefile"),
        ({"slicesize": 1, "slicefile": "../a.xml"}, r"\.\."),
        ({"every": "soon"}, "every"),
        ({"minalert": 5}, "minalert"),
        ({"severity": "healthy"}, "severity"),
    ],
)
def test_feature_11_accum_refuses_wrong_options(options: dict[str, Any], why: str, tmp_path: Path) -> None:
    settings = FeedSettings(name="comon", of="x", tools=("print", {"accum": options}))
    with pytest.raises(ConfigError, match=f"feed 'comon': tool accum: .*{why}"):
        make_tools(settings, ToolContext("comon", tmp_path))


def test_feature_11_accum_of_a_pair_profiles_the_side_that_came() -> None:
    accum = Accumulator()
    accum.take(item((1, 2)))
    accum.take(item((None, 3), net=Net.TIMEOUT))
    found = report(accum)
    assert (found["good"], found["failed"]) == (1, 1)
    assert (place(accum, "$[0]")["good"], place(accum, "$[0]")["missing"]) == (1, 1)
    assert place(accum, "$[1]")["max"] == 3
