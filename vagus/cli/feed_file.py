"""The feeds that a command is about: those of a YAML file, all or some by name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vagus.config import FeedSettings
from vagus.errors import ConfigError, NoData, unreadable

if TYPE_CHECKING:
    from vagus.feeds import Format, Shape

C = TypeVar("C", bound=Callable[..., Any])

MAX_FILE_BYTES = 256 << 20

file_argument = click.argument("file", type=click.Path(path_type=Path, readable=False))


def feeds_of_file(file: Path, names: Sequence[str] = ()) -> tuple[tuple[FeedSettings, ...], tuple[str, ...]]:
    """All feeds of a vagus.yaml (or of a file with nothing but `feeds:`), and the names of those that are wanted.

    The others stay, since the wanted ones may be made of them. Raises ConfigError, NoData for an unknown name.
    """
    from vagus.actors.feed_local import feeds_in
    from vagus.cli.output import near

    settings = feeds_in(file)
    known = [feed.name for feed in settings]
    for name in names:
        if name not in known:
            raise NoData(f"{file}: no feed is called {name!r}{near(name, known) or '; there are: ' + ', '.join(known)}")
    return settings, tuple(dict.fromkeys(names)) or tuple(known)


def archive_folder(file: Path, folder: Path | None) -> Path:
    """Where `run` keeps what a file's feeds bring: `comon.feeds` in the current directory, for comon.yaml."""
    return folder or Path(f"{file.stem}.feeds")


def format_options(command: C) -> C:
    """The options --format and --option of a command that reads a file of any format."""
    option = click.option(
        *("-o", "--option", "options"), multiple=True, metavar="KEY=VALUE", help="Of the format, as YAML; repeatable."
    )
    return click.option("--format", "form", default="", metavar="F", help="What FILE is: see `vagus feed formats`.")(
        option(command)
    )


def format_with(form: str, options: Sequence[str]) -> Format[Any]:
    """The registered format (or `module:Class`) with its options. Raises ConfigError, NoData."""
    from vagus.cli.output import near
    from vagus.feeds import FORMATS
    from vagus.feeds.load import load_format

    if ":" not in form and form not in FORMATS:
        raise NoData(f"there is no format {form!r}{near(form, FORMATS) or '; there are: ' + ', '.join(FORMATS)}")
    return load_format(FeedSettings(name="file", refeed="file", format=form, options=options_of(options)))


def options_of(pairs: Sequence[str]) -> dict[str, Any]:
    """`key=value` texts as options; each value is YAML. Raises ConfigError."""
    from vagus.config import decode

    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not (key and equals):
            raise ConfigError(f"--option {pair[:80]}: expected KEY=VALUE, such as sep=,")
        try:
            found[key.strip()] = decode(text.encode(), Any, f"--option {key}") if text.strip() else text
        except ConfigError:
            found[key.strip()] = text  # such as sep=: and other texts that are no YAML
    return found


def bytes_of(file: str, limit: int = MAX_FILE_BYTES) -> bytes:
    """All of a file, or of standard input for `-`. Raises NoData, ConfigError."""
    try:
        if file == "-":
            body = sys.stdin.buffer.read(limit + 1)
        else:
            with open(file, "rb") as opened:
                body = opened.read(limit + 1)
    except OSError as error:
        raise NoData(unreadable(file, error)) from error
    if len(body) > limit:
        raise ConfigError(f"{file} has more than {limit >> 20} MiB, more than is read at once")
    return body


def element(shape: Shape) -> Shape:
    """The shape of what a file is made of: of a list its elements."""
    return shape.parts[0][1] if shape.kind == "list" and shape.parts else shape


def gateway_options() -> dict[str, dict[str, Any]]:
    """Where locations of scheme `gateway:` are: that of the global options, or of this machine's node, once it runs."""
    from vagus.client.endpoint import find

    options = click.get_current_context().find_root().obj
    return {"gateway": {"find": lambda: find(options.url, options.token, home=options.home or None)[:2]}}
