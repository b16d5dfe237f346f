"""`vagus traces`: a group of commands on the traces of requests, stored ones and those of files."""

from __future__ import annotations

import click

from vagus.cli.lazy import Entry, LazyGroup

ENTRIES = (
    Entry("list", "vagus.cli.traces_list:list_traces", "Traces in a line each: latency, errors, the slowest.", "Look"),
    Entry("show", "vagus.cli.traces_show:show", "One trace as a tree, its critical path marked; export.", "Look"),
    Entry("graph", "vagus.cli.traces_graph:graph", "One trace as a waterfall, also as PNG or SVG.", "Look"),
)


@click.group("traces", cls=LazyGroup, entries=ENTRIES)
def traces() -> None:
    """The execution graphs of requests: what called what, how long it took, and what held the request up.

    Services send spans to any node's gateway: OpenTelemetry's exporters to /v1/traces, Jaeger's JSON to /api/traces,
    Python programs by `vagus.span`. A file of spans is a CSV (as of `vagus localize`) or Jaeger's or OTLP's JSON,
    plain or gzipped.

    \b
    Examples:
      vagus traces list --least 200ms
      vagus traces show                                  the newest one
      vagus traces show 0af7651916cd43dd8448eb211c80319c --format jaeger > trace.json
      vagus traces graph --file spans.csv.gz -o trace.png
    """
