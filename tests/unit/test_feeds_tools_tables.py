"""The tools print, select and xml: what they write, and when it is whole."""

from __future__ import annotations

import base64
import csv
import io
import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from feed_samples import SAMPLES

from vagus.clock import NS
from vagus.config import FeedSettings
from vagus.config.reading import decode
from vagus.errors import ConfigError, VagusError
from vagus.feeds import FORMATS, Data, Item, Meta, Net, Shape, ToolContext
from vagus.feeds.tools import make_tool, make_tools
from vagus.feeds.tools.printed import Print, when
from vagus.feeds.tools.select import Select
from vagus.feeds.tools.values import as_text, plain
from vagus.feeds.tools.xml import Xml


class Node(msgspec.Struct):
    host: str
    load: float | None
    disks: list[int]


NODE = Shape(
    "record",
    "Node",
    (("host", Shape("string")), ("load", Shape("optional", parts=(("", Shape("float")),))), ("disks", Shape("list"))),
)


def item(value: Any, location: str = "http://a", due_s: int = 1, part: str = "", net: Net = Net.OK) -> Item[Any]:
    code = Data.GOOD if value is not None else Data.NONE
    return Item(Meta("f", location, due_s * NS, due_s * NS + 5, net, code, part=part), value)


def selected(items: list[Item[Any]], tmp_path: Path, shape: Shape = NODE, **options: Any) -> list[list[str]]:
    output = io.StringIO()
    tool = Select(ToolContext("f", tmp_path, shape), output, **options)
    for one in items:
        tool.take(one)
    tool.finish(10**6 * NS)
    return list(csv.reader(io.StringIO(output.getvalue())))


NODES = [
    item(Node("a", 0.5, [1, 2]), "http://a"),
    item(Node("b", 7.0, []), "http://b"),
    item(Node("c", None, [3]), "http://c"),
    item(None, "http://d", net=Net.TIMEOUT),
]

# --- select ----------------------------------------------------------------------------------------------------------


def test_feature_11_select_has_a_column_for_each_field(tmp_path: Path) -> None:
    assert selected(NODES, tmp_path) == [
        ["location", "host", "load", "disks"],
        ["http://a", "a", "0.5", "[1,2]"],
        ["http://b", "b", "7.0", "[]"],
        ["http://c", "c", "", "[3]"],
        ["http://d", "", "", ""],
    ]


def test_feature_15_select_where_and_columns(tmp_path: Path) -> None:
    columns = ["meta.location", "load", "disks[0]", "load > 1m"]
    assert selected(NODES, tmp_path, where="load > 0", columns=columns) == [
        ["meta.location", "load", "disks[0]", "load > 1m"],
        ["http://a", "0.5", "1", "false"],
        ["http://b", "7.0", "", "false"],
    ]
    named = {"node": "host", "busy": "load * 100"}
    assert selected(NODES, tmp_path, where="load != null", columns=named) == [
        ["node", "busy"],
        ["a", "50.0"],
        ["b", "700.0"],
    ]


def test_feature_11_select_without_a_shape_has_the_fields_of_the_first_value(tmp_path: Path) -> None:
    values = [item(None), item({"5minload": 1, "a.b'": 2}), item({"5minload": 3, "new": 4})]
    found = selected(values, tmp_path, Shape("any"))
    assert found == [["location", "5minload", "a.b'"], ["http://a", "1", "2"], ["http://a", "3", ""]]
    assert selected([item("x")], tmp_path, Shape("any")) == [["location", "value"], ["http://a", "x"]]


def test_feature_11_select_writes_json_lines(tmp_path: Path) -> None:
    output = io.StringIO()
    tool = Select(ToolContext("f", tmp_path, NODE), output, style="json", columns=["host", "disks"])
    tool.take(NODES[0])
    assert json.loads(output.getvalue()) == {"host": "a", "disks": [1, 2]}


def test_feature_15_the_newest_of_each_node_ordered_and_cut(tmp_path: Path) -> None:
    items = [
        *NODES,
        item(Node("a", 9.0, []), "http://a", 2),
        item(Node("c", 1.0, []), "http://c", 2),
        item(Node("c", 5.0, []), "http://c", 1),  # late
    ]
    columns = ["host", "load"]
    top = selected(items, tmp_path, columns=columns, order="load", limit=2)
    assert top == [["host", "load"], ["c", "1.0"], ["b", "7.0"]]
    most = selected(items, tmp_path, columns=columns, order="load", descending=True, header=False)
    assert most == [["a", "9.0"], ["b", "7.0"], ["c", "1.0"], ["", ""]]
    up = selected(
        [*NODES, item(None, "http://b", 2, net=Net.REFUSED)],
        tmp_path,
        columns=["host"],
        where="load > 0",
        each="latest",
    )
    assert up == [["host"], ["a"]]


def test_feature_15_slices_of_all_nodes_in_groups(tmp_path: Path) -> None:
    def slices(location: str, due_s: int, *rows: tuple[str, int]) -> list[Item[Any]]:
        made = [{"name": name, "mem": mem} for name, mem in rows]
        return [item(value, location, due_s, part=str(n)) for n, value in enumerate(made)]

    items = [
        *slices("http://a", 1, ("x", 5), ("y", 100), ("gone", 1)),
        *slices("http://b", 1, ("x", 7)),
        *slices("http://a", 2, ("x", 1), ("y", 3)),
    ]
    options: dict[str, Any] = {"columns": {"slice": "name", "mem": "mem", "nodes": "name"}, "group": "name"}
    found = selected(
        items, tmp_path, Shape("any"), **options, totals={"mem": "sum", "nodes": "count"}, order="mem", descending=True
    )
    assert found == [["slice", "mem", "nodes"], ["x", "8", "2"], ["y", "3", "1"]]
    largest = selected(items, tmp_path, Shape("any"), **options, totals={"mem": "max"}, limit=1)
    assert largest == [["slice", "mem", "nodes"], ["x", "7", "x"]]


def test_feature_15_rows_of_the_silent_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    tool = Select(ToolContext("f", tmp_path, NODE), columns=["host"], max_age="60s", every="10s", file="table.csv")
    tool.take(item(Node("a", 1, []), "http://a", 0))
    tool.take(item(Node("b", 1, []), "http://b", 55))
    tool.tick(55 * NS)
    assert not path.exists()
    tool.tick(65 * NS)
    assert path.read_text() == "host\nb\n"
    tool.finish(66 * NS)
    assert path.read_text() == "host\nb\n"


def test_feature_11_select_adds_to_its_file_and_rotates_it(tmp_path: Path) -> None:
    options: dict[str, Any] = {"file": "rows.csv", "columns": ["host"], "rotate_bytes": 1024}
    path = tmp_path / "rows.csv"
    for _ in range(2):  # goes on after a restart, without a second header
        tool = Select(ToolContext("f", tmp_path, NODE), **options)
        tool.take(NODES[0])
        tool.finish(1)
    assert path.read_text() == "host\na\na\n"
    for _ in range(600):
        tool.take(NODES[0])
    assert path.read_text().startswith("host\n")
    assert path.with_name("rows.csv.1").read_text().startswith("host\na\n")
    empty = Select(ToolContext("f", tmp_path, NODE), **{**options, "file": "empty.csv"})
    empty.finish(1)
    assert (tmp_path / "empty.csv").read_text() == "host\n"


def test_feature_11_select_on_a_terminal_is_printable(tmp_path: Path) -> None:
    assert selected([item({"x": "a\x1b[2J\nb"})], tmp_path, Shape("any"), columns=["x"]) == [["x"], ["a [2J b"]]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"where": "load >"}, "where: expression: expected"),
        ({"where": "laod > 1"}, "where: the feed has no laod; there are: host, load, disks"),
        ({"columns": ["nope"]}, "columns: the feed has no nope"),
        ({"order": "nope"}, "order: the feed has no nope"),
        ({"each": "item", "limit": 5}, "each: latest"),
        ({"totals": {"load": "sum"}}, "say which by group"),
        ({"group": "host", "totals": {"load": "median"}}, "'median' is not one of sum"),
        ({"group": "host", "columns": ["host"], "totals": {"load": "sum"}}, "no column 'load'"),
        ({"style": "xml"}, "style"),
        ({"limit": -1}, "limit"),
        ({"columns": [str(n) for n in range(501)]}, "at most 500"),
    ],
)
def test_feature_15_select_refuses_wrong_options(options: dict[str, Any], why: str, tmp_path: Path) -> None:
    settings = FeedSettings(name="comon", of="x", tools=({"select": options},))
    with pytest.raises(ConfigError, match=f"feed 'comon': tool select: .*{why}"):
        make_tools(settings, ToolContext("comon", tmp_path, NODE))


def test_feature_15_select_bounds_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.feeds.tools.select_table.MAX_ROWS", 2)
    tool = Select(ToolContext("f", tmp_path, NODE), io.StringIO(), each="latest")
    for number, one in enumerate(NODES[:3]):
        if number == 2:
            with pytest.raises(VagusError, match="more than 2 rows"):
                tool.take(one)
        else:
            tool.take(one)
    tool.take(item(Node("a", 2.0, []), "http://a", 2))
    assert tool.latest is not None
    assert len(tool.latest.rows(1)) == 2


def test_feature_15_select_forgets_locations_without_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.feeds.tools.select_table.MAX_ROWS", 2)
    tool = Select(ToolContext("f", tmp_path, NODE), io.StringIO(), where="load > 5", each="latest")
    for number in range(100):
        tool.take(item(Node("a", 6.0 if number == 50 else 1.0, []), f"http://{number}"))
    assert tool.latest is not None
    assert [row[0] for row in tool.latest.rows(1)] == ["http://50"]
    assert len(tool.latest._rows) <= 5


# --- print -----------------------------------------------------------------------------------------------------------


def printed(one: Item[Any], **options: Any) -> str:
    output = io.StringIO()
    tool = Print(ToolContext("f", Path("/nowhere")), output, **options)
    tool.take(one)
    tool.finish(1)
    return output.getvalue()


def test_feature_11_print_is_one_printable_line(tmp_path: Path) -> None:
    value = {"x": "a\x1b[2J\u2028b\n", "y": [1, None]}
    line = printed(item(value, part="3"))
    assert line == '1970-01-01T00:00:01.000Z http://a#3 ok Good {"x":"a\\u001b[2J b\\n","y":[1,null]}\n'
    assert printed(item("two\nlines"), width=50) == "1970-01-01T00:00:01.000Z http://a ok Good two lin…\n"
    assert printed(item("x" * 100), width=60).endswith("xxx…\n")
    failed = Item(Meta("f", "http://a", 0, 0, Net.TIMEOUT, note="5 s\x00"))
    assert printed(failed) == "1970-01-01T00:00:00.000Z http://a timeout (5 s )\n"
    broken = Item(Meta("f", "http://a", 0, 0, Net.OK, Data.SYNTAX, 2), 5)
    assert printed(broken) == "1970-01-01T00:00:00.000Z http://a ok Syntax 2 errors 5\n"


def test_feature_11_print_chosen_fields_and_items() -> None:
    assert printed(NODES[1], fields=["host", "load"]).endswith("ok Good host=b load=7.0\n")
    assert printed(NODES[1], where="load < 1") == ""
    whole = json.loads(printed(NODES[1], style="json"))
    assert whole["meta"]["location"] == "http://b"
    assert whole["value"] == {"host": "b", "load": 7.0, "disks": []}


def test_feature_11_print_to_a_file(tmp_path: Path) -> None:
    tool = Print(ToolContext("f", tmp_path), file="log/items.txt")
    tool.take(NODES[0])
    tool.take(NODES[1])
    assert (tmp_path / "log" / "items.txt").read_text().count("\n") == 2
    assert when(10**30) == str(10**30)


def test_feature_11_plain_takes_anything() -> None:
    odd = {"a": (1, b"\xff", float("nan"), 10**400, -(10**20)), 5: object(), "s": "\ud800", "n": Net.OK}
    assert plain(odd) == {
        "a": [1, "\\xff", None, "an integer beyond 1e308", -1e20],
        "5": "<object>",
        "s": "\\ud800",
        "n": "ok",
    }
    deep: list[Any] = []
    deep.append(deep)
    assert "<list>" in as_text(deep)


# --- xml -------------------------------------------------------------------------------------------------------------


def test_feature_11_xml_names_elements_by_fields(tmp_path: Path) -> None:
    shape = Shape("map", parts=(("", Shape("int")),))
    tool = Xml(ToolContext("co<mon", tmp_path), file="a.xml")
    tool.take(item({"node": Node("a", None, [1]), "5minload": 2, "c\x00d": "x\x00y", "b": b"\xff", "": {}}))
    mapped = Xml(ToolContext("co<mon", tmp_path, shape), file="a.xml")
    mapped.take(item({"k&": 1}))
    root = ElementTree.parse(tmp_path / "a.xml").getroot()
    assert (root.tag, root.get("name")) == ("feed", "co<mon")
    first, second = root.findall("item/value")
    assert [part.tag for part in first] == ["node", "field", "field", "b", "field"]
    assert [part.get("name") for part in first] == [None, "5minload", "c\\x00d", None, ""]
    assert first.findtext("node/host") == "a"
    assert first.find("node/load[@nil='true']") is not None
    assert first.findtext("node/disks/element") == "1"
    assert base64.b64decode(first[2].text or "") == b"x\x00y"
    [entry] = second
    assert (entry.tag, entry.get("key"), entry.text) == ("entry", "k&", "1")
    attributes = root[0].attrib
    assert attributes["due"] == "1970-01-01T00:00:01.000Z"
    assert (attributes["net"], attributes["data"]) == ("ok", "Good")


def test_feature_11_xml_is_whole_after_every_item_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    for number in range(1, 7):
        tool = Xml(ToolContext("f", tmp_path), file="a.xml")
        tool.take(item(number) if number % 2 else item(None, net=Net.TIMEOUT))
        assert len(ElementTree.parse(path).getroot()) == number
    tool.finish(1)
    assert len(ElementTree.parse(path).getroot()) == 6
    path.write_bytes(path.read_bytes()[:-20])  # as a power cut leaves it
    tool.take(item(1))
    assert len(ElementTree.parse(path).getroot()) == 1
    assert path.with_name("a.xml.1").exists()
    Xml(ToolContext("f", tmp_path), file="empty.xml").finish(1)
    assert len(ElementTree.parse(tmp_path / "empty.xml").getroot()) == 0


def test_feature_11_xml_rotates(tmp_path: Path) -> None:
    tool = Xml(ToolContext("f", tmp_path), file="a.xml", max_bytes=2000)
    for number in range(60):
        tool.take(item({"number": number}))
        assert (tmp_path / "a.xml").stat().st_size <= 2000
    counts = [len(ElementTree.parse(tmp_path / name).getroot()) for name in ("a.xml", "a.xml.1")]
    assert all(counts)
    tool.take(item("x" * 5000))  # larger than allowed: a file of its own
    assert len(ElementTree.parse(tmp_path / "a.xml").getroot()) == 1


def test_feature_11_xml_says_that_a_disk_is_full_and_keeps_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = Xml(ToolContext("f", tmp_path), file="a.xml")
    tool.take(item(1))

    def full(file: int, content: bytes, at: int) -> None:
        import os

        os.write(file, content[:10])
        os.ftruncate(file, at)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("vagus.feeds.tools.xml.write_whole", full)
        with pytest.raises(OSError, match="No space"):
            tool.take(item(2))
    assert len(ElementTree.parse(tmp_path / "a.xml").getroot()) == 1
    tool.take(item(3))
    assert len(ElementTree.parse(tmp_path / "a.xml").getroot()) == 2


@pytest.mark.parametrize("name", list(FORMATS))
def test_feature_11_every_format_as_xml_and_as_lines(name: str, tmp_path: Path) -> None:
    sample = SAMPLES[name]
    fmt = FORMATS.make(name, **sample.options)
    tool = Xml(ToolContext("f", tmp_path, fmt.shape), file="a.xml")
    items = 0
    for body in filter(None, (sample.good, sample.broken)):
        value, found = fmt.parse(body)
        one = Item(Meta("f", "file:/x", 1, 2, Net.OK, found.code, found.errors, len(body)), value)
        tool.take(one)
        items += 1
        line = printed(one)
        assert line.endswith("\n")
        assert line[:-1].isprintable()
    root = ElementTree.parse(tmp_path / "a.xml").getroot()
    assert len(root) == items
    assert root[0].find("value") is not None


@pytest.mark.skipif(shutil.which("xmllint") is None, reason="needs xmllint (libxml2-utils)")
def test_feature_11_xmllint_takes_it(tmp_path: Path) -> None:
    tool = Xml(ToolContext("f\x00", tmp_path), file="a.xml")
    for value in ("".join(map(chr, range(0x300))), {"\ufffe": "\uffff", "xml": 1, "a:b": 2, "é": 3}, b"\x00", [[]]):
        tool.take(item(value))
    done = subprocess.run(["xmllint", "--noout", tmp_path / "a.xml"], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


# --- from a config file ------------------------------------------------------------------------------------------------


def test_feature_11_tools_from_a_config_file_alone(tmp_path: Path) -> None:
    text = b"""
name: comon
source: {all: ["http://127.0.0.1:3121/"]}
format: comon
tools:
  - print: {file: lines.txt}
  - xml: {file: comon.xml}
  - select: {where: "rwfs > 100 && drift == null", columns: [meta.location, rwfs], file: top.csv, order: rwfs, limit: 10}
  - select: {style: json, file: rows.json}
"""
    fmt = FORMATS.make("comon")
    tools = make_tools(decode(text, FeedSettings, "x.yaml"), ToolContext("comon", tmp_path, fmt.shape))
    value, found = fmt.parse(SAMPLES["comon"].good)
    for tool in tools:
        tool.take(Item(Meta("comon", "http://a", 1, 2, Net.OK, found.code, found.errors), value))
        tool.finish(3)
    assert (tmp_path / "top.csv").read_text() == "meta.location,rwfs\nhttp://a,221\n"
    assert json.loads((tmp_path / "rows.json").read_text())["vm_stat"] == [10, 14, 64, 22320]
    assert {path.name for path in tmp_path.iterdir()} == {"lines.txt", "comon.xml", "top.csv", "rows.json"}


@pytest.mark.parametrize("name", ["nope", "nope:Tool", "json:nope", "json:"])
def test_feature_11_an_unknown_tool_is_named(name: str, tmp_path: Path) -> None:
    settings = FeedSettings(name="comon", of="x", tools=("print", name))
    with pytest.raises(ConfigError, match=f"feed 'comon': tool {name}: "):
        make_tools(settings, ToolContext("comon", tmp_path))
    with pytest.raises(ConfigError, match=r"print \(2\.\).*no_such"):
        make_tools(
            FeedSettings(name="c", of="x", tools=("print", {"print": {"no_such": 1}})), ToolContext("c", tmp_path)
        )
    with pytest.raises(ConfigError, match="does not take these options"):
        make_tool("print", {"context": 1}, ToolContext("c", tmp_path))


def test_feature_15_a_carriage_return_from_outside_ends_no_row(tmp_path: Path) -> None:
    tool = Select(ToolContext("f", tmp_path), file="a.csv", columns={"a\rb": "a", "c": "c"})
    tool.take(item({"a": 'x\ry"z', "c": "1,2"}))
    tool.finish(0)
    rows = list(csv.reader(io.StringIO((tmp_path / "a.csv").read_bytes().decode(), newline="")))
    assert rows == [["a\rb", "c"], ['x\ry"z', "1,2"]]
