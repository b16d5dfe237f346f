"""`vagus query`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from vagus.cli.lazy import one_line
from vagus.cli.output import byte_size, console
from vagus.cli.session import Moment, Span, check_file, connected, node_option, span_params, write_file
from vagus.cli.view_status import warn_partial
from vagus.client.answers import missing_of
from vagus.errors import NoData

TABLE_TICKS = 10
FORMATS = ("table", "csv", "json", "arrow", "parquet", "openmetrics")
BINARY = ("arrow", "parquet")


@click.command()
@click.argument("selector")
@click.option("--since", type=Span(), default="", metavar="DURATION", help="How far back.  [default: 5m]")
@click.option("--start", type=Moment(), default="", metavar="TIME", help="From then, instead of --since.")
@click.option("--end", type=Moment(), default="", metavar="TIME", help="Until then.  [default: now]")
@click.option("--limit", type=click.IntRange(0), default=None, help="Newest ticks of each stream; 0: all.")
@click.option("--rate", is_flag=True, help="Counters as their change per second.")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default=None, help="[default: table; with -o: by its name]"
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, readable=False),
    help="Write to FILE (.csv, .json, .arrow, .parquet, .openmetrics).",
)
@node_option
@click.pass_context
def query(
    ctx: click.Context,
    selector: str,
    since: str,
    start: str,
    end: str,
    limit: int | None,
    rate: bool,
    form: str | None,
    as_json: bool,
    output: Path | None,
    node: str,
) -> None:
    """Stored samples of all streams that match: the newest as a table, or all of them as CSV, JSON, Arrow, Parquet or
    OpenMetrics (under OpenTelemetry's names where it has one).

    A selector is kind[.field]{label="value", label=~"pattern"}; * crosses dots. TIME is RFC 3339, or
    'YYYY-MM-DD HH:MM' in this machine's time zone, or nanoseconds since the epoch. The table shows the newest 10
    ticks of each stream unless --limit says otherwise; the other formats show all.

    \b
    Examples:
      vagus query 'host.cpu.*' --since 1m
      vagus query 'net.link{dev="eth0"}' --rate --since 1h --format csv > eth0.csv
      vagus query 'host.*' --start '2026-01-31 12:00' --end '2026-01-31 13:00' -o noon.arrow
    """
    form = "json" if as_json else form or _form_of(output)
    span = span_params(since, start, end)
    params: dict[str, Any] = {"selector": selector, **span, "node": node}
    if form == "table":
        if output is not None:
            raise click.UsageError("name FILE .csv, .json, .arrow, .parquet or .openmetrics, or give --format.")
        _show(ctx, {**params, "rate": rate}, TABLE_TICKS if limit is None else limit)
        return
    if output is not None:
        check_file(output)
    if form in BINARY and output is None and sys.stdout.isatty():
        raise click.UsageError(f"{form.title()} is not for a terminal: give -o FILE, or pipe it.")
    with connected(ctx) as connection:
        wanted = {**params, "rate": int(rate), "limit": limit or 0, "format": form}
        body, headers = connection.request("GET", "/v1/query", query=wanted)
    if form == "csv" and body.count(b"\n") <= 1:  # the line of names alone
        click.secho(_nothing({**params, "rate": rate}), fg="yellow", err=True)
    for name, why in missing_of(headers):
        click.secho(f"partial answer, without {name}: {one_line(why)}", fg="yellow", err=True)
    if output is not None:
        write_file(output, body)
        click.echo(f"{output}: {byte_size(len(body))}", err=True)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(body if form != "json" or body.endswith(b"\n") else body + b"\n")
    sys.stdout.buffer.flush()


def _show(ctx: click.Context, params: dict[str, Any], ticks: int) -> None:
    from vagus.cli.view_samples import render_samples

    with connected(ctx) as connection:  # one tick more than is shown, since a rate needs two
        answer = connection.query(**params, limit=ticks and ticks + 1)
    to = console()
    warn_partial({"missing": [{"node": n, "error": e} for n, e in answer.missing]}, to)
    if not any(len(series.t_ns) for series in answer):
        raise NoData(_nothing(params))
    render_samples(answer, to, ticks)


def _nothing(asked: dict[str, Any]) -> str:
    few = "; a rate needs two samples" if asked.get("rate") else ""
    return f"nothing stored matches {asked['selector']!r} in that time{few}; `vagus sensors` lists what there is"


def _form_of(output: Path | None) -> str:
    suffix = output.suffix.lower().lstrip(".") if output else ""
    return suffix if suffix in FORMATS else "table"
