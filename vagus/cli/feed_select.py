"""`vagus feed select`: queries over a file, an archive or a running feed, in CoMon's expressions."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from vagus.cli.feed_file import archive_folder, bytes_of, element, feeds_of_file, format_options, format_with
from vagus.cli.feed_rows import Row, check_names, each_of, flat_shape, flattened, latest_of
from vagus.cli.lazy import one_line
from vagus.cli.output import console, counted, emit_ndjson, json_option, quantity, table
from vagus.cli.session import ask, connected
from vagus.cli.view_status import warn_partial
from vagus.errors import NoData
from vagus.model import to_builtins

if TYPE_CHECKING:
    from vagus.feeds import Format, Meta
    from vagus.feeds.contracts import Shape
    from vagus.feeds.expression import Expression

MAX_ITEMS = 10_000
NOT_PLAIN = ("list", "map", "record")


@click.command()
@click.argument("file", required=False, metavar="[FILE|-]")
@click.argument("expression", required=False, default="", metavar="[EXPR]")
@click.option("--where", default="", metavar="EXPR", help="Only rows of which this is true; the same as EXPR.")
@click.option("--flatten", default="", metavar="FIELD", help="A row for each element of the list in this field.")
@click.option("--columns", default="", metavar="A,B,…", help="Fields or expressions.  [default: all plain fields]")
@format_options
@click.option("--name", default="", metavar="NAME", help="FILE declares feeds: the archive of this one.")
@click.option(
    "--folder", type=click.Path(path_type=Path, readable=False), help="Where `run` kept it.  [default: as `run`]"
)
@click.option("--feed", "live", default="", metavar="NAME", help="The newest items of a feed of a running vagus.")
@click.option("--latest", is_flag=True, help="Only the newest item of each location.")
@click.option("--limit", type=click.IntRange(1), default=MAX_ITEMS, show_default=True, help="At most so many items.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@json_option
@click.pass_context
def select(
    ctx: click.Context,
    file: str | None,
    expression: str,
    where: str,
    flatten: str,
    columns: str,
    form: str,
    options: Sequence[str],
    name: str,
    folder: Path | None,
    live: str,
    latest: bool,
    limit: int,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Rows of which an expression is true, in chosen columns: of any file, of an archive, of a running feed.

    Expressions are CoMon's: && || ! == != < <= > >= =~ + - * / % ( ), fields such as 5minload, vm_stat[3], a.b or
    meta.location, numbers with units: 1m 2h 3d are times in seconds, 5K 3M 2G are counts. What is missing is null, and
    no comparison with it is true. A value that is a list is a row for each element; with --flatten, so is a list in it,
    and the row has the fields of both.

    \b
    Examples:
      vagus feed select nodes.csv 'resptime>0 && (drift>1m || sshstatus>2h)==0' --format csv \\
          -o 'columns={name: str, resptime: float, drift: float, sshstatus: float}'
      vagus feed select comon.txt 'cpu > 10 || resident > 100' --format comon_slices --flatten slices
      vagus feed select access.log 'status >= 500' --format combined_log --columns host,status,request --csv
      vagus feed select comon.yaml --name comon --latest --columns meta.location,load[1]
      vagus feed select --feed comon 'load[1] > 5' --columns meta.location,load[1] --json
    """
    from vagus.feeds.expression import compile_expression

    if expression and where:
        raise click.UsageError("give EXPR or --where, not both.")
    if live and not expression:
        file, expression = None, file or ""  # no file: the first word is the expression
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other.")
    if (file is not None) + bool(live) != 1:
        raise click.UsageError("give a FILE, - for standard input, or --feed NAME.")
    test = compile_expression(where or expression) if where or expression else None
    chosen = [compile_expression(part) for part in _columns(columns)]
    rows: Iterable[Row]
    shape: Shape | None = None
    if live:
        rows = _of_gateway(ctx, live, limit, latest)
    elif name:
        rows = _of_archive(Path(file or ""), name, folder, limit)
    elif form:
        parser = format_with(form, options)
        shape = element(parser.shape)
        if flatten:
            shape = flat_shape(shape, flatten)
        check_names([*([test] if test else []), *chosen], shape)
        rows = _of_file(str(file), form, parser)
    else:
        raise click.UsageError(
            "--format says what FILE is (`vagus feed formats`); or --name, the feed that it declares."
        )
    if latest:
        rows = latest_of(rows)
    each = flattened(each_of(rows), flatten) if flatten else each_of(rows)
    lacking = {asked for one in (*([test] if test else []), *chosen) for asked in one.names if isinstance(asked, str)}
    found = (row for row in _noted(each, lacking) if test is None or test.test(row.value, row.meta))
    if as_json:
        for row in found:
            emit_ndjson(_record(row, chosen))
    else:
        _print(list(found), chosen, as_csv, shape)
    if lacking:
        click.secho(one_line(f"no row has {', '.join(sorted(lacking))}"), fg="yellow", err=True)


def _noted(rows: Iterable[Row], lacking: set[str]) -> Iterator[Row]:
    """The rows; names of fields that one has are no longer lacking."""
    from vagus.feeds.expression import step

    for row in rows:
        if lacking:
            lacking -= {name for name in lacking if step(row.value, name) is not None}
        yield row


def _columns(text: str) -> list[str]:
    """The parts between commas that are in no brackets."""
    parts, depth = [""], 0
    for char in text:
        depth += (char in "([") - (char in ")]")
        if char == "," and not depth:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts if part.strip()]


# --- where rows come from --------------------------------------------------------------------------------------------


def _of_file(file: str, form: str, parser: Format[Any]) -> Iterable[Row]:
    value, found = parser.parse(bytes_of(file))
    if value is None:
        raise NoData(
            f"{file}: nothing in it is {form}: {found.code.value}, {counted(found.errors, 'error')}; `vagus feed accum` shows them"
        )
    if found.errors:
        click.secho(f"{file}: {counted(found.errors, 'error')}; what is broken is null", fg="yellow", err=True)
    return [Row(value, None)]


def _of_archive(file: Path, name: str, folder: Path | None, limit: int) -> Iterable[Row]:
    from vagus.actors.feed_read import replayed
    from vagus.feeds.declared import feeds_of

    settings, _ = feeds_of_file(file, (name,))
    newest = deque(replayed(feeds_of(settings), (name,), archive_folder(file, folder)), maxlen=limit)
    return [Row(emit.item.value, emit.item.meta) for emit in newest]


def _of_gateway(ctx: click.Context, name: str, limit: int, latest: bool) -> Iterator[Row]:
    with connected(ctx) as connection:
        answer = ask(
            connection, f"/v1/feeds/{quote(name, safe='')}/items", limit=limit, latest="true" if latest else ""
        )
    warn_partial(answer, console())
    for item in answer["items"]:
        yield Row(item["value"], meta_of(item["meta"]))


def meta_of(given: Mapping[str, Any]) -> Meta:
    """The meta of an item from a gateway's JSON; fields that this version does not know are left out."""
    from vagus.feeds import Data, Meta, Net, Origin

    known: dict[str, Any] = {key: value for key, value in given.items() if key in Meta.__struct_fields__}
    known["net"], known["data"] = Net(known["net"]), Data(known.get("data", Data.NONE))
    known["provenance"] = tuple(Origin(**origin) for origin in known.get("provenance", ()))
    return Meta(**known)


# --- what becomes of them --------------------------------------------------------------------------------------------


def _record(row: Row, chosen: Sequence[Expression]) -> Any:
    if chosen:
        return {column.text: to_builtins(column.evaluate(row.value, row.meta)) for column in chosen}
    return (
        to_builtins(row.value) if row.meta is None else {"meta": to_builtins(row.meta), "value": to_builtins(row.value)}
    )


def _print(rows: Sequence[Row], chosen: Sequence[Expression], as_csv: bool, shape: Shape | None) -> None:
    from vagus.feeds.expression import step

    if chosen:
        names = [column.text for column in chosen]
        cells = [[column.evaluate(row.value, row.meta) for column in chosen] for row in rows]
    else:
        plain = [_plain(row) for row in rows]
        known = [name for name, part in shape.parts if part.kind not in NOT_PLAIN] if shape is not None else []
        names = list(dict.fromkeys([*known, *(name for fields in plain for name in fields)]))
        cells = [
            [fields.get(name, step(row.value, name)) for name in names] for row, fields in zip(rows, plain, strict=True)
        ]
    if as_csv:
        from vagus.feeds.location import printable
        from vagus.feeds.tools.values import as_text, csv_line

        shown_as = printable if sys.stdout.isatty() else str  # a terminal obeys what comes from outside
        for line in (names, *cells):
            click.echo(csv_line(shown_as(as_text(value)) for value in line), nl=False)
        return
    if not rows:
        click.echo("no row of which this is true", err=True)
        return
    right = [name for i, name in enumerate(names) if any(isinstance(line[i], (int, float)) for line in cells)]
    shown = [
        [quantity(v) if isinstance(v, (int, float)) and not isinstance(v, bool) else _text(v) for v in line]
        for line in cells
    ]
    table(console(), names, shown, right)
    sys.stdout.flush()
    click.secho(counted(len(rows), "row"), dim=True, err=True)


def _plain(row: Row) -> dict[str, Any]:
    """The fields that are numbers or texts, behind where the row is from."""
    value = to_builtins(row.value)
    fields = {} if row.meta is None else {"meta.location": row.meta.location}
    if not isinstance(value, dict):
        return {**fields, "$": value}
    return {**fields, **{name: part for name, part in value.items() if not isinstance(part, (list, dict))}}


def _text(value: Any) -> str:
    """A cell: numbers in full, lists and records as JSON, nothing for null."""
    if value is None:
        return ""
    value = to_builtins(value)
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
