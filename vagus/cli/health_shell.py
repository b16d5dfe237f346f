"""The interactive client: the commands of `vagus health`, a line each, with history and completion."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.health import ENTRIES, health
from vagus.cli.lazy import not_text, one_line
from vagus.cli.output import near
from vagus.cli.session import ask, connected, server_option
from vagus.cli.view_panorama import coloured
from vagus.errors import VagusError
from vagus.model import Status

if TYPE_CHECKING:
    from vagus.client.connection import Connection

PROMPT = "> "
MAX_HISTORY = 2000
MAX_LINE = 100_000
KNOWN_FOR_S = 2.0
MOST_NAMED = 5
ENDS = ("exit", "quit")
NOT_HERE = ("client", "serve")
COMMANDS = {entry.name: entry for entry in ENTRIES if entry.name not in NOT_HERE}
LETTERS = ("n", "h", "p", "m", "u", "d", "dd")


@click.command()
@server_option
@click.pass_context
def client(ctx: click.Context) -> None:
    """A prompt for the commands of `vagus health`: `help` lists them. What `vagus health` is on a terminal.

    Elsewhere it performs the lines of its standard input, and ends with 1 when one of them failed.

    Up and down go through the history, which is kept; Tab completes commands, subjects, observers, contexts and
    statuses. Ctrl-C ends a line or what runs, Ctrl-D the client.

    \b
    Examples:
      vagus health
      vagus health client --server 127.0.0.1:6688
      vagus health client < lines.txt
    """
    options = ctx.find_root().obj
    options.interactive = True
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # a line that is no text is wrong, and not the end
    if not _is_terminal():
        _script(ctx)
        return
    with _edited(Completion(ctx)):
        _greet(ctx)
        while True:
            try:
                if run_line(input(PROMPT), options) is None:
                    return
            except KeyboardInterrupt:  # also one that comes between two prompts
                click.echo()
            except EOFError:
                click.echo()
                return


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _script(ctx: click.Context) -> None:
    """The lines of standard input, without prompt; exit status 1 when one of them failed."""
    failed = False
    for line in iter(lambda: sys.stdin.readline(MAX_LINE), ""):
        if len(line) == MAX_LINE and not line.endswith("\n"):
            failed = not _complain(f"a line has at most {MAX_LINE} characters: {line[:40]}…")
            while (rest := sys.stdin.readline(MAX_LINE)) and not rest.endswith("\n"):
                pass
            continue
        done = run_line(line, ctx.find_root().obj)
        if done is None:
            break
        failed = failed or not done
    if failed:
        ctx.exit(1)


def run_line(line: str, options: Any) -> bool | None:
    """Performs a line: whether it went well, None for the end. What is wrong with it is said in one line.

    A server that a line names is that line's.
    """
    try:
        args = shlex.split(line)
    except ValueError as error:
        return _complain(f"{error}: quotes come in pairs")
    if not args:
        return True
    if args[0] in ENDS:
        return None
    if args[0] in NOT_HERE:
        return _complain(f"{args[0]} is a command of the shell: vagus health {args[0]}")
    server = options.url
    try:
        health.main(args, prog_name="vagus health", standalone_mode=False, obj=options)
    except click.Abort:  # Ctrl-C
        return True
    except click.ClickException as error:
        return _complain(error.format_message())
    except VagusError as error:
        from vagus.cli.refusals import words

        return _complain(words(error))
    except UnicodeEncodeError as error:
        return _complain(not_text(error))
    except Exception as error:  # a defect; the line ends, not the client
        return _complain(f"{type(error).__name__}: {error}")
    finally:
        options.url = server
    return True


def _complain(text: str) -> bool:
    sys.stdout.flush()
    click.secho(f"error: {one_line(text)}", fg="red", err=True)
    return False


def _greet(ctx: click.Context) -> None:
    """Whom it speaks to and what is wrong at present."""
    try:
        with connected(ctx) as connection:
            found: list[dict[str, Any]] = ask(connection, "/v1/health")["inferences"]
    except VagusError as error:
        from vagus.cli.refusals import words

        _complain(words(error))
        return
    ill = [i for i in found if Status.__members__.get(i["status"], Status.NA) > Status.PENDING]
    named = ", ".join(f"{one_line(i['subject'])} {coloured(i['status'])}" for i in ill[:MOST_NAMED])
    more = f" and {len(ill) - MOST_NAMED} more" if len(ill) > MOST_NAMED else ""
    subjects = f"{len(found)} subject{'' if len(found) == 1 else 's'}"
    click.echo(f"{connection.url}: {subjects}, {len(ill)} unhealthy{': ' if ill else ''}{named}{more}")
    click.echo("help lists the commands, show the verdicts; Ctrl-D ends")


# --- editing ---------------------------------------------------------------------------------------------------------


class Completion:
    """What may stand at the cursor. Names are asked from the gateway, at most every KNOWN_FOR_S; without it: none."""

    def __init__(self, ctx: click.Context) -> None:
        self._ctx = ctx
        self._found: list[str] = []
        self._names: tuple[list[str], list[str], list[str]] = ([], [], [])
        self._asked_s = -KNOWN_FOR_S

    def __call__(self, text: str, state: int) -> str | None:
        """As readline calls it: the candidates for `text`, one after the other."""
        if state == 0:
            import readline

            before = readline.get_line_buffer()[: readline.get_begidx()]
            try:
                self._found = self.candidates(before, text)
            except Exception:  # readline would lose it, and the line with it
                self._found = []
        return self._found[state] if state < len(self._found) else None

    def candidates(self, before: str, text: str) -> list[str]:
        """What begins with `text` behind the words `before`."""
        words = before.split()
        return [name + " " * (not name.endswith(":")) for name in self._all(words, text) if name.startswith(text)]

    def _all(self, words: list[str], text: str) -> list[str]:
        subjects, observers, contexts = self._known() if words and words[0] != "help" else ([], [], [])
        match words:
            case []:
                return list(COMMANDS)
            case ["help"]:
                return list(COMMANDS)
            case ["get"]:
                return ["report", "view", "inference", "panorama", *subjects]
            case ["get", "report" | "view"]:
                return list(dict.fromkeys([*observers, *subjects]))
            case ["me"] | ["register", _]:
                return observers
            case ["list"]:
                return ["subject"]
            case ["dump"]:
                return ["inference", "panorama"]
            case ["report", _, *_]:
                context, colon, _ = text.rpartition(":")
                if not colon:
                    return [f"{name}:" for name in contexts]
                return [f"{context}:{word}" for word in (*LETTERS, *(s.lower() for s in Status.__members__))]
            case ["get", "report" | "view", _] | ["get", "inference" | "panorama"]:
                return subjects
            case [("report" | "watch" | "unwatch" | "show")] | ["tail", *_]:
                return subjects
        return []

    def _known(self) -> tuple[list[str], list[str], list[str]]:
        now_s = time.monotonic()
        if now_s - self._asked_s >= KNOWN_FOR_S:
            self._asked_s = now_s
            with contextlib.suppress(VagusError), connected(self._ctx) as connection:
                self._names = _names(connection)
        return self._names


def _names(connection: Connection) -> tuple[list[str], list[str], list[str]]:
    """Subjects, observers and contexts that are known, quoted for a line. Raises VagusError."""
    found: list[dict[str, Any]] = ask(connection, "/v1/health")["inferences"]
    observers = {str(observer) for i in found for observer in i["observers"]}
    contexts = {str(context) for i in found for context in i["contexts"]}
    subjects = {str(i["subject"]) for i in found}
    return (
        sorted(map(shlex.quote, subjects)),
        sorted(map(shlex.quote, observers)),
        sorted(map(shlex.quote, contexts)),
    )


@contextlib.contextmanager
def _edited(completion: Completion) -> Iterator[None]:
    """Line editing by readline, where this Python has it: completion, and a history that is kept between clients."""
    try:
        import readline
    except ImportError:
        yield
        return
    readline.set_completer(completion)
    readline.set_completer_delims(" \t\n")
    readline.parse_and_bind("bind ^I rl_complete" if "libedit" in (readline.__doc__ or "") else "tab: complete")
    readline.set_history_length(MAX_HISTORY)
    path = history_path()
    with contextlib.suppress(OSError):
        readline.read_history_file(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            readline.write_history_file(path)
            path.chmod(0o600)


def history_path() -> Path:
    """Where the history of this user's clients is kept."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "vagus" / "health_history"


# --- help and exit ---------------------------------------------------------------------------------------------------


@click.command("help")
@click.argument("command", required=False)
@click.pass_context
def help_(ctx: click.Context, command: str | None) -> None:
    """The list of commands, or the help of one.

    \b
    Examples:
      vagus health help
      vagus health help get
    """
    above = ctx.parent or ctx
    if command is not None:
        found = health.get_command(above, command)
        if found is None:
            raise click.UsageError(f"there is no command {command[:50]!r}{near(command, COMMANDS)}")
        with click.Context(found, info_name=command, parent=above) as inner:
            click.echo(found.get_help(inner))
    elif ctx.find_root().obj.interactive:
        click.echo("Command list:")
        for name, entry in COMMANDS.items():
            click.echo(f"  {name:<12}{entry.help}")
        click.echo("Anything else is a subject to show; `help COMMAND` tells more.")
    else:
        click.echo(health.get_help(above))


@click.command("exit")
def exit_() -> None:
    """Leave the interactive client (also: quit, Ctrl-D). On its own it does nothing.

    \b
    Examples:
      vagus health exit
      echo exit | vagus health client
    """
