"""Three kinds of user, each with an example that runs: configuration only, map and fold, a tool of one's own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE
from mypy import api as mypy

pytestmark = pytest.mark.system

EXAMPLES = Path(__file__).parents[2] / "examples/feeds"
# what is remembered by other options is of no use to these, and the other way round
MYPY = (
    "--strict",
    "--config-file=",
    *("--follow-imports=silent", "--cache-dir", ".mypy_cache/examples"),
)
TOML = (EXAMPLES / "tools/pyproject.toml").read_text()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("programs", "tools"):
        shutil.copytree(EXAMPLES / name, tmp_path / name)
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "VAGUS_HOME": str(folder / "home"), "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        timeout=60 * PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_configuration_only(tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "vagus.yaml", tmp_path)
    done = run(tmp_path, "-m", "vagus", "feed", "run", "vagus.yaml", "load", "--once", "--json")
    [item] = map(json.loads, done.stdout.splitlines())
    assert item["value"]["load1"] >= 0


def test_a_fold(folder: Path) -> None:
    """On a busy machine some of the four are missed: those have no value."""
    told = run(folder / "programs", "average.py", "--every", "0.5s", "--items", "4").stdout
    assert re.fullmatch(r"average load of [1-4] items: \d+\.\d\d\n", told)


def test_slices_of_time(folder: Path) -> None:
    told = run(folder / "programs", "busiest.py", "--every", "0.1s", "--window", "0.6", "--windows", "2").stdout
    lines = told.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert re.fullmatch(r"cpu\d+ \d+(, cpu\d+ \d+)*", line)


def test_functions_of_a_user_in_a_file(folder: Path) -> None:
    command = ("-m", "vagus", "feed", "run", "useralert.yaml", "--faster", "100", "--for", "1.5s")
    done = run(folder / "programs", *command)
    assert "10 items so far" in done.stderr
    assert "raised" not in done.stderr


def test_a_tool_of_ones_own_by_its_class(folder: Path) -> None:
    run(folder / "tools", "-m", "vagus", "feed", "run", "longest.yaml", "--once")
    told = (folder / "tools/longest.feeds/mounts/longest.txt").read_text()
    assert re.search(r"folder: longest '/.* 0 broken", told)
    assert re.search(r"dump: longest '', from 0 to 0, ", told)


def test_a_tool_that_is_nowhere_is_told_where_it_could_be(folder: Path) -> None:
    from vagus.errors import ConfigError
    from vagus.feeds import ToolContext
    from vagus.feeds.tools import make_tool

    with pytest.raises(ConfigError, match=r"longest_of_all.*put its folder on PYTHONPATH"):
        make_tool("longest_of_all:Longest", {}, ToolContext(feed="f", folder=folder))


def test_a_tool_of_ones_own_by_its_name(folder: Path) -> None:
    """What `pip install .` leaves behind is the module and its metadata."""
    tools = folder / "tools"
    [group] = re.findall(r'^\[project\.entry-points\."(.*)"\]$', TOML, re.MULTILINE)
    [(name, value)] = re.findall(r'^(\w+) = "(\w+:\w+)"$', TOML, re.MULTILINE)
    metadata = tools / "vagus_longest-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: vagus-longest\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
    settings = (tools / "longest.yaml").read_text()
    by_name = settings.replace("- longest:Longest: {file: longest.txt}", "- longest")
    assert by_name != settings
    (tools / "named.yaml").write_text(by_name)
    run(tools, "-m", "vagus", "feed", "run", "named.yaml", "--once")
    assert "folder: longest '/" in (tools / "named.feeds/mounts/longest.txt").read_text()
    told = json.loads(run(tools, "-m", "vagus", "feed", "tools", "longest", "--json").stdout)
    assert [option["name"] for option in told["options"]] == ["file"]


def test_mypy_understands_the_programs() -> None:
    paths = [str(EXAMPLES / name) for name in ("programs/average.py", "programs/busiest.py", "programs/useralert.py")]
    told, _, status = mypy.run([*MYPY, *paths])
    assert status == 0, told
