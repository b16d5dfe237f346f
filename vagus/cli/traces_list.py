"""`vagus traces list`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vagus.cli.output import cell, clock_time, console, counted, emit_json, json_option, table
from vagus.cli.session import Moment, Span, ask, connected, node_option, span_params
from vagus.cli.trace_source import file_option, read_files
from vagus.cli.view_status import warn_partial
from vagus.cli.view_trace import took
from vagus.clock import NS
from vagus.config import seconds
from vagus.model import to_builtins

MAX_LIMIT = 1000


@click.command("list")
@click.option("--service", default="", metavar="NAME", help="Only traces with a span of this service.")
@click.option("--operation", default="", metavar="NAME", help="Only traces with a span of this name.")
@click.option("--least", type=Span(), default="", metavar="DURATION", help="Only traces that took at least so long.")
@click.option("--errors", is_flag=True, help="Only traces with a failed span.")
@click.option("--since", type=Span(), default="", metavar="DURATION", help="How far back.  [default: 1h]")
@click.option("--start", type=Moment(), default="", metavar="TIME", help="From then, instead of --since.")
@click.option("--end", "--until", type=Moment(), default="", metavar="TIME", help="Until then.  [default: now]")
@click.option("--limit", type=click.IntRange(1, MAX_LIMIT), default=20, show_default=True, help="At most the newest N.")
@file_option
@node_option
@json_option
@click.pass_context
def list_traces(
    ctx: click.Context,
    service: str,
    operation: str,
    least: str,
    errors: bool,
    since: str,
    start: str,
    end: str,
    limit: int,
    files: tuple[Path, ...],
    node: str,
    as_json: bool,
) -> None:
    """Traces, the newest first: when, what came in, how long it took, how many spans and errors, and which component
    held the request up the longest on its critical path.

    Traces are joined from the spans of all nodes. Of a file all of its time is looked at, unless --start says else.

    \b
    Examples:
      vagus traces list
      vagus traces list --service cart --least 200ms --since 10m
      vagus traces list --errors --json | jq -r '.traces[].trace_id'
      vagus traces list --file spans.csv.gz --limit 100
    """
    if files:
        wanted = (service, operation, round(seconds(least or 0) * NS), errors)
        if since or node:
            raise click.UsageError(
                "--since and --node ask for stored traces; a file's are chosen by --start and --end."
            )
        answer = _of_files(files, wanted, int(start or 0), int(end or 0), limit)
    else:
        asked: dict[str, Any] = {"service": service, "operation": operation, "least": least, "limit": limit}
        asked |= {"errors": "1" if errors else "", "node": node, **span_params(since, start, end, default="1h")}
        with connected(ctx) as connection:
            answer = ask(connection, "/v1/traces", **asked)
    if as_json:
        emit_json(answer)
        return
    to = console()
    warn_partial(answer, to)
    found = answer["traces"]
    if not found:
        click.echo("no such trace" if files else f"no such trace in the last {since or '1h'}", err=True)
        return
    columns = ("time", "trace", "service", "operation", "latency", "spans", "errors", "slowest on the critical path")
    right = ("latency", "spans", "errors")
    table(to, columns, [_row(trace) for trace in found], right, {columns[-1]: 24, "operation": 20}, spare=("service",))
    click.echo(f"{counted(len(found), 'trace')}{', and there are more' if answer.get('more') else ''}", err=True)


def _row(trace: dict[str, Any]) -> tuple[Any, ...]:
    slowest, latency_ns = trace["slowest"], trace["latency_ns"]
    share = f" {trace['slowest_ns'] / latency_ns:.0%}" if latency_ns else ""
    lost = f" ({trace['lost']} lost)" if trace["lost"] else ""
    return (
        *(clock_time(trace["t_ns"]), trace["trace_id"], trace["service"], trace["operation"], took(latency_ns)),
        *(
            f"{trace['spans']}{lost}",
            cell(trace["errors"] or "", "red"),
            f"{slowest} {took(trace['slowest_ns'])}{share}",
        ),
    )


def _of_files(
    files: tuple[Path, ...], wanted: tuple[str, str, int, bool], start_ns: int, end_ns: int, limit: int
) -> dict[str, Any]:
    """The same answer as the gateway's."""
    from vagus.gateway.traces import summaries

    service, operation, least_ns, errors = wanted
    spans = read_files(files)
    meant = {
        s.trace_id
        for s in spans
        if service in ("", s.service)
        and operation in ("", s.operation)
        and s.start_ns >= start_ns
        and (not end_ns or s.start_ns < end_ns)
    }
    found = summaries(span for span in spans if span.trace_id in meant)
    kept = [t for t in found if t.latency_ns >= least_ns and (t.errors or not errors)]
    return {"traces": to_builtins(kept[:limit]), "more": len(kept) > limit, "partial": False, "missing": []}
