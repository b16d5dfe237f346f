"""One wording for a file that cannot be read: why, and what to do, whichever command is asked for it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.fixtures.command_tree import tree
from vagus.cli import cli
from vagus.errors import VagusError, unreadable, unwritable

COMMANDS = (
    "up -c {}",
    "run {}",
    "traces list --file {}",
    "forecast {}",
    "feed check {}",
    "feed accum {} --format csv",
    "feed accum {} --format combined_log",
    "health logtail kafka - --filter {}",
    "health serve --config {}",
    "localize {0} --normal {0}",
    "decide evaluate --file {}",
    "replay {}",
    "inject campaign {}",
    "train {}",
    "experiment app {}",
    "experiment slo --policies none --trace {0} --inject {0} -o out",
    "config check {}",
)


@pytest.mark.parametrize(
    ("code", "todo"),
    [
        (errno.EISDIR, "; name a file in it"),
        (errno.EACCES, "; give this user the right to read it, or run as its owner"),
        (errno.ENOENT, "; check the path"),
        (errno.EIO, ""),
    ],
)
def test_each_reason_has_its_next_step(code: int, todo: str) -> None:
    assert unreadable("/x/y", OSError(code, os.strerror(code))) == f"cannot read /x/y: {os.strerror(code)}{todo}"


def test_a_missing_file_says_where_it_was_looked_for_and_what_else(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    gone = FileNotFoundError(errno.ENOENT, "No such file or directory")
    assert unreadable(Path("y"), gone) == f"cannot read y: No such file or directory; looked for in {tmp_path}"
    assert unreadable("/y", gone, "name an app.yaml") == "cannot read /y: No such file or directory; name an app.yaml"
    assert unreadable("y", EOFError("it ends too early")) == "cannot read y: it ends too early"


def test_what_cannot_be_written_says_what_to_do() -> None:
    full, held = OSError(errno.ENOSPC, "No space left on device"), PermissionError(errno.EACCES, "Permission denied")
    assert unwritable("x", full, "no") == "cannot write x: No space left on device; make room there"
    assert unwritable("x", held) == "cannot write x: Permission denied; name another place"


@pytest.mark.parametrize("context", list(tree()), ids=lambda context: context.command_path)
def test_click_leaves_it_to_us_to_say(context: click.Context) -> None:
    for param in context.command.params:
        if isinstance(param.type, click.Path):
            assert (param.type.exists, param.type.readable) == (False, False), param.name


@pytest.mark.parametrize("line", COMMANDS)
@pytest.mark.parametrize(("name", "why"), [("gone", "looked for in"), ("folder", "name a file in it")])
def test_all_commands_say_it_alike(line: str, name: str, why: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAGUS_HOME", str(tmp_path / "home"))
    Path("folder").mkdir()
    with pytest.raises(VagusError) as told:
        CliRunner().invoke(cli, line.format(name).split(), standalone_mode=False, catch_exceptions=False)
    assert str(told.value).startswith(f"cannot read {name}: ")
    assert why in str(told.value)
