"""A click group whose commands are imported when they are called, and which turns errors into one line."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple, NoReturn

import click

from vagus.errors import VagusError

FULL = (errno.ENOSPC, errno.EDQUOT)


class Entry(NamedTuple):
    """A command: its name, `module:attribute`, one line of help (so that `--help` imports nothing), its section."""

    name: str
    path: str
    help: str
    section: str


class WholeGroup(click.Group):
    """A group that lists the whole first sentence of each command, and says which command a wrong one resembles."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], known, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"`{ctx.command_path} --help` lists them."
            ctx.fail(f"No such command {args[0]!r}. {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, command.get_short_help_str(limit=1000)) for name, command in found if command is not None]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class LazyGroup(WholeGroup):
    """Commands by name from a table of entries; `hoisted` are options of the group that may also stand behind one."""

    def __init__(self, *args: Any, entries: Sequence[Entry] = (), hoisted: Sequence[str] = (), **extra: Any) -> None:
        super().__init__(*args, **extra)
        self.entries = {entry.name: entry for entry in entries}
        self.hoisted = tuple(hoisted)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.path.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for entry in self.entries.values():
            sections.setdefault(entry.section, []).append((entry.name.ljust(8), entry.help))
        for section, rows in sections.items():
            with formatter.section(section):
                formatter.write_dl(rows)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Moves the group's own options to the front, wherever they stand before a `--`."""
        front: list[str] = []
        rest: list[str] = []
        queue = list(args)
        while queue:
            arg = queue.pop(0)
            if arg == "--":
                rest += [arg, *queue]
                break
            if arg in self.hoisted and queue:
                front += [arg, queue.pop(0)]
            elif arg.partition("=")[0] in self.hoisted:
                front.append(arg)
            else:
                rest.append(arg)
        return super().parse_args(ctx, front + rest)

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        inner: Any = super().main
        if not standalone_mode:
            return inner(*args, standalone_mode=False, **extra)
        self._exit(*args, **extra)

    def _exit(self, *args: Any, **extra: Any) -> NoReturn:
        try:
            code = self.main(*args, standalone_mode=False, **extra)
            sys.stdout.flush()
        except click.Abort:  # what click makes of KeyboardInterrupt
            click.echo(err=True)
            sys.exit(130)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except BrokenPipeError:
            _mute()
            sys.exit(1)
        except UnicodeEncodeError as error:  # a word of the command line, in which bytes of no UTF-8 are escaped
            click.secho(f"error: {not_text(error)}", fg="red", err=True)
            sys.exit(1)
        except VagusError as error:
            if _debug():
                raise
            from vagus.cli.refusals import words

            click.secho(f"error: {bounded(one_line(words(error)))}", fg="red", err=True)
            sys.exit(1)
        except Exception as error:
            if _debug():
                raise
            where = "standard output" if _printing(error) else ""
            click.secho(f"error: {bounded(one_line(unforeseen(error, where)))}", fg="red", err=True)
            if where:
                _mute()
            sys.exit(1)
        sys.exit(code if isinstance(code, int) else 0)


def one_line(text: str) -> str:
    """Text from elsewhere on one line, with nothing that a terminal would act on."""
    return "".join(c if c.isprintable() else " " for c in text)


def bounded(text: str) -> str:
    """At most 2000 characters: begin and end, in which the next step is, of what may quote a line without an end."""
    return text if len(text) <= 2000 else f"{text[:1600]} … {text[-300:]}"


def _printing(error: Exception) -> bool:
    """Whether it came while something was printed: commands themselves write files only where they say so."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    module = str(at.tb_frame.f_globals.get("__name__")) if at is not None else ""
    return isinstance(error, OSError) and module.startswith(("click.", "rich.", "vagus.cli."))


def unforeseen(error: Exception, where: str = "") -> str:
    """An error that nobody has worded: what the system refused, and where (if that is known); else a fault of vagus."""
    if isinstance(error, OSError) and error.errno in FULL:
        return f"cannot write {error.filename or where or 'a file'}: {error.strerror}; make room " + (
            "there" if error.filename or where else "in the state folder, and where files are written"
        )
    if isinstance(error, OSError) and error.filename is not None:
        todo = "; name a place that this user may use" if isinstance(error, PermissionError) else ""
        return f"{str(error.filename)!r}: {error.strerror}{todo}; VAGUS_DEBUG=1 shows where that was"
    return (
        f"{type(error).__name__}: {error}"[:500]
        + "; this is a fault of vagus: please report what VAGUS_DEBUG=1 before the same command shows"
    )


def _debug() -> bool:
    return os.environ.get("VAGUS_DEBUG", "0") not in ("", "0")


def not_text(error: UnicodeEncodeError) -> str:
    """That a word which was to be sent or printed is no text."""
    return f"{error.object[:80]!a} cannot be written as {error.encoding}"


def _mute() -> None:
    """Lets the interpreter flush its closed standard output without a word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
