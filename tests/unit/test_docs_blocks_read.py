"""Settings in the pages are read by what reads them: YAML by `vagus config check`, Prometheus' by promtool."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from tests.fixtures.blocks import Block, blocks
from vagus.cli import cli

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("examples/**/*.md")]
)
FOUND = [b for page in PAGES for b in blocks(str(page.relative_to(ROOT)), page.read_text())]
SETTINGS = [b for b in FOUND if b.language == "yaml"]
PROMETHEUS = [b for b in SETTINGS if "scrape_configs:" in b.text]


def write(block: Block, folder: Path) -> Path:
    """The block as a file, beside what it may name: the files of the page's other blocks."""
    for other in FOUND:
        if other.page == block.page and other.mark == "file":
            (folder / other.value).write_text(other.text)
    path = folder / "settings.yaml"
    path.write_text(block.text)
    return path


@pytest.mark.parametrize("block", [b for b in SETTINGS if b not in PROMETHEUS], ids=lambda b: b.place)
def test_vagus_reads_it(block: Block, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["config", "check", str(write(block, tmp_path))])
    assert (done.exit_code, "a right" in done.output) == (0, True), f"{block.place}: {done.output} {done.exception}"


@pytest.mark.parametrize("block", PROMETHEUS, ids=lambda b: b.place)
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing (Debian: prometheus)")
def test_prometheus_reads_it(block: Block, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    path = tmp_path / "prometheus.yml"
    path.write_text(block.text.replace("/var/lib/vagus/nodes/n1/token", str(tmp_path / "token")))
    done = subprocess.run(
        ["promtool", "check", "config", path], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{block.place}: {done.stdout}{done.stderr}"


def test_a_wrong_one_is_refused(tmp_path: Path) -> None:
    (block,) = blocks("p.md", "```yaml\ndecide: {tock: 1s}\n```\n")
    done = CliRunner().invoke(cli, ["config", "check", str(write(block, tmp_path))])
    assert done.exit_code == 1


def test_each_language_has_its_reader() -> None:
    """What neither a page's run nor this file reads says which test does."""
    for block in FOUND:
        if block.language == "nginx":
            assert block.mark == "shown by", block.place
    assert {type(next(yaml.safe_load_all(b.text))) for b in SETTINGS} == {dict}
