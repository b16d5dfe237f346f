"""`vagus traces show`."""

from __future__ import annotations

from pathlib import Path

import click

from vagus.cli.output import cell, console, emit_json, json_option
from vagus.cli.session import node_option
from vagus.cli.trace_source import file_option, one_trace
from vagus.cli.view_status import warn_partial
from vagus.cli.view_trace import render_trace
from vagus.model import to_builtins


@click.command("show")
@click.argument("trace_id", metavar="[TRACE]", default="")
@click.option("--critical", is_flag=True, help="Only the spans on the critical path.")
@click.option(
    *("--format", "form"),
    type=click.Choice(("tree", "jaeger", "otlp")),
    default="tree",
    show_default=True,
    help="jaeger: JSON that Jaeger's user interface opens; otlp: JSON that any OpenTelemetry collector takes.",
)
@file_option
@node_option
@json_option
@click.pass_context
def show(
    ctx: click.Context,
    trace_id: str,
    critical: bool,
    form: str,
    files: tuple[Path, ...],
    node: str,
    as_json: bool,
) -> None:
    """One trace as a tree of spans, with when each began, how long it took, and how long it held the request up itself.

    The critical path (marked ●) is what the request waited for, from its begin to its end: of children at once the one
    that returned last. Without TRACE the newest one that is five seconds old. Of a file the first digits of the id suffice.

    \b
    Examples:
      vagus traces show
      vagus traces show 0af7651916cd43dd8448eb211c80319c --critical
      vagus traces show 0af7651916cd43dd8448eb211c80319c --format jaeger > trace.json
      vagus traces show --file trace.json
      vagus traces show 01db --file spans.csv.gz --json | jq .trace.critical_ns
    """
    if as_json and form != "tree":
        raise click.UsageError("--json and --format exclude each other: the formats are JSON of their own.")
    shown = one_trace(ctx, trace_id, files, node)
    if form == "jaeger":
        from vagus.inputs.jaeger import write_jaeger

        emit_json(write_jaeger(shown.view.spans))
    elif form == "otlp":
        from vagus.client.span_otlp import request_of

        emit_json(request_of(shown.view.spans))
    elif as_json:
        emit_json({"trace": to_builtins(shown.view), **shown.envelope})
    else:
        to = console()
        warn_partial(shown.envelope, to)
        if shown.envelope.get("cut"):
            to.print(cell("the trace has more spans than a node tells at once: its first are shown", "yellow"))
        render_trace(shown.view, to, critical)
