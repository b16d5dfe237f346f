"""`vagus feed accum` and `select` over CoMon's slice dump of April 2007, as a person runs them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from vagus.cli import cli

DUMP = Path(__file__).parents[2].parent / "shared" / "data" / "comon" / "comon.txt"

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not DUMP.is_file(), reason=f"no slice dump at {DUMP}"),
]


def ask(*args: str) -> str:
    done = CliRunner().invoke(cli, ["feed", *args])
    assert (done.exit_code, done.exception) == (0, None), done.output
    return done.stdout


def rows() -> list[tuple[str, list[str]]]:
    """The node and the columns of each row, found without vagus."""
    found, node = [], ""
    for line in DUMP.read_text().splitlines():
        words = line.split()
        node = words[1] if words[:1] == ["Node:"] else node
        if len(words) == 13:
            found.append((node, words))
    return found


def test_feature_11_the_profile_of_a_file_with_no_feed_at_all() -> None:
    found = json.loads(ask("accum", str(DUMP), "--format", "comon_slices", "--json"))
    places = {place["path"]: place for place in found["places"]}
    assert (found["items"], found["good"], found["bad"]) == (30, 30, 0)
    assert (places["slices"]["good"], places["slices"]["missing"]) == (8, 22)
    assert places["slices[].name"]["distinct"] == len({words[12] for _, words in rows()})
    assert places["slices[].cpu"]["max"] == max(float(words[8]) for _, words in rows())


def test_feature_15_a_query_over_slices_says_on_which_node() -> None:
    query = ("cpu > 10 || resident > 100", "--format", "comon_slices", "--flatten", "slices")
    out = ask("select", str(DUMP), *query, "--columns", "node,name,cpu,resident", "--csv")
    found = [(row["node"], row["name"]) for row in csv.DictReader(io.StringIO(out))]
    wanted = [(node, words[12]) for node, words in rows() if float(words[8]) > 10 or float(words[6]) > 100]
    assert found == wanted
    assert len(found) == 17
