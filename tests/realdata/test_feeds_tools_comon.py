"""The tools over CoMon's real slice dump of 2007: profile, slice-centric table, a query, XML."""

from __future__ import annotations

import csv
import io
import math
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from vagus.feeds import FORMATS, Item, Meta, Net, ToolContext
from vagus.feeds.feed import all_, base
from vagus.feeds.shapes import shape_of
from vagus.feeds.tools.accum_report import report, xml_of
from vagus.feeds.tools.accumulator import Accumulator
from vagus.feeds.tools.select import Select
from vagus.feeds.tools.xml import Xml
from vagus.feeds.when import every

DUMP = Path(__file__).parents[2].parent / "shared" / "data" / "comon" / "comon.txt"

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not DUMP.exists(), reason=f"needs {DUMP.name} of CoMon in the shared data"),
]


def nodes() -> list[Item[Any]]:
    value, found = FORMATS.make("comon_slices").parse(DUMP.read_bytes())
    meta = Meta("comon", f"file:{DUMP.name}", 1, 2, Net.OK, found.code, found.errors)
    assert value is not None
    return [
        Item(Meta("comon", node.node, 1, 2, Net.OK, meta.data, part=str(n)), row)
        for node in value
        for n, row in enumerate(node.slices or ())
    ]


ROWS = shape_of(base(all_("file:/x"), every("5m", timeout="60s"), "comon_slices").flatten().flatten("slices"))


def test_feature_11_accum_of_the_real_dump() -> None:
    accum = Accumulator(ROWS)
    for row in nodes():
        accum.take(row)
    found = report(accum)
    assert (found["items"], found["good"], found["bad"]) == (244, 244, 0)
    places = {place["path"]: place for place in found["places"]}
    rows = [line.split() for line in DUMP.read_text().splitlines() if len(line.split()) == 13]
    for column, name in ((0, "context"), (5, "processes"), (6, "resident"), (9, "memory")):
        numbers = [float(row[column]) for row in rows]
        place = places[name]
        assert (place["good"], place["min"], place["max"]) == (len(rows), min(numbers), max(numbers))
        assert place["mean"] == pytest.approx(math.fsum(numbers) / len(numbers), rel=1e-15)
        assert place["most"][0]["count"] == Counter(numbers).most_common(1)[0][1]
    assert places["name"]["distinct"] == len({row[12] for row in rows})
    ElementTree.fromstring(xml_of(found))


def test_feature_15_the_slice_centric_table_of_the_real_dump(tmp_path: Path) -> None:
    output = io.StringIO()
    columns = {"slice": "name", "nodes": "name", "most": "resident", "all": "resident"}
    tool = Select(
        ToolContext("comon", tmp_path, ROWS),
        output,
        where="processes > 0",
        columns=columns,
        group="name",
        totals={"nodes": "count", "most": "max", "all": "sum"},
        order="nodes",
        descending=True,
        limit=10,
    )
    rows = nodes()
    for row in rows:
        tool.take(row)
    tool.finish(3)
    table = list(csv.DictReader(io.StringIO(output.getvalue())))
    assert len(table) == 10
    for line in table:
        own = [row.value for row in rows if row.value.name == line["slice"] and row.value.processes > 0]
        assert int(line["nodes"]) == len(own)
        assert float(line["most"]) == max(row.resident for row in own)
        assert float(line["all"]) == pytest.approx(sum(row.resident for row in own))
    counts = [int(line["nodes"]) for line in table]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == 8


def test_feature_11_xml_of_the_real_dump(tmp_path: Path) -> None:
    tool = Xml(ToolContext("comon", tmp_path, ROWS), file="slices.xml")
    for row in nodes():
        tool.take(row)
    root = ElementTree.parse(tmp_path / "slices.xml").getroot()
    assert len(root.findall("item/value/name")) == 244
