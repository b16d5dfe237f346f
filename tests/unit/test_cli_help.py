"""Each command says what it is for and how it is called; each example is one that it would take. Nothing is run."""

from __future__ import annotations

import re

import click
import pytest

from tests.fixtures.blocks import Block, commands
from tests.fixtures.command_tree import misread, tree

CONTEXTS = list(tree())
TITLES = ("Examples:", "First steps:")
COMMAND = re.compile(r"""(?:[^'" ]|[ ](?![ ])|'[^']*'|"[^"]*")*""")


def path(context: click.Context) -> str:
    return context.command_path


def examples(text: str) -> list[str]:
    """The lines below the title, without the notes behind them: those stand apart by two spaces."""
    lines = iter(text.splitlines())
    if not any(line.strip() in TITLES for line in lines):
        return []
    found = []
    for line in lines:
        if not line.strip():
            break
        found.append(COMMAND.match(line.strip())[0].rstrip())
    return found


def called(lines: list[str], where: str) -> list[list[str]]:
    """The words of each `vagus` command in lines of shell, also of those within \"$(...)\"."""
    text = re.sub(r'(.*?)"?\$\((.*?)\)"?', r"\2\n\g<1>0", "\n".join(lines))
    return [words for _, words in commands(Block(where, 1, "sh", "", "", text))]


@pytest.mark.parametrize("context", CONTEXTS, ids=path)
def test_each_command_has_help_and_an_example_that_it_takes(context: click.Context) -> None:
    command = context.command
    assert (command.help or "").strip(), "no help"
    lines = examples(f"{command.help}\n\n{command.epilog or ''}".replace("\b\n", ""))
    found = called(lines, context.command_path)
    assert found, f"`{context.command_path} --help` shows no example"
    assert [f"{' '.join(words)}: {why}" for words in found if (why := misread(words))] == []


@pytest.mark.parametrize("context", CONTEXTS, ids=path)
def test_each_example_shows_this_command(context: click.Context) -> None:
    """At least one of them: what was copied from the neighbour says nothing about this one."""
    lines = examples(f"{context.command.help}\n\n{context.command.epilog or ''}".replace("\b\n", ""))
    own = context.command_path.split()[1:]
    short = own[:1] if own[:2] in (["health", "show"], ["decide", "draw"], ["health", "client"]) else own
    assert any(words[: len(short)] == short for words in called(lines, context.command_path))


NO_JSON = {
    "plot": "a picture; its numbers: `vagus query --json`",
    "traces graph": "a picture; its spans: `vagus traces show --json`",
    "feed replay": "its lines are JSON",
    "health client": "a prompt; what is called there has it",
    "health help": "help",
    "health exit": "prints nothing",
    "config new": "a document, in the form that --format says",
    "config schema": "its document is JSON",
}


@pytest.mark.parametrize("context", CONTEXTS, ids=path)
def test_what_prints_data_prints_it_as_json_too(context: click.Context) -> None:
    if isinstance(context.command, click.Group):
        return
    name = context.command_path.partition(" ")[2]
    has = any("--json" in param.opts for param in context.command.get_params(context))
    assert has != (name in NO_JSON)


@pytest.mark.parametrize("context", CONTEXTS, ids=path)
@pytest.mark.parametrize("width", [40, 80, 110])
def test_nothing_is_cut_off(context: click.Context, width: int) -> None:
    context.terminal_width = width
    shown = context.command.get_help(context).partition("\n\n")[2]  # without the usage, in which ... is a repetition
    assert not [line for line in shown.splitlines() if line.startswith("  ") and line.endswith("...")]
    for name in context.command.list_commands(context) if isinstance(context.command, click.Group) else ():
        assert re.search(rf"^  {re.escape(name)}\b", shown, re.M), name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("status --jsno", "vagus status: No such option '--jsno'"),
        ("query --since 1m", "vagus query: Missing argument 'SELECTOR'"),
        ("query host.cpu --since soon", "vagus query: .*soon"),
        ("job stop a b", "vagus job stop takes no 'b'"),
        ("store exprot", "vagus store: No such command 'exprot'. Did you mean 'export'"),
        ("traces list --limit many", "vagus traces list: .*many"),
    ],
)
def test_what_has_rotted_is_found(words: str, said: str) -> None:
    assert re.match(said, misread(words.split()))


def test_notes_and_pipes_are_no_words() -> None:
    text = (
        'A.\n\nExamples:\n  vagus status --json | jq .x\n  vagus up --arm          may act\n  eval "$(vagus version)"\n'
    )
    assert called(examples(text), "t") == [["status", "--json"], ["up", "--arm"], ["version"]]
