"""The slice dump that CoMon wrote in April 2007, of which it is known how much is in it."""

from __future__ import annotations

import collections
from pathlib import Path

import pytest

from vagus.feeds import FORMATS, Data

DUMP = Path(__file__).parents[2].parent / "shared" / "data" / "comon" / "comon.txt"

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not DUMP.is_file(), reason=f"no slice dump at {DUMP}"),
]


def test_feature_15_the_known_nodes_and_rows() -> None:
    body = DUMP.read_bytes()
    fmt = FORMATS.make("comon_slices")
    value, found = fmt.parse(body)
    assert (found.code, found.errors) == (Data.GOOD, 0)
    assert len(value) == 30
    assert sum(one.slices is None for one in value) == 22
    rows = [row for one in value for row in one.slices or ()]
    assert len(rows) == 244
    assert {one.start for one in value} == {1177560002}
    slices = collections.Counter(row.name for row in rows)
    assert slices["princeton_comon"] == slices["root"] == 8
    assert all(0 <= row.memory <= 100 and row.resident <= row.virtual * 1.1 for row in rows)
    assert fmt.parse(fmt.print(value))[0] == value


def test_feature_10_each_broken_row_is_counted_and_no_other_lost() -> None:
    body = DUMP.read_bytes()
    broken = body.replace(b" princeton_comon\n", b"\n")
    value, found = FORMATS.make("comon_slices").parse(broken)
    assert found.errors == 8
    rows = [row for one in value for row in one.slices or ()]
    assert len(rows) == 244
    assert sum(row.name is None for row in rows) == 8
