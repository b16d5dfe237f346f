"""The command line as pages: one for each section of `vagus --help`, with every command, argument, option and example."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator

import click

from docsite.words import anchor, block, code, prose, table
from vagus.cli import COMMANDS, cli

_EXAMPLES = re.compile(r"(.*\b)?Examples?( \(.*\))?:\s*$")


def pages() -> dict[str, str]:
    """Pages by their path below docs/."""
    sections = list(dict.fromkeys(entry.section for entry in COMMANDS))
    found = {"reference/cli/index.md": _index(sections)}
    for section in sections:
        names = {entry.name for entry in COMMANDS if entry.section == section}
        told = [_command(path, command, ctx) for path, command, ctx in commands() if path[1:2] and path[1] in names]
        found[f"reference/cli/{page_of(section)}.md"] = f"# Commands: {section}\n\n" + "\n\n".join(told) + "\n"
    return found


def page_of(section: str) -> str:
    """The name of a section's page."""
    return anchor(section)


def commands() -> Iterator[tuple[tuple[str, ...], click.Command, click.Context]]:
    """Every command of the tree with its words, `vagus` itself first."""
    yield from _walk(cli, ("vagus",), None)


def _walk(
    command: click.Command, path: tuple[str, ...], parent: click.Context | None
) -> Iterator[tuple[tuple[str, ...], click.Command, click.Context]]:
    ctx = click.Context(command, info_name=path[-1], parent=parent)
    yield path, command, ctx
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            found = command.get_command(ctx, name)
            if found is not None and not found.hidden:
                yield from _walk(found, (*path, name), ctx)


def _index(sections: list[str]) -> str:
    _, command, ctx = next(commands())
    parts = ["# Commands", *_text(command.help or ""), "## Options of all commands", _options(command, ctx)]
    for section in sections:
        page = page_of(section)
        rows = [
            (f"[`vagus {entry.name}`]({page}.md#{anchor('vagus ' + entry.name)})", prose(entry.help))
            for entry in COMMANDS
            if entry.section == section
        ]
        parts += [f"## {section}", table(("Command", "What"), rows)]
    return "\n\n".join(filter(None, [*parts, *_text(command.epilog or "")])) + "\n"


def _command(path: tuple[str, ...], command: click.Command, ctx: click.Context) -> str:
    words = " ".join(path)
    usage = " ".join((words, *command.collect_usage_pieces(ctx)))
    depth = "#" * min(len(path), 4)
    parts = [f"{depth} {words}", block(usage, "text"), *_text(command.help or ""), *_text(command.epilog or "")]
    if isinstance(command, click.Group):
        below = [(name, command.get_command(ctx, name)) for name in command.list_commands(ctx)]
        rows = [
            (f"[`{words} {name}`](#{anchor(f'{words} {name}')})", prose(found.get_short_help_str(200)))
            for name, found in below
            if found is not None and not found.hidden
        ]
        parts.append(table(("Command", "What"), rows))
    parts.append(_options(command, ctx))
    return "\n\n".join(filter(None, parts))


def _options(command: click.Command, ctx: click.Context) -> str:
    records = [param.get_help_record(ctx) for param in command.get_params(ctx)]
    rows = [(code(record[0]), prose(record[1])) for record in records if record and not _asks_help(record[0])]
    return table(("Option", "What"), rows)


def _asks_help(option: str) -> bool:
    return option in ("-h, --help", "--help")


def _text(text: str) -> list[str]:
    """Click's help as Markdown: what stands behind a line of `\\b` keeps its lines, examples are blocks."""
    parts: list[str] = []
    for part in re.split(r"\n\s*\n", inspect.cleandoc(text).partition("\f")[0]):
        kept = part.lstrip("\n").startswith("\b")
        lines = [line for line in part.split("\n") if line.strip() not in ("", "\b")]
        if not lines:
            continue
        if kept and len(lines) > 1 and lines[0].rstrip().endswith(":"):
            parts.append(prose(lines[0]))
            body = textwrap.dedent("\n".join(lines[1:]))
            parts.append(block(body, "sh" if _EXAMPLES.match(lines[0]) else "text"))
        elif kept and len(lines) > 1:
            language = "sh" if lines[0].lstrip().startswith("vagus ") else "text"
            parts.append(block(textwrap.dedent("\n".join(lines)), language))
        else:
            parts.append(prose(" ".join(lines)))
    return parts
