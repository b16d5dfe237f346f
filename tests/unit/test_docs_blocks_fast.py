"""Blocks of code in the pages: each can be read, and names only commands and options that there are. Nothing is run."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
import yaml

from tests.fixtures.blocks import Block, BlockError, blocks, commands
from tests.fixtures.command_tree import wrong_in

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.md")]
)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def read(block: Block) -> None:
    """What the language asks of a block, without running it."""
    if block.language == "python":
        ast.parse(block.text)
    elif block.language == "yaml":
        list(yaml.safe_load_all(block.text))
    elif block.language == "json":
        json.loads(block.text)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_block_can_be_read(path: Path) -> None:
    for block in blocks(name(path), path.read_text()):
        try:
            read(block)
        except (SyntaxError, ValueError, yaml.YAMLError) as e:
            pytest.fail(f"{block.place}: {block.language}: {e}")
        if block.mark == "shown by":
            tests = [ROOT / test for test in block.value.split(", ")]
            assert [str(test) for test in tests if not test.is_file()] == [], f"{block.place}: no such test"
            if block.language in ("sh", "console"):
                words = "\n".join(test.read_text() for test in tests)
                unknown = [place for place, said in commands(block) if not re.search(rf"\b{said[0]}\b", words)]
                assert unknown == [], f"{block.value} speaks of no such command"


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_commands_and_options_exist(path: Path) -> None:
    found = [c for b in blocks(name(path), path.read_text()) if b.language in ("sh", "console") for c in commands(b)]
    assert [f"{place}: {why}" for place, words in found if (why := wrong_in(words))] == []


def test_marks_and_places() -> None:
    text = (
        "a\n<!-- file: x.yaml -->\n```yaml\na: 1\n```\n<!-- run: exit 3 -->\n```sh\nvagus up \\\n  --arm | jq .\n```\n"
    )
    first, second = blocks("p.md", text)
    assert (first.place, first.mark, first.value, first.text) == ("p.md:4", "file", "x.yaml", "a: 1\n")
    assert (second.mark, second.value, list(commands(second))) == ("run", "exit 3", [("p.md:8", ["up", "--arm"])])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\n```\nb\n```\n", "p.md:2: a block without a language"),
        ("```cobol\n```\n", "p.md:1: unknown language 'cobol'"),
        ("a\n\n    ls\n", "p.md:3: indented by four"),
        ("```sh\nls\n", "p.md:1: a block that does not end"),
        ("<!-- runs: x -->\n```sh\n```\n", "p.md:1: unknown mark 'runs'"),
        ("<!-- run: twice -->\n```sh\n```\n", "p.md:1: the mark 'run' cannot be 'twice'"),
        ("<!-- file: ../x -->\n```sh\n```\n", "p.md:1: the mark 'file' cannot be '../x'"),
        ("<!-- run: background -->\n\n```sh\n```\n", "p.md:1: the mark 'run' has no block"),
        ("a\n<!-- run: background -->", "p.md:2: the mark 'run' has no block"),
    ],
)
def test_what_cannot_be_understood_says_where(text: str, said: str) -> None:
    with pytest.raises(BlockError, match=said):
        blocks("p.md", text)


def test_unknown_words_are_found() -> None:
    assert wrong_in(["status", "--json"]) == ""
    assert wrong_in(["status", "--jsno"]) == "vagus status has no option --jsno"
    assert wrong_in(["dashboard", "grafanna"]) == "vagus dashboard has no command grafanna"
