"""Feature 11: each tool from a configuration file alone; what one run archived, another feeds to tools once more."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner

from vagus.cli import cli
from vagus.feeds.containers import archived

FEEDS = """
feeds:
- name: comon
  source: {{all: ["file:{0}/node1", "file:{0}/node2", "file:{0}/none"]}}
  every: 1s
  timeout: 1s
  format: json
  tools:
  - archive: {{compress: xz}}
  - alert: {{when: "load1 > 5", file: alerts.jsonl, message: "{{location}} has load {{load1}}"}}
  - db: {{file: comon.db}}
  - rss: {{file: low.rss, title: Low disk, path: disk_free, when: "disk_free < 5"}}
  - plot: {{file: load.png, fields: [load1], width: 300, height: 200}}
"""
AGAIN = """
feeds:
- {{name: comon, refeed: "{0}/first/comon/archive/", format: json, tools: [db: {{file: again.db}}]}}
"""


def run(*args: str) -> str:
    result = CliRunner().invoke(cli, ["feed", "run", *args])
    assert result.exit_code == 0, result.output
    return result.output


def rows(path: Path) -> list[tuple[str, str, float | None]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT location, net, load1 FROM comon ORDER BY location").fetchall()
    finally:
        connection.close()


def test_feature_11_tools_from_a_file_alone_and_what_they_archived_fed_once_more(tmp_path: Path) -> None:
    (tmp_path / "node1").write_text('{"load1": 6.5, "disk_free": 3}')
    (tmp_path / "node2").write_text('{"load1": 1, "disk_free": 30}')
    with_rrd = shutil.which("rrdtool") is not None
    (tmp_path / "comon.yaml").write_text(FEEDS.format(tmp_path) + ("  - rrd: {fields: [load1]}\n" if with_rrd else ""))
    run(str(tmp_path / "comon.yaml"), "--once", "--folder", str(tmp_path / "first"))
    made = tmp_path / "first/comon"
    assert len(list(archived(made / "archive"))) == 3
    [told] = map(json.loads, (made / "alerts.jsonl").read_text().splitlines())
    assert told["text"].endswith("/node1 has load 6.5")
    assert "<title>3</title>" in (made / "low.rss").read_text()
    assert (made / "load.png").read_bytes().startswith(b"\x89PNG")
    assert not with_rrd or len(list((made / "rrd").glob("*.rrd"))) == 2
    found = rows(made / "comon.db")
    assert [(location.rpartition("/")[2], load) for location, _, load in found] == [
        ("node1", 6.5),
        ("node2", 1),
        ("none", None),
    ]
    assert found[2][1] != "ok"
    (tmp_path / "again.yaml").write_text(AGAIN.format(tmp_path))
    run(str(tmp_path / "again.yaml"), "--once", "--folder", str(tmp_path / "second"))
    assert rows(tmp_path / "second/comon/again.db") == found


@pytest.mark.parametrize(
    ("tool", "problem"),
    [
        ("archive: {compress: rar}", "compress"),
        ("rss: {file: x}", "title"),
        ("db: {file: ../x}", "leaves its folder"),
        ("alert: {when: 'a >'}", "expression"),
        ("plot: {file: x.gif}", "PNG|png"),
        ("alert: {function: 'no.module:f'}", "does not load"),
    ],
)
def test_feature_11_a_wrong_tool_is_one_line_that_names_it(tmp_path: Path, tool: str, problem: str) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(f"feeds: [{{name: comon, source: {{all: ['file:/x']}}, tools: [{tool}]}}]")
    result = CliRunner().invoke(cli, ["feed", "run", str(path), "--once", "--folder", str(tmp_path / "out")])
    assert result.exit_code != 0
    assert "Traceback" not in result.output
    import re

    assert re.search(f"'comon'.*tool {tool.partition(':')[0]}.*({problem})", result.output, re.DOTALL)


def test_a_refeed_of_what_is_archived_as_another_feed_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "node").write_text('{"load1": 6.5}')
    (tmp_path / "f.yaml").write_text(
        f"feeds: [{{name: comon, source: {{all: ['file:{tmp_path}/node']}}, format: json}}]"
    )
    run(str(tmp_path / "f.yaml"), "--once", "--folder", str(tmp_path / "first"))
    again = tmp_path / "again.yaml"
    again.write_text(f"feeds: [{{name: again, refeed: '{tmp_path}/first/', format: json}}]")
    result = CliRunner().invoke(cli, ["feed", "run", str(again), "--once", "--folder", str(tmp_path / "second")])
    assert result.exit_code != 0
    assert "has nothing of 'again': there are items of comon" in str(result.exception) + result.output
    again.write_text(f"feeds: [{{name: again, of: {{name: comon, refeed: '{tmp_path}/first/', format: json}}}}]")
    assert "again: 1 item, 1 good" in run(str(again), "--once", "--folder", str(tmp_path / "third"))
