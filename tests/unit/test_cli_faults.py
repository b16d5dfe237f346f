"""No traceback, whatever happens: a full disk, a place that is not this user's, a fault of ours; and what to do."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from vagus.cli import cli
from vagus.cli.lazy import LazyGroup
from vagus.errors import ConfigError


def failing(error: Exception, debug: str = "") -> str:
    """What a command prints on standard error that ends by this error."""

    @click.group(cls=LazyGroup, invoke_without_command=True)
    def group() -> None:
        raise error

    done = CliRunner().invoke(group, [], env={"VAGUS_DEBUG": debug})
    if debug:
        assert done.exception is error
        return ""
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (KeyError("x"), "error: KeyError: 'x'; this is a fault of vagus"),
        (PermissionError(errno.EACCES, "Permission denied", "/a\nb"), "name a place that this user may use"),
        (OSError(errno.ENOSPC, "No space left on device", "/a"), "cannot write /a: No space left on device; make room"),
        (TimeoutError("late"), "TimeoutError: late; this is a fault"),
        (ConfigError("a: wrong"), "error: a: wrong\n"),
    ],
)
def test_one_line_for_each_kind(error: Exception, says: str) -> None:
    assert says in failing(error)
    failing(error, debug="1")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_behind_standard_output() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "vagus", "config", "show"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert done.stderr == b"error: cannot write standard output: No space left on device; make room there\n"


def test_a_full_disk_elsewhere_is_not_taken_for_standard_output() -> None:
    said = failing(OSError(errno.ENOSPC, "No space left on device"))
    assert said.startswith("error: cannot write a file: No space left on device; make room in the state folder")


def test_a_terminal_of_another_encoding_gets_what_it_can_show() -> None:
    env = os.environ | {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "vagus", "traces", "show", "--help"], capture_output=True, env=env, check=True
    )
    assert b"(marked ?)" in done.stdout
    assert done.stderr == b""


def test_a_line_without_an_end_is_not_quoted_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "line").write_text("x" * 100_000)
    done = CliRunner().invoke(cli, ["forecast", str(tmp_path / "line")])
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert len(done.stderr) < 2100
    assert failing(ConfigError("a" * 5000 + "; do this")).endswith("; do this\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_borne(closed: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m vagus version {closed}', sys.executable], capture_output=True, check=False, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ("vagus" in done.stdout) != (">&-" in closed.replace("2>&-", ""))


def ask(home: Path, *args: str) -> str:
    done = CliRunner().invoke(cli, args, env={"VAGUS_HOME": str(home), "VAGUS_URL": "", "VAGUS_TOKEN": ""})
    assert done.exit_code == 1
    return done.stderr


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "http://x:99999", "http://"])
@pytest.mark.parametrize("token", [(), ("--token", "x")])
def test_a_wrong_address_is_said_before_anything_of_its_token(url: str, token: tuple[str, ...], tmp_path: Path) -> None:
    said = ask(tmp_path, "status", "--url", url, *token)
    assert (
        said
        == f"error: gateway address '{url.rstrip('/')}' is not http://HOST:PORT, nor https://…: such as http://127.0.0.1:7117\n"
    )


def test_nothing_runs_is_said_alike(tmp_path: Path) -> None:
    for args in (("status",), ("job", "list"), ("job", "stop", "x"), ("top", "--once"), ("health", "ping")):
        assert ask(tmp_path, *args).startswith(f"error: no running vagus found under {tmp_path}"), args
        assert "run `vagus up`" in ask(tmp_path, *args), args
