"""The command itself: what starting it imports, what its help teaches, how it says what is wrong."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from vagus.cli import COMMANDS, cli
from vagus.cli.lazy import Entry, LazyGroup
from vagus.errors import ConfigError

OURS = [entry for entry in COMMANDS if entry.name not in ("up", "down", "demo")]


def command_of(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def parts_of(command: click.Command) -> list[click.Command]:
    """The commands of a group, or the command itself."""
    if not isinstance(command, click.Group):
        return [command]
    context = click.Context(command)
    found = [command.get_command(context, name) for name in command.list_commands(context)]
    return [part for part in found if part is not None]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from vagus.cli import main\n"
        "sys.argv = ['vagus', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'ray', 'numpy', 'rich', 'matplotlib', 'plotext', 'aiohttp', 'yaml', 'lmdb', 'http', 'asyncio'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("heavy: []\n")
    assert "Usage: vagus" in done.stdout


@pytest.mark.parametrize("entry", OURS, ids=lambda entry: entry.name)
def test_every_command_teaches_by_example(entry: Entry) -> None:
    shown = CliRunner().invoke(cli, [entry.name, "--help"])
    assert shown.exit_code == 0, shown.output
    command = command_of(entry.name)
    parts = parts_of(command)
    for part in parts:
        text = inspect.cleandoc(part.help or "")
        assert "Examples:" in text
        assert text.partition("Examples:")[2].count("vagus ") >= 2


@pytest.mark.parametrize("entry", OURS, ids=lambda entry: entry.name)
def test_data_can_be_had_as_json(entry: Entry) -> None:
    command = command_of(entry.name)
    if isinstance(command, click.Group):
        command = next(
            part
            for part in parts_of(command)
            if part.name in ("show", "stats", "check", "log", "failover", "campaign", "alerts")
        )
    options = {option for parameter in command.params for option in parameter.opts}
    assert "--json" in options or entry.name == "plot"


def test_help_lists_every_command_in_its_section() -> None:
    shown = CliRunner().invoke(cli, ["--help"]).output
    for entry in COMMANDS:
        assert f"  {entry.name}" in shown
    assert shown.index("Look:") < shown.index("  query") < shown.index("Infer:")


def group(run: click.Command) -> LazyGroup:
    made = LazyGroup("vagus")
    made.entries = {"run": Entry("run", f"{__name__}:unused", "", "")}
    made.get_command = lambda ctx, name: run  # type: ignore[method-assign]
    return made


def raising(error: BaseException) -> LazyGroup:
    @click.command()
    def run() -> None:
        raise error

    return group(run)


def test_an_error_of_vagus_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAGUS_DEBUG", raising=False)
    result = CliRunner().invoke(raising(ConfigError("port: expected\na number \x1b[31m")), ["run"])
    assert result.exit_code == 1
    assert result.stderr == "error: port: expected a number  [31m\n"
    assert result.stdout == ""


def test_a_word_that_is_no_text_is_told() -> None:
    result = CliRunner().invoke(
        cli, ["--url", "http://127.0.0.1:1", "--token", "x" * 16, "health", "register", "m", "db\udcff"]
    )
    assert result.exit_code == 1
    assert "'db\\udcff'" in result.stderr
    assert result.stderr.count("\n") == 1


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAGUS_DEBUG", "1")
    result = CliRunner().invoke(raising(ConfigError("wrong")), ["run"])
    assert isinstance(result.exception, ConfigError)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_is_130(error: BaseException) -> None:
    assert CliRunner().invoke(raising(error), ["run"]).exit_code == 130


def test_a_defect_is_one_line_and_keeps_its_traceback_for_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    told = CliRunner().invoke(raising(ZeroDivisionError()), ["run"])
    assert told.exit_code == 1
    assert "this is a fault of vagus: please report what VAGUS_DEBUG=1" in told.stderr
    monkeypatch.setenv("VAGUS_DEBUG", "1")
    assert isinstance(CliRunner().invoke(raising(ZeroDivisionError()), ["run"]).exception, ZeroDivisionError)


def test_a_closed_pipe_is_quiet() -> None:
    read, write = os.pipe()
    os.close(read)
    code = "from vagus.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "config", "schema"], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert done.stderr == b""
    assert done.returncode == 1


def test_wrong_usage_is_2_and_says_what_is_near() -> None:
    result = CliRunner().invoke(cli, ["stauts"])
    assert result.exit_code == 2
    assert "Did you mean 'status'?" in result.stderr
    assert CliRunner().invoke(cli, ["query"]).exit_code == 2


def test_global_options_may_stand_anywhere() -> None:
    seen: list[tuple[str, str, str]] = []

    @click.command(context_settings={"ignore_unknown_options": True})
    @click.argument("rest", nargs=-1)
    @click.pass_context
    def run(ctx: click.Context, rest: tuple[str, ...]) -> None:
        seen.append((ctx.find_root().params["home"], ctx.find_root().params["url"], " ".join(rest)))

    made = group(run)
    made.hoisted = ("--home", "--url")
    made.params = [click.Option(["--home"]), click.Option(["--url"])]
    result = CliRunner().invoke(made, ["--home", "/a", "run", "x", "--url=http://h", "--", "--home", "kept"])
    assert result.exit_code == 0, result.output
    assert seen == [("/a", "http://h", "x --home kept")]
