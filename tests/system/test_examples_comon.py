"""examples/feeds/comon with twelve stand-in nodes: the configuration's tables, queries, alerts; the talk's program."""

from __future__ import annotations

import csv
import importlib.util
import json
import sqlite3
import tarfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from heapq import nsmallest
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from comon_stand_ins import LOADS, LOW_DISK, OFF_CLOCK, StandIns, stand_ins
from conftest import PATIENCE

import vagus
from vagus.cli import cli

pytestmark = pytest.mark.system

EXAMPLE = Path(__file__).parents[2] / "examples" / "feeds" / "comon"
WITHIN_S = 30.0 * PATIENCE


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIns]:
    with stand_ins(tmp_path_factory.mktemp("comon")) as running:
        yield running


@pytest.fixture(scope="module")
def folder(nodes: StandIns, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `vagus feed run comon.yaml --once` left its files; the nodes are the stand-ins."""
    text = (EXAMPLE / "comon.yaml").read_text()
    for ours, theirs in (
        ("gateway:/v1/comon/nodes", f"file:{nodes.nodelist}"),
        ("gateway:/v1/comon?node={host}", "http://{host}/"),
        ("gateway:/v1/comon/slices?node={host}", "http://{host}/slices"),
        ("for: 1m\n", "for: 0s\n"),  # a single tick holds for no time
    ):
        assert ours in text
        text = text.replace(ours, theirs)
    path = tmp_path_factory.mktemp("run")
    (path / "comon.yaml").write_text(text)
    done = CliRunner().invoke(cli, ["feed", "run", str(path / "comon.yaml"), "--once", "--folder", str(path / "out")])
    assert (done.exit_code, done.exception) == (0, None), done.output
    return path / "out"


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def by_load() -> list[int]:
    return sorted(range(len(LOADS)), key=LOADS.__getitem__)


def test_the_node_centric_table_is_ordered_and_has_who_is_silent(folder: Path, nodes: StandIns) -> None:
    rows = table(folder / "comon" / "nodes.csv")
    assert [row["node"] for row in rows] == [*(f"node{number}" for number in by_load()), ""]
    assert [float(row["load"]) for row in rows[:-1]] == sorted(LOADS)
    assert rows[-1]["location"] == f"http://{nodes.silent}/"
    assert (rows[0]["net"], rows[-1]["net"]) == ("ok", "refused")


def test_a_query_chooses_where_something_can_run(folder: Path) -> None:
    wanted = [n for n in by_load() if LOADS[n] < 5 and n not in (LOW_DISK, OFF_CLOCK)]
    assert [row["Name"] for row in table(folder / "comon" / "usable.csv")] == [f"node{n}" for n in wanted]


def test_the_slice_centric_table_adds_up_over_all_nodes(folder: Path) -> None:
    rows = table(folder / "slices" / "slices.csv")
    assert len(rows) == len(LOADS) + 1
    assert rows[0]["slice"] == "princeton_comon"
    own = {row["slice"]: row for row in rows}
    assert {key: float(own["princeton_comon"][key]) for key in ("nodes", "processes", "cpu", "mb")} == {
        "nodes": 12, "processes": 24, "cpu": 12, "mb": 120,
    }  # fmt: skip
    assert (own["slice3"]["nodes"], float(own["slice3"]["cpu"])) == ("1", 3)


def test_alerts_rss_archive_profile_and_database(folder: Path) -> None:
    told = (folder / "comon" / "alerts.log").read_text()
    for number in (n for n, load in enumerate(LOADS) if load > 8):
        assert f"node{number} has load {LOADS[number]:g}" in told
    assert f"node{LOW_DISK} has 0.5 GB left" in told
    assert f"the clock of node{OFF_CLOCK} is off by 90 s" in told
    assert len(told.splitlines()) == sum(load > 8 for load in LOADS) + 2
    titles = [one.text for one in ElementTree.parse(folder / "comon" / "disk.rss").iterfind("channel/item/title")]
    assert titles == [f"node{LOW_DISK} has 0.5 GB left"]
    [archive] = (folder / "comon" / "archive").glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        bodies = [opened.extractfile(name).read() for name in opened.getnames()]  # type: ignore[union-attr]
    assert sum(b"Name: node" in body for body in bodies) == len(LOADS)
    profile = ElementTree.parse(folder / "comon" / "accum.xml").getroot()
    assert profile.find(".//net_errors/error") is not None
    with sqlite3.connect(folder / "comon" / "comon.db") as database:
        [[good]] = database.execute("select count(*) from comon where net = 'ok'").fetchall()
        [[failed]] = database.execute("select count(*) from comon where net = 'refused'").fetchall()
    database.close()
    assert (good, failed) == (len(LOADS), 1)


def test_the_archive_answers_queries_afterwards(folder: Path) -> None:
    file = str(folder.parent / "comon.yaml")
    chosen = ["--name", "comon", "--folder", str(folder), "--columns", "Name,5minload", "--json"]
    done = CliRunner().invoke(cli, ["feed", "select", file, "5minload > 8 || Drift > 1m", *chosen])
    found = {row["Name"] for row in map(json.loads, done.stdout.splitlines())}
    assert found == {f"node{n}" for n, load in enumerate(LOADS) if load > 8 or n == OFF_CLOCK}


def program() -> Any:
    spec = importlib.util.spec_from_file_location("comon_example", EXAMPLE / "comon.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("declared", ["simple", "comon"])
def test_feature_12_the_10_least_loaded_nodes(nodes: StandIns, declared: str) -> None:
    comon = program()
    if declared == "simple":
        feed = comon.simple([f"http://{host}" for host in (*nodes.hosts, nodes.silent)], "500ms")
    else:
        feed = comon.comon(f"file:{nodes.nodelist}", "http://{}", "500ms")
    wanted = nsmallest(10, zip(LOADS, (f"http://{host}" for host in nodes.hosts), strict=True))
    give_up_s = time.monotonic() + WITHIN_S
    with vagus.stream(feed, "comon") as items:
        for found in comon.find_nodes(items, 1.0):
            if found == wanted or time.monotonic() > give_up_s:
                break
    assert found == wanted
