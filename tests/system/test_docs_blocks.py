"""Every page's commands and programs, as a reader runs them: in order, in one folder, on a node of `vagus up`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from conftest import PATIENCE, eventually

from tests.fixtures.blocks import blocks
from tests.fixtures.pages import RUN, script

ROOT = Path(__file__).parents[2]
GIVEN = ROOT / "tests/pages"  # what pages take as given: PAGE.py and PAGE.sh, and settings of the node
DEFAULT = "127.0.0.1:7117"  # the gateway, as pages call it
PAGE_S = 150.0
EXAMPLES = ("example-gentle", "example-foresee", "transfer")  # controllers of vagus.yaml
PROGRAMS = ("curl", "jq", "openssl")
ROOT_ONLY = ("docs/inject.md",)  # strains a process in its group
pytestmark = [pytest.mark.system, pytest.mark.timeout(PAGE_S + 90)]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def runs(path: Path) -> bool:
    return any(b.language in RUN and b.mark != "shown by" for b in blocks(name(path), path.read_text()))


ALL = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
PAGES = [path for path in [*ALL, *sorted((ROOT / "examples").rglob("*.md"))] if runs(path)]


@dataclass(frozen=True)
class Node:
    """A node of vagus: how its programs are run, and its gateway."""

    environment: dict[str, str]
    name: str
    gateway: str


def vagus(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vagus", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180 * PATIENCE,
        check=False,
    )


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    home = Path(tempfile.mkdtemp(prefix="vagus-test-"))
    (home / "user").mkdir()
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home / "user"),
        "VAGUS_HOME": str(home),
        "BROWSER": "curl --silent --location --output page.html %s",  # what `--open` opens
        "COLUMNS": "160",
    }

    try:
        up = vagus(environment, "up", "-c", str(GIVEN / "vagus.yaml"))
        assert up.returncode == 0, up.stdout + up.stderr
        (endpoint,) = home.glob("nodes/*/gateway.json")
        yield Node(environment, endpoint.parent.name, json.loads(endpoint.read_text())["url"].removeprefix("http://"))
    finally:
        down = vagus(environment, "down")
        shutil.rmtree(home, ignore_errors=True)
    assert down.returncode == 0, down.stdout + down.stderr


def typed(path: Path, node: Node, folder: Path) -> str:
    """What is typed into a shell in this folder, into which goes what the page needs of the checkout."""
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "docs").mkdir()
    given = {part: GIVEN / f"{path.relative_to(ROOT).with_suffix('')}.{part}" for part in ("sh", "py")}
    shell, python = (given[part].read_text() if given[part].exists() else "" for part in ("sh", "py"))
    words = {DEFAULT: node.gateway}
    for page_s, here in (yaml.safe_load((GIVEN / "names.yaml").read_text()).get(name(path), {})).items():
        words[page_s] = here.format(node=node.name, gateway=node.gateway)
    return script(blocks(name(path), path.read_text()), folder, words, shell, python)


def test_no_controller_of_the_examples_fails(node: Node) -> None:
    """Those of vagus.yaml run beside the pages, dry."""

    def stepped() -> bool:
        done = vagus(node.environment, "status", "--json")
        actors = {a["name"].split(":")[2]: a for a in json.loads(done.stdout)["actors"] if a["role"] == "controller"}
        return all((actors[f"{one}@{node.name}"]["figures"]["steps"]) > 0 for one in EXAMPLES)

    eventually(stepped, 60.0, "each has made a step")


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_a_page_does_what_it_says(path: Path, node: Node, tmp_path: Path) -> None:
    (tmp_path / "typed.sh").write_text(text := typed(path, node, tmp_path))
    if name(path) in ROOT_ONLY and os.geteuid() != 0:
        pytest.skip("needs root: puts a strain into a process's group")
    missing = [one for one in PROGRAMS if one in text.split() and shutil.which(one) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    with open(tmp_path / "said", "w+") as said:
        process = subprocess.Popen(
            ["bash", tmp_path / "typed.sh"],
            cwd=tmp_path,
            env=node.environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(PAGE_S * PATIENCE)
        except subprocess.TimeoutExpired:
            status = -1
        finally:
            with contextlib.suppress(ProcessLookupError):  # with what it left in the background
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    words = (tmp_path / "said").read_text(errors="replace")
    at = [line for line in words.splitlines() if line.startswith(f"+ : {name(path)}:")][-1:]
    assert status == 0, f"{at}: {'it did not end' if status < 0 else f'exit {status}'}\n{words[-4000:]}"


def test_what_is_given_belongs_to_a_page() -> None:
    left = {p.relative_to(GIVEN).with_suffix("") for p in GIVEN.rglob("*") if p.is_file() and p.suffix != ".yaml"}
    assert left <= {p.relative_to(ROOT).with_suffix("") for p in PAGES}
