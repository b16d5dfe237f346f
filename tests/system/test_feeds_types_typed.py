"""mypy, strict, understands records: their constructors, their fields, and what formats of them give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.system  # mypy reads the whole package: seconds

ROOT = Path(__file__).parents[2]
PROGRAM = """
from typing_extensions import assert_type
from vagus.feeds import Descriptor, Format, Int, List, Record, U8, as_format, entries, entry, field, lines, one_of

class CoMon(Record, style="entries", sep=": "):
    date: float = entry("Date")
    vm_stat: list[int] = entries("VMStat")
    rwfs: int | None = entry("RWFS", check=lambda v: v >= 0)

class Comment(Record):
    text: str = field(before="#")

class Node(Record, layout="{host} {port}"):
    host: str
    port: U8

report = CoMon(1.0, [1], None)
assert_type(report.vm_stat, list[int])
assert_type(report.rwfs, int | None)
assert_type(Node("a", 1).port, int)
assert_type(CoMon.parse(b""), tuple[CoMon | None, Descriptor])
assert_type(CoMon.print(report), bytes)
as_comon: Format[CoMon] = as_format(CoMon)
as_nodes: Format[list[Comment | Node]] = lines(Comment | Node)
as_others: Format[list[Comment | Node]] = lines(one_of(Comment, Node))
as_numbers: Format[list[int]] = as_format(List(Int()))
WRONG
"""
WRONG = {
    'Node("a")': "Missing positional argument",
    "Node(1, 2)": "incompatible type",
    "report.date = 2.0": "read-only",
    "CoMon()": "Missing positional arguments",
    "report.no_such": "no attribute",
    "wrong: Format[Node] = as_format(CoMon)": "",
}


def test_feature_9_mypy_understands_records(tmp_path: Path) -> None:
    from mypy import api

    program = tmp_path / "program.py"
    begins = PROGRAM[: PROGRAM.index("WRONG")].count("\n") + 1
    program.write_text(PROGRAM.replace("WRONG", "\n".join(WRONG)))
    out, err, _ = api.run([
        "--strict", "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache"),
        "--no-error-summary", "--hide-error-context", str(program),
    ])  # fmt: skip
    assert not err, err
    told = {int(found[1]): found[2] for found in re.finditer(r"program\.py:(\d+): error: (.*)", out)}
    expected = dict(zip(range(begins, begins + len(WRONG)), WRONG.values(), strict=True))
    assert told.keys() == expected.keys(), out
    for line, words in expected.items():
        assert words in told[line], told[line]
