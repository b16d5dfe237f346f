"""`vagus sql`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.output import GAP, cell, console, counted, emit_json, table
from vagus.cli.session import Moment, Span, check_file, connected, node_option, span_params, write_file
from vagus.cli.store import DATA
from vagus.errors import ConfigError, NoData

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

    from vagus.model import SensorInfo
    from vagus.store.batch import Batch
    from vagus.store.reader import Reader

FORMATS = ("table", "csv", "json", "arrow", "parquet")
MAX_SHOWN = 1000


@click.command()
@click.argument("statement")
@click.option("--since", type=Span(), default="", metavar="DURATION", help="How far back tables reach.  [default: 1h]")
@click.option("--start", type=Moment(), default="", metavar="TIME", help="From then, instead of --since.")
@click.option("--end", type=Moment(), default="", metavar="TIME", help="Until then.  [default: now]")
@click.option(
    "--store",
    type=click.Path(path_type=Path, readable=False),
    metavar="FOLDER",
    help="Read this node's store folder (HOME/nodes/NODE/store) instead of asking a gateway.",
)
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default=None, help="[default: table; with -o: its name's]"
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, readable=False),
    help="Write to FILE (.csv, .json, .arrow, .parquet).",
)
@node_option
@click.pass_context
def sql(
    ctx: click.Context,
    statement: str,
    since: str,
    start: str,
    end: str,
    store: Path | None,
    form: str | None,
    as_json: bool,
    output: Path | None,
    node: str,
) -> None:
    """SQL (DuckDB's) over streams and events of the whole cluster.

    Each kind of stream is a table: host.cpu has a row for each sample, with time, t_ns, node, a column for each label
    and each field. events, receipts, decisions, rewards and reports are tables too (nested parts as JSON), and
    `sensors` is the directory. SHOW TABLES lists them all, DESCRIBE host.cpu the columns of one. Only tables that the
    statement names are fetched, from --since on.

    \b
    Examples:
      vagus sql 'SELECT node, avg(1 - idle) AS busy FROM host.cpu GROUP BY node'
      vagus sql "SELECT time_bucket(INTERVAL 1 MINUTE, time) AS t, max(some_avg10) FROM pressure.cpu GROUP BY t ORDER BY t"
      vagus sql "SELECT c.time, c.user, m.mem_available FROM host.cpu c ASOF JOIN host.memory m USING (node, time)"
      vagus sql "SELECT time, event, fields->>'error' FROM events WHERE level = 'error'" --since 24h --json
      vagus sql 'SELECT * FROM host.disk' --since 1d -o disk.parquet
    """
    from vagus.store.sql import query

    form = "json" if as_json else form or _form_of(output)
    if output is not None:
        check_file(output)
    if form in ("arrow", "parquet") and output is None:
        raise click.UsageError(f"{form} is not for the screen: give -o FILE.")
    span = span_params(since, start, end, "1h")

    def say(line: str) -> None:
        click.secho(line, dim=True, err=True)

    if store is not None:
        from vagus.store.reader import open_all

        if not any(store.glob(f"*/{DATA}")):
            raise NoData(f"there are no stores in {store}; HOME/nodes/NODE/store is expected")
        with open_all(store) as reader:
            result = query(statement, _Folder(reader, *_nanoseconds(span)), say)
            for path, why in reader.problems.items():
                click.secho(f"without {path}: {why}", fg="yellow", err=True)
    else:
        from vagus.api import Tables

        with connected(ctx) as connection:
            result = query(statement, Tables(connection, *_nanoseconds(span), node, say), say)
    if output is not None:
        write_file(output, _encoded(result, form))
        click.echo(f"{output}: {result.num_rows} rows", err=True)
    elif form == "json":
        emit_json({"rows": _plain(result)})
    elif form == "csv":
        sys.stdout.buffer.write(_encoded(result, form))
        sys.stdout.buffer.flush()
    else:
        _show(result)


class _Folder:
    """Tables of one node, from its stores; beside a running vagus or without one."""

    def __init__(self, reader: Reader, start_ns: int, end_ns: int) -> None:
        self._reader = reader
        self._span = (start_ns, end_ns)

    def sensors(self) -> Sequence[SensorInfo]:
        return self._reader.sensors()

    def batches(self, kind: str) -> Sequence[Batch]:
        return [batch for batch in self._reader.scan(kind, *self._span) if batch.stream.kind == kind]

    def records(self, kind: str) -> Sequence[Any]:
        from vagus.store.sql import RECORDS

        return list(self._reader.records(kind, RECORDS[f"{kind}s"], *self._span))


def _nanoseconds(span: dict[str, str]) -> tuple[int, int]:
    import time

    from vagus.clock import NS
    from vagus.config import seconds

    end_ns = int(span["end"]) if span.get("end") else time.time_ns() + NS
    if span.get("start"):
        return int(span["start"]), end_ns
    return max(0, end_ns - round(seconds(span["since"]) * NS)), end_ns


def _form_of(output: Path | None) -> str:
    suffix = output.suffix.lower().lstrip(".") if output else ""
    if output and suffix not in FORMATS:
        raise ConfigError(f"{output}: name it .csv, .json, .arrow or .parquet, or give --format")
    return suffix or "table"


def _plain(result: pa.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = result.to_pylist()
    return [{name: _cell(value) for name, value in row.items()} for row in rows]


def _cell(value: Any) -> Any:
    """A value as JSON has it: times as RFC 3339, decimals as numbers, everything strange as text."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, (list, tuple)):
        return [_cell(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _cell(v) for k, v in value.items()}
    if hasattr(value, "isoformat"):
        return str(value.isoformat()).replace("+00:00", "Z")
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)


def _encoded(result: pa.Table, form: str) -> bytes:
    import pyarrow as pa

    if form == "json":
        import json

        return json.dumps({"rows": _plain(result)}).encode()
    sink = pa.BufferOutputStream()
    if form == "csv":
        import pyarrow.csv

        pyarrow.csv.write_csv(_flat(result), sink)
    elif form == "parquet":
        import pyarrow.parquet

        pyarrow.parquet.write_table(result, sink)
    else:
        with pa.ipc.new_stream(sink, result.schema) as stream:
            stream.write_table(result)
    return bytes(sink.getvalue())


def _flat(result: pa.Table) -> pa.Table:
    """CSV knows no lists and no zones: nested values as text, times as RFC 3339 in UTC."""
    import pyarrow as pa

    columns = []
    for column in result.columns:
        nested = pa.types.is_nested(column.type) or pa.types.is_timestamp(column.type)
        texts = [None if v is None else str(_cell(v)) for v in column.to_pylist()] if nested else None
        columns.append(column if texts is None else pa.array(texts, pa.string()))
    return pa.table(columns, names=result.column_names)


def _show(result: pa.Table) -> None:
    import pyarrow as pa

    to = console()
    numbers = {f.name for f in result.schema if pa.types.is_integer(f.type) or pa.types.is_floating(f.type)}
    rows = [
        tuple(f"{v:.6g}" if isinstance(v, float) else "–" if v is None else v for v in row.values())
        for row in _plain(result.slice(0, MAX_SHOWN))
    ]
    _print(to, result.column_names, rows, numbers)
    more = f", {MAX_SHOWN} of them shown (--format csv has all)" if result.num_rows > MAX_SHOWN else ""
    click.echo(f"{counted(result.num_rows, 'row')}{more}", err=True)


def _print(to: Console, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], numbers: set[str]) -> None:
    """A table; where a terminal is too narrow for it, a line for each value, a block for each row."""
    from rich.text import Text

    texts = [[cell(value) for value in row] for row in rows]
    needed = sum(max(len(name), *(row[i].cell_len for row in texts), 0) + GAP for i, name in enumerate(columns))
    if not rows or not to.is_terminal or needed - GAP <= to.width:
        if columns:
            table(to, columns, texts, right=numbers)
        return
    widest = max(map(len, columns))
    for row in texts:
        for name, text in zip(columns, row, strict=True):
            to.print(Text.assemble((cell(name.ljust(widest + GAP)).plain, "dim"), text), soft_wrap=True)
        to.print()
