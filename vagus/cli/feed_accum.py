"""`vagus feed accum`: the profile of a local file, with no feed at all."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Any

import click

from vagus.cli.feed_file import bytes_of, element, format_options, format_with
from vagus.cli.output import console, emit_json, json_option
from vagus.errors import ConfigError, NoData, unreadable

if TYPE_CHECKING:
    from vagus.feeds import Descriptor, Format

CHUNK_BYTES = 1 << 20
MAX_LINE_BYTES = 16 << 20


@click.command()
@click.argument("file", metavar="FILE|-")
@format_options
@click.option("--top", type=click.IntRange(0, 1000), default=10, show_default=True, help="The most frequent values.")
@click.option("--rare", type=click.IntRange(0, 1000), default=3, show_default=True, help="The least frequent ones.")
@click.option("--xml", "as_xml", is_flag=True, help="Print PADS' feed_accumulator.")
@json_option
def accum(file: str, form: str, options: Sequence[str], top: int, rare: int, as_xml: bool, as_json: bool) -> None:
    """Of each field of FILE: good, bad, least, most, mean, most frequent values; and all errors by code.

    A format whose value is a list is counted element by element. Those by lines are read as a stream, so that a file
    may be of any size. The exit status is 0 also where there are errors: they are what is asked for.

    \b
    Examples:
      vagus feed accum access.log --format combined_log
      zcat old.gz | vagus feed accum - --format ndjson --json | jq '.places[] | {path, percent_bad}'
      vagus feed accum report.txt --format entries -o 'fields={Date: float, RWFS: int}'
    """
    if not form:
        raise click.UsageError("--format says what FILE is; `vagus feed formats` lists them.")
    if as_xml and as_json:
        raise click.UsageError("--xml and --json exclude each other.")
    from vagus.feeds.tools.accum_report import report, xml_of

    counted_ = accumulated(file, format_with(form, options))
    found = report(counted_, top, rare)
    if as_json:
        emit_json({"file": file, "format": form, **found})
    elif as_xml:
        click.echo(xml_of(found, file=file, format=form), nl=False)
    else:
        from vagus.cli.view_feed_accum import render_report

        render_report(found, console())


def accumulated(file: str, form: Format[Any]) -> Any:
    """The file's accumulator (vagus.feeds.tools.accumulator). Raises NoData, ConfigError."""
    from vagus.feeds import Data, Item, Meta, Net
    from vagus.feeds.item import GOOD
    from vagus.feeds.tools.accumulator import Accumulator

    listed = form.shape.kind == "list"
    accum = Accumulator(element(form.shape))
    location = f"file:{file}"
    for number, (value, found, size) in enumerate(_parsed(file, form)):
        if not listed or not isinstance(value, list) or (found.note and not value):
            meta = Meta("file", location, 0, 0, Net.OK, found.code, found.errors, size)
            accum.take(Item(meta, value), found)
            continue
        inside = dict(found.inside)
        for index, part in enumerate(value):
            own = inside.get(index, GOOD)
            meta = Meta("file", location, 0, 0, Net.OK, own.code, own.errors, part=f"{number}.{index}")
            accum.take(Item(meta, part), own)
        if found.note:  # of the list itself, such as that it is too long
            meta = Meta("file", location, 0, 0, Net.OK, Data.SYNTAX, 1, size, note=found.note)
            accum.take(Item(meta), None)
    return accum


def _parsed(file: str, form: Format[Any]) -> Iterator[tuple[Any, Descriptor, int]]:
    """Value, descriptor and size of the whole file; of formats by lines, of some lines after the other."""
    if not by_lines(form):
        body = bytes_of(file)
        yield (*form.parse(body), len(body))
        return
    for chunk in _chunks(file):
        yield (*form.parse(chunk), len(chunk))


def by_lines(form: Format[Any]) -> bool:
    """Whether a part of a file that ends with a line can be parsed alone."""
    node = getattr(form, "node", None)
    return getattr(form, "by_lines", False) is True or (
        type(node).__name__ == "Lines" and getattr(node, "sep", "") == "\n"
    )


def _chunks(file: str) -> Iterator[bytes]:
    """About a megabyte of whole lines at a time."""
    with ExitStack() as stack:
        try:
            opened: IO[bytes] = sys.stdin.buffer if file == "-" else stack.enter_context(open(file, "rb"))
            rest = b""
            while data := opened.read(CHUNK_BYTES):
                lines, newline, after = data.rpartition(b"\n")
                if newline:
                    yield rest + lines + newline
                    rest = after
                else:
                    rest += data
                    if len(rest) > MAX_LINE_BYTES:
                        raise ConfigError(f"{file}: a line of more than {MAX_LINE_BYTES >> 20} MiB; is it by lines?")
        except OSError as error:
            raise NoData(unreadable(file, error)) from error
    if rest:
        yield rest
