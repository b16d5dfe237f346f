"""The docs as a site: built strictly, once, and looked at from all sides; and the parts that it is made by."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest

import vagus
from docsite import check
from docsite.flavour import adapted
from docsite.hook import without
from docsite.shown import Shown, links, relinked
from docsite.words import code, prose, table
from vagus import model
from vagus.cli import cli

ROOT = Path(__file__).resolve().parents[2]


def text_of(file: Path) -> str:
    """What a page says, without its tags."""
    body = file.read_text("utf-8").partition("<article")[2].partition("</article>")[0]
    return html.unescape(re.sub(r"<[^>]+>", "", body))


def commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    yield " ".join(path), command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path[-1])
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, (*path, name))


@pytest.mark.timeout(600)
def test_the_site_builds_strictly_and_has_everything(tmp_path: Path) -> None:
    """One test, since each worker would build it anew."""
    site = tmp_path / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert check.problems(site) == []

    told = {file.stem: text_of(file) for file in (site / "reference" / "cli").glob("*.html")}
    for words, command in commands(cli, ("vagus",)):
        page = next(
            (text for text in told.values() if f"\n{words}¶" in text), told["index"] if words == "vagus" else ""
        )
        assert page, f"no page has {words}"
        for option in (name for param in command.params for name in param.opts if name.startswith("--")):
            assert option in page, f"{words} {option}"

    for kind in ("vagus", "controller", "campaign", "train", "app", "variants"):
        page = (site / "reference" / "config" / f"{kind}.html").read_text("utf-8")
        schema = json.loads((ROOT / "schemas" / f"{kind}.schema.json").read_text("utf-8"))
        for structure in schema["$defs"].values():
            for key in structure["properties"]:
                assert f"<td><code>{key}</code></td>" in page, f"{kind}.yaml: {structure['title']}.{key}"

    routes = text_of(site / "reference" / "http.html")
    for path, operations in json.loads((ROOT / "schemas" / "openapi.json").read_text("utf-8"))["paths"].items():
        for method in operations if not path.endswith((".js", ".css", ".svg")) else ():
            assert f"{method.upper()} {path}" in routes

    records = (site / "reference" / "records.html").read_text("utf-8")
    for name, record in vars(model).items():
        if isinstance(record, type) and issubclass(record, msgspec.Struct) and record.__module__ == model.__name__:
            assert f'id="{name.lower()}"' in records
            for field in record.__struct_fields__:
                assert f"<td><code>{field}</code></td>" in records, f"{name}.{field}"

    python = (site / "reference" / "python.html").read_text("utf-8")
    for name in vagus.__all__:
        assert name.startswith("__") or f'id="{name.lower()}"' in python, name


# --- what is checked of a site ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="gone.html">x</a>', "index.html: gone.html leads nowhere"),
        ('<a href="b.html#gone">x</a>', "index.html: b.html#gone: b.html has no such place"),
        ('<a href="#gone">x</a>', "index.html: #gone: index.html has no such place"),
        ('<script src="https://example.org/x.js"></script>', "index.html: loads https://example.org/x.js"),
        ('<link rel=stylesheet href="//example.org/x.css">', "index.html: loads //example.org/x.css"),
        ('<img alt="a" src="gone.png">', "index.html: loads gone.png, which is not there"),
        ("<style>@import 'https://example.org/f.css'</style>", "index.html: loads https://example.org/f.css"),
    ],
)
def test_what_is_wrong_with_a_site_is_told(tmp_path: Path, body: str, problem: str) -> None:
    (tmp_path / "b.html").write_text('<h1 id="there">b</h1>')
    (tmp_path / "index.html").write_text('<a href="b.html#there">b</a><a href="https://example.org">c</a>' + body)
    assert check.problems(tmp_path) == [problem]


def test_style_sheets_load_nothing_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>x</p>")
    (tmp_path / "a.css").write_text("@font-face { src: url(https://example.org/f.woff2) } i { background: url(a.png) }")
    assert check.problems(tmp_path) == ["a.css: loads https://example.org/f.woff2"]


def test_an_empty_folder_is_no_site(tmp_path: Path) -> None:
    assert check.problems(tmp_path) == [f"{tmp_path}: no pages"]


# --- links out of docs/ ----------------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for path, text in {
        "docs/a.md": "[code](../examples/x/run.py) [folder](../examples/x) [b](b.md#c) `[no](../gone)`",
        "docs/b.md": "# B",
        "examples/x/README.md": "# X\n\nback to [a](../../docs/a.md#x)",
        "examples/x/run.py": "print('```')",
        "examples/x/data.bin": "\udcff",
        "README.md": "# R\n\n[a](docs/a.md)",
    }.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
    return tmp_path


def test_what_pages_link_to_is_shown(repository: Path) -> None:
    shown = Shown(repository, ["a.md", "b.md"])
    assert sorted(shown.pages) == ["repo/README.md", "repo/examples/x/README.md", "repo/examples/x/run.py.md"]
    assert "````python\nprint('```')\n````" in shown.pages["repo/examples/x/run.py.md"]
    assert "- [`data.bin`](data.bin)\n- [`run.py`](run.py)" in shown.pages["repo/examples/x/README.md"]
    assert shown.files == {"repo/examples/x/data.bin": repository / "examples/x/data.bin"}


def test_links_lead_to_what_is_shown(repository: Path) -> None:
    shown = Shown(repository, ["a.md", "b.md"])
    text = (repository / "docs/a.md").read_text()
    assert relinked(text, "docs/a.md", "a.md", shown.place_of) == (
        "[code](repo/examples/x/run.py.md) [folder](repo/examples/x/README.md) [b](b.md#c) `[no](../gone)`"
    )
    here = "repo/examples/x/README.md"
    assert "[a](../../../a.md#x)" in relinked(shown.pages[here], "examples/x/README.md", here, shown.place_of)
    assert links("![i](a.png) [x](https://example.org) [y](#y)") == ["a.png", "#y"]


def test_a_page_that_is_not_there_yet_is_left_out_of_the_navigation() -> None:
    nav = [{"A": "a.md"}, {"B": ["b.md", {"C": "c.md"}, {"D": "d.md"}]}]
    assert without(nav, {"a.md", "c.md"}) == [{"B": ["b.md", {"D": "d.md"}]}]
    assert without(nav, set()) == nav


# --- Markdown --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("text:\n- a\n- b\n\nmore", "text:\n\n-   a\n-   b\n\nmore"),
        (
            "1. a\n   b\n\n   ```sh\n   x\n     y\n   ```\n2. c",
            "1.  a\n    b\n\n    ```sh\n    x\n      y\n    ```\n\n2.  c",
        ),
        ("text\n| a |\n|---|\n| b |", "text\n\n| a |\n|---|\n| b |"),
        ("- a\n  - b\n- c", "-   a\n    -   b\n-   c"),
        ("<!-- file: x.py -->\n```python\n- 1\n```", '```python title="x.py"\n- 1\n```'),
        ("- a\n\ntext\n- b", "-   a\n\ntext\n\n-   b"),
    ],
)
def test_markdown_is_read_as_on_github(given: str, wanted: str) -> None:
    assert adapted(given) == wanted


def test_text_of_the_code_is_no_markup() -> None:
    assert prose("a *b* [c](d) <e> `f*g` x_y") == r"a \*b\* \[c\](d) &lt;e&gt; `f*g` x\_y"
    assert prose("1. is no list") == r"1\. is no list"
    assert code("a`b") == "``a`b``"
    assert table(("A", "B"), [(code("x|y"), ""), ("z", "")]) == (
        "| A |\n| --- |\n| <code>x&#124;<wbr>y</code> |\n| z |"
    )
