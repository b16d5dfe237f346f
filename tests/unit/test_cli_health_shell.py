"""The interactive client on a real terminal: a line is performed, an error is a line, Ctrl-C ends a line, Ctrl-D all."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from cli_gateway import Gateway, serve
from click.testing import CliRunner

from vagus.cli import Options, cli, health_shell
from vagus.cli.health import health
from vagus.cli.health_shell import Completion, run_line

TIMEOUT_S = 20.0


class Terminal:
    """`vagus ARGS` on a pseudo-terminal."""

    def __init__(self, gateway: Gateway, home: Path, *args: str) -> None:
        self._leader, follower = pty.openpty()
        env = {name: value for name, value in os.environ.items() if not name.startswith("VAGUS_")}
        env |= {"TERM": "dumb", "XDG_STATE_HOME": str(home), "VAGUS_URL": gateway.url, "VAGUS_TOKEN": "secret"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vagus", "health", *args],
            **dict.fromkeys(("stdin", "stdout", "stderr"), follower),
            env=env,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(follower)
        self.seen = ""

    def until(self, pattern: str, within_s: float = TIMEOUT_S) -> str:
        """Waits for a pattern behind what was waited for before; what came until then."""
        deadline = time.monotonic() + within_s
        while not (found := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self._leader], [], [], max(0.0, deadline - time.monotonic()))
            try:
                data = os.read(self._leader, 65536) if ready else b""
            except OSError:  # the other side is closed
                data = b""
            assert data, f"no {pattern!r} in {self.seen!r}"
            self.seen += re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", data.decode().replace("\r\n", "\n"))
        text, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return text

    def type(self, text: str) -> None:
        """Keys."""
        os.write(self._leader, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C until there is a new prompt.

        Once is not always enough: what comes between readline's echo and its wait is seen at the next key (CPython's
        `readline_until_enter_or_signal` looks for signals only where its `select` was interrupted).
        """
        for _ in range(int(TIMEOUT_S)):
            self.type("\x03")
            with contextlib.suppress(AssertionError):
                self.until("> ", within_s=1.0)
                return
        pytest.fail(f"no prompt after Ctrl-C, in {self.seen!r}")

    def end(self) -> int:
        """Waits for its end."""
        return self.process.wait(TIMEOUT_S)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._leader)


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests' own shell ignores it


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    made = Gateway()
    made.answers["/v1/subjects"] = {"subjects": [{"subject": "db@2", "t_ns": 10**9}]}
    with serve(made) as served:
        yield served


@pytest.fixture
def options(gateway: Gateway) -> Options:
    made = Options(url=gateway.url, token="secret")
    made.interactive = True
    return made


def test_feature_9_an_interactive_session(gateway: Gateway, tmp_path: Path) -> None:
    with Terminal(gateway, tmp_path) as terminal:
        _session(terminal, gateway)
    assert "snapshot:u:30" in (tmp_path / "vagus" / "health_history").read_text()
    assert (tmp_path / "vagus" / "health_history").stat().st_mode & 0o077 == 0
    with Terminal(gateway, tmp_path, "client") as again:
        again.until("\n> ")
        again.type("\x10\n")  # Ctrl-P: the last line of the session before
        assert "1970-01-01" in again.until("UTC\n> ")
        again.type("exit\n")
        assert again.end() == 0


def _session(terminal: Terminal, gateway: Gateway) -> None:
    assert "2 subjects, 1 unhealthy: db@2 UNHEALTHY" in terminal.until("\n> ")
    terminal.type("me peer@2\n")
    terminal.until("\n> ")
    terminal.type("report peer@1 snapshot:u:30\n")
    assert "Accepted\n" in terminal.until("\n> ")
    assert gateway.asked[-1][3]["observer"] == "peer@2"
    terminal.type("reprot peer@1\n")
    assert "error: " in terminal.until("\n> ")
    terminal.type("get pan\tdb@2 'x\n")  # Tab completes panorama; a quote is open
    assert "quotes come in pairs" in terminal.until("\n> ")
    terminal.type("half a li")
    terminal.until("half a li")
    terminal.interrupt()
    terminal.type("li\tsub\t\n")
    assert "db@2 1970-01-01 00:00:01 +0000 UTC\n" in terminal.until("UTC\n> ")
    terminal.type("\x04")  # Ctrl-D
    assert terminal.end() == 0


def test_interrupting_what_runs_leaves_the_client(gateway: Gateway, tmp_path: Path) -> None:
    gateway.answers["/v1/matrix"] = {"observers": [], "subjects": [], "cells": []}
    with Terminal(gateway, tmp_path) as terminal:
        terminal.until("\n> ")
        terminal.type("matrix --watch --json\n")
        terminal.until('"cells"')
        terminal.type("\x03")
        terminal.until("> ")
        terminal.type("list\n")
        terminal.until("UTC\n> ")
        terminal.type("quit\n")
        assert terminal.end() == 0


def test_an_interrupt_between_two_prompts_ends_nothing(monkeypatch: pytest.MonkeyPatch, gateway: Gateway) -> None:
    lines = iter(["list", "list", "exit"])
    done: list[str] = []

    def perform(line: str, options: Options) -> bool | None:
        done.append(line)
        if len(done) == 1:
            raise KeyboardInterrupt
        return None if line == "exit" else True

    monkeypatch.setattr(health_shell, "run_line", perform)
    monkeypatch.setattr(health_shell, "_greet", lambda ctx: None)
    monkeypatch.setattr(health_shell, "_is_terminal", lambda: True)
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    result = CliRunner().invoke(cli, ["health", "client", "--server", gateway.url], catch_exceptions=False)
    assert result.exit_code == 0
    assert done == ["list", "list", "exit"]


def test_a_gateway_that_is_away_is_a_line(tmp_path: Path) -> None:
    gateway = Gateway()
    gateway.url = "http://127.0.0.1:1"
    with Terminal(gateway, tmp_path) as terminal:
        assert "error: http://127.0.0.1:1 cannot be reached" in terminal.until("\n> ")
        terminal.type("ping\n")
        assert "cannot be reached" in terminal.until("\n> ")
        terminal.type("\x04")
        assert terminal.end() == 0


# --- lines -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("get 'db@2", "quotes come in pairs"),
        ("get", "Missing argument"),
        ("report x", "Missing argument"),
        ("report x y:z", "is not CONTEXT:STATUS"),
        ("serve", "a command of the shell"),
        ("hlep", "did you mean help?"),
        ("get a b c d", "too many words"),
        ("list --nonsense", "No such option"),
        ("--server", "--server"),
        ("db@2 --server 127.0.0.1:1", "cannot be reached"),
        ("get '\udcff'", "'\\udcff'"),
        ("get report '\udcff' db@2", "'\\udcff'"),
        ("register '\udcff' db@2", "'\\udcff'"),
    ],
)
def test_an_error_is_a_line(options: Options, capsys: pytest.CaptureFixture[str], line: str, says: str) -> None:
    assert run_line(line, options) is False
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert says in err
    assert run_line("db@2", options) is True, "a server that a line names is that line's"


def test_lines_that_go_well(options: Options, capsys: pytest.CaptureFixture[str]) -> None:
    for line in ("", "   ", "me peer@2", "db@2", "show", "help", "help get", "list --help"):
        assert run_line(line, options) is True, line
    assert options.observer == "peer@2"
    out = capsys.readouterr().out
    assert "db@2  UNHEALTHY" in out
    assert "Command list:" in out
    assert run_line("exit", options) is run_line("quit", options) is None


def test_a_defect_ends_the_line_only(
    options: Options, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vagus.cli.health_reads.moment", lambda t_ns: 1 // 0)
    assert run_line("list", options) is False
    assert capsys.readouterr().err == "error: ZeroDivisionError: integer division or modulo by zero\n"


def test_lines_from_a_pipe(gateway: Gateway) -> None:
    args = ["--url", gateway.url, "--token", "secret", "health", "client"]
    well = CliRunner().invoke(cli, args, input="me a\nreport x y:u\nexit\nlist\n")
    assert (well.exit_code, well.stdout) == (0, "Accepted\n")
    assert gateway.asked[-1][3]["observer"] == "a"
    assert CliRunner().invoke(cli, args, input="nonsense at all\nlist").exit_code == 1
    assert gateway.asked[-1][1] == "/v1/subjects"
    odd = CliRunner().invoke(cli, args, input=b'get "\xff"\nlist\n')
    assert odd.exit_code == 1
    assert "'\\udcff'" in odd.stderr
    assert "db@2" in odd.stdout, "the lines behind it are performed"


# --- completion ------------------------------------------------------------------------------------------------------


@pytest.fixture
def completion(options: Options) -> Completion:
    return Completion(click.Context(health, obj=options))


@pytest.mark.parametrize(
    ("before", "text", "found"),
    [
        ("", "re", ["report ", "register "]),
        ("get ", "", ["report ", "view ", "inference ", "panorama ", "api@1 ", "db@2 "]),
        ("get view ", "a", ["api@1 ", "api@2 "]),
        ("get view api@2 ", "", ["api@1 ", "db@2 "]),
        ("watch ", "d", ["db@2 "]),
        ("me ", "", ["api@1 ", "api@2 "]),
        ("report db@2 ", "r", ["read:"]),
        ("report db@2 ", "read:u", ["read:u ", "read:unhealthy "]),
        ("help ", "unw", ["unwatch "]),
        ("ping ", "", []),
    ],
)
def test_completion(completion: Completion, before: str, text: str, found: list[str]) -> None:
    assert completion.candidates(before, text) == found


def test_completion_asks_seldom_and_never_raises(gateway: Gateway, completion: Completion) -> None:
    for _ in range(5):
        completion.candidates("watch ", "d")
    assert len(gateway.asked) == 1
    gateway.url = "http://127.0.0.1:1"
    away = Completion(click.Context(health, obj=Options(url=gateway.url, token="secret")))
    assert away.candidates("watch ", "") == []
