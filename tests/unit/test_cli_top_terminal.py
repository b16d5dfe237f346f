"""`vagus top` on a real terminal before a real gateway: keys, sizes, a gateway that goes and returns, how it ends."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import TOKEN, serving
from glance_backend import Glance

from vagus.cli import cli
from vagus.cli.top import command
from vagus.cli.top.screen import ENTER, LEAVE
from vagus.cli.top.source import Source, final
from vagus.client.answers import error_of
from vagus.errors import ConfigError, PeerUnreachable, VagusError

TIMEOUT_S = 30.0
REFUSED = b'{"error": {"code": "forbidden", "message": "not one of them", "where": "header Authorization", "hint": ""}}'


class Terminal:
    """`vagus top ARGS` on a pseudo-terminal of 24 lines of 80 characters."""

    def __init__(self, url: str, *args: str, **env: str) -> None:
        self.leader, follower = pty.openpty()
        self.resize(80, 24)
        self.before = termios.tcgetattr(follower)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VAGUS_")}
        kept |= {
            "TERM": "xterm-256color",
            "LC_ALL": "C.UTF-8",
            "PYTHONUTF8": "1",
            "VAGUS_URL": url,
            "VAGUS_TOKEN": TOKEN,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vagus", "top", *args],
            **dict.fromkeys(("stdin", "stdout", "stderr"), follower),
            env=kept | env,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        self.follower = follower  # kept open: its settings are looked at afterwards
        self.raw = self.seen = ""

    def until(self, pattern: str) -> str:
        """Waits for a pattern behind what was waited for before; what came until then."""
        deadline = time.monotonic() + TIMEOUT_S
        while not (found := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self.leader], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(self.leader, 65536) if ready else b""
            assert data, f"no {pattern!r} in {self.seen!r}"
            text = data.decode("utf-8", "replace")
            self.raw += text
            self.seen += re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", text)
        text, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return text

    def type(self, text: str) -> None:
        """Keys."""
        os.write(self.leader, text.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Another size; the program is told by SIGWINCH."""
        fcntl.ioctl(self.leader, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def end(self) -> int:
        """Waits for its end and reads the rest; asserts that the terminal is as it was."""
        code = self.process.wait(TIMEOUT_S)
        while select.select([self.leader], [], [], 0.0)[0]:
            self.raw += os.read(self.leader, 65536).decode("utf-8", "replace")
        assert termios.tcgetattr(self.follower) == self.before
        assert self.raw.count("\x1b[?1049h") == self.raw.count("\x1b[?1049l") > 0
        assert self.raw.rindex(LEAVE) > self.raw.rindex(ENTER)
        return code

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.leader)
        os.close(self.follower)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests' own shell ignores it


@pytest.fixture
def served() -> Iterator[Any]:
    with serving(Glance()) as running:
        running.gateway.site.board.pace = 0.1
        yield running


def test_keys_switch_views_filter_and_quit(served: Any) -> None:
    with Terminal(served.url) as terminal:
        terminal.until(r"\[6 all\]")
        terminal.until("cgroup:web")
        for key, says in (
            ("1", r"\[1 nodes \(1!\)\]"),
            ("\t", r"accused by api@1"),
            ("3", r"http://b/: <img"),
            ("\x1b[Z", r"\[2 health \(2!\)\]"),
            ("4", "drawn 3  p 0.75"),
            ("5", "EACCES: denied by the kernel"),
            ("/dry", "/dry_"),
            ("\r", r"only 'dry' \(Escape: all\)"),
            ("\x1b", r"EACCES"),
            ("?", "Shift-Tab"),
        ):
            terminal.type(key)
            terminal.until(says)
        terminal.type("q")
        assert terminal.end() == 0


def test_another_size_is_drawn_at_once_and_colours_are_never_alone(served: Any) -> None:
    with Terminal(served.url, "--view", "limits", NO_COLOR="1") as terminal:
        terminal.until("q quit")
        terminal.until("ERROR")
        terminal.resize(30, 8)
        terminal.until(r"\[5 limits\]")
        terminal.type("q")
        assert terminal.end() == 0
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", terminal.raw), "NO_COLOR is heeded"


def test_a_terminal_without_the_characters_gets_others(served: Any) -> None:
    with Terminal(served.url, LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii") as terminal:
        terminal.until("-- nodes")
        terminal.until("none > 3")
        terminal.type("q")
        assert terminal.end() == 0
        assert terminal.raw.isascii()


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (lambda terminal: terminal.type("\x03"), 130),
        (lambda terminal: terminal.process.send_signal(signal.SIGTERM), 143),
        (lambda terminal: terminal.process.send_signal(signal.SIGHUP), 129),
    ],
    ids=["ctrl-c", "sigterm", "sighup"],
)
def test_however_it_ends_the_terminal_is_given_back(served: Any, ask: Callable[[Terminal], None], code: int) -> None:
    with Terminal(served.url) as terminal:
        terminal.until("cgroup:web")
        assert termios.tcgetattr(terminal.follower) != terminal.before
        ask(terminal)
        assert terminal.end() == code


def test_a_stopped_one_goes_on_with_the_terminal_its_own_again(served: Any) -> None:
    with Terminal(served.url, "--view", "limits") as terminal:
        terminal.until("EACCES")
        terminal.process.send_signal(signal.SIGSTOP)
        os.waitpid(terminal.process.pid, os.WUNTRACED)
        termios.tcsetattr(terminal.follower, termios.TCSANOW, terminal.before)  # as a shell does
        terminal.process.send_signal(signal.SIGCONT)
        terminal.until("EACCES")
        terminal.type("1")
        terminal.until("WRONG")
        terminal.type("q")
        terminal.process.wait(TIMEOUT_S)
        assert termios.tcgetattr(terminal.follower) == terminal.before


def test_a_defect_gives_the_terminal_back_and_is_told(served: Any, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import vagus.cli.top.frame as frame\n"
        "drawn = frame.draw\n"
        "def draw(state, width, height):\n"
        "    if state.helped:\n"
        "        raise ZeroDivisionError('a defect')\n"
        "    return drawn(state, width, height)\n"
        "frame.draw = draw\n"
    )
    path = os.pathsep.join([str(tmp_path), *os.environ.get("PYTHONPATH", str(Path.cwd())).split(os.pathsep)])
    with Terminal(served.url, PYTHONPATH=path) as terminal:
        terminal.until("cgroup:web")
        terminal.type("?")
        assert terminal.end() == 1
        assert "ZeroDivisionError: a defect" in terminal.raw[terminal.raw.rindex(LEAVE) :]


def test_a_gateway_that_goes_is_said_and_comes_back_by_itself() -> None:
    with serving(Glance()) as first:
        port = int(first.url.rpartition(":")[2])
        with Terminal(first.url, "--view", "nodes") as terminal:
            terminal.until(r"WRONG    b .* 2\.5")
            first.call(first.gateway.stop())
            terminal.until("LOST, shown is ")
            terminal.until("`vagus up`")
            terminal.type("5")
            terminal.until(r"\[5 limits")
            terminal.type("1")
            terminal.until(r"WRONG    b .* 2\.5")
            with serving(Glance(("b", "new")), port=port):
                terminal.until("new")
                terminal.type("\x0c")  # drawn anew
                assert "LOST" not in terminal.until("q quit")
                terminal.type("q")
                assert terminal.end() == 0


def test_a_gateway_that_is_not_there_yet_is_waited_for() -> None:
    with Terminal("http://127.0.0.1:1") as terminal:
        terminal.until("LOST, asking again: http://127.0.0.1:1 cannot be reached")
        terminal.type("q")
        assert terminal.end() == 0


def test_a_refused_token_ends_it_with_what_to_do(served: Any) -> None:
    with Terminal(served.url, VAGUS_TOKEN="another-token-altogether") as terminal:
        assert terminal.end() == 1
        said = terminal.raw[terminal.raw.rindex(LEAVE) :]
        assert "error: the token is not one of this cluster's; give the right one with --token" in said
        assert "LOST" not in terminal.raw


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        (error_of(403, REFUSED, "http://a"), True),
        (error_of(404, REFUSED.replace(b"not one of them", b"there is no /v1/overview"), "http://a"), True),
        (error_of(404, b"<html>", "http://a"), False),
        (error_of(503, REFUSED.replace(b"forbidden", b"busy"), "http://a"), False),
        (ConfigError("no token for http://a"), True),
        (PeerUnreachable("http://a cannot be reached"), False),
    ],
    ids=str,
)
def test_what_asking_again_cannot_help_against(error: VagusError, ends: bool) -> None:
    assert final(error) is ends


def test_a_token_that_is_good_no_longer_ends_it_too() -> None:
    events: list[tuple[str, Any]] = []
    answers = iter([iter([("end", b"")]), None])

    def open_() -> Iterator[tuple[str, bytes]]:
        stream = next(answers)
        if stream is None:
            raise error_of(403, REFUSED, "http://a")
        return stream

    source = Source(open_, lambda name, about: events.append((name, about)))
    source.pause = lambda seconds: False
    source.run()
    assert [name for name, _ in events] == ["lost", "refused"]
    assert "not one of" in str(events[1][1])


def test_a_terminal_that_takes_nothing_any_more_is_left(served: Any) -> None:
    with Terminal(served.url) as terminal:
        terminal.until("q quit")
        for columns in range(200, 280):  # each is a whole screen, of which nothing is read
            terminal.resize(columns, 60)
            time.sleep(0.01)
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.process.wait(TIMEOUT_S) == 143
        assert termios.tcgetattr(terminal.follower) == terminal.before


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (20, 5), (400, 100)], ids=str)
def test_every_size_is_drawn_on(served: Any, size: tuple[int, int]) -> None:
    with Terminal(served.url) as terminal:
        terminal.until("q quit")
        terminal.resize(*size)
        terminal.until(".")
        terminal.type("?q")
        while terminal.process.poll() is None:
            if select.select([terminal.leader], [], [], 0.1)[0]:
                terminal.raw += os.read(terminal.leader, 65536).decode("utf-8", "replace")
        assert terminal.end() == 0


def test_a_terminal_that_cannot_draw_gets_it_once(served: Any) -> None:
    with Terminal(served.url, TERM="dumb") as terminal:
        terminal.until("WRONG    b")
        assert terminal.process.wait(TIMEOUT_S) == 0
        assert "\x1b" not in terminal.raw


# --- once ------------------------------------------------------------------------------------------------------------


def run(url: str, *args: str, token: str = TOKEN) -> Any:
    return CliRunner().invoke(cli, ["top", *args, "--url", url, "--token", token])


def test_where_there_is_no_terminal_it_is_printed_once(served: Any) -> None:
    for args in ((), ("--once",)):
        done = run(served.url, *args)
        assert (done.exit_code, done.stderr) == (0, "")
        assert "\x1b" not in done.stdout
        for said in ("cluster test", "WRONG    b", "UNHEALTHY", "FAILING", "isp=1  regret 2", "EACCES"):
            assert said in done.stdout
    only = run(served.url, "--view", "limits", "--filter", "WEB").stdout.splitlines()
    assert [line.split()[1] for line in only[1:] if not line.startswith(" ")] == ["set", "ERROR", "set"]
    assert run(served.url, "--view", "nope").exit_code == 2


def test_as_one_document(served: Any) -> None:
    done = run(served.url, "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert (found["node"], found["untold"]) == ("a", [])
    assert found["signals"]["now"]["b"]["load"] == 2.5
    assert [one["subject"] for one in found["verdicts"]["subjects"]][1:] == ["db@a"]
    assert found["decisions"]["groups"][0]["regret"] == 2.0
    assert len(found["limits"]["receipts"]) == 4


def test_what_does_not_come_in_time_is_named(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "ONCE_S", -1.0)
    done = run(served.url, "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["untold"]
    assert "incomplete, without " in done.stderr


def test_refusals_are_one_line(served: Any) -> None:
    wrong = run(served.url, "--once", token="another-token-altogether")
    assert (wrong.exit_code, wrong.stderr.count("\n")) == (1, 1)
    away = run("http://127.0.0.1:1", "--once")
    assert away.exit_code == 1
    assert "cannot be reached" in away.stderr
