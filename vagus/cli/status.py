"""`vagus status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vagus.cli import redraw
from vagus.cli.output import console, emit_json, json_option
from vagus.cli.refusals import words
from vagus.cli.session import ask, connected, node_option
from vagus.cli.view_status import render_status, summarise
from vagus.errors import VagusError

if TYPE_CHECKING:
    from vagus.client.connection import Connection

DEGRADED = 3


@click.command()
@json_option
@click.option("--watch", is_flag=True, help="Show it again and again (with --json: a line each).")
@click.option("--every", "every_s", type=click.FloatRange(0.2, 3600), default=2.0, show_default=True, metavar="SECONDS")
@node_option
@click.pass_context
def status(ctx: click.Context, as_json: bool, watch: bool, every_s: float, node: str) -> None:
    """What is sensed, how healthy it is, what is decided, and what the actors of vagus are doing.

    Exit status: 0 all of vagus is well, 1 no gateway answers, 3 something of vagus is degraded: a node does not answer,
    an actor is not healthy, a collector fails, or something is missing of what `expected` in vagus.yaml says there
    should be (nodes, services; an actor that crash-loops). An unhealthy subject that is not expected is an answer of
    vagus, not a fault of it: it shows, and changes nothing here.

    \b
    Examples:
      vagus status
      vagus status --watch
      vagus status --json | jq .series
      vagus status --json | jq -r '.missing[] | "\\(.what) \\(.why): \\(.todo)"'
      vagus status --json | jq -r '.actors[] | select(.state != "HEALTHY") | .name'
    """

    def fetch() -> dict[str, Any]:
        with connected(ctx) as connection:
            return fetch_status(connection, node)

    if watch:
        redraw.watch(fetch, render_status, every_s, _line if as_json else None)
    document = fetch()
    whole = summarise(document)
    if as_json:
        emit_json(whole)
    else:
        render_status(document, console())
    if whole["state"] != "ok":
        ctx.exit(DEGRADED)


def fetch_status(connection: Connection, node: str = "") -> dict[str, Any]:
    """The document that `render_status` takes: GET /v1/status, with the verdicts as `health` to name accusers."""
    document = ask(connection, "/v1/status", node=node)
    try:
        document["health"] = ask(connection, "/v1/health", node=node)["inferences"]
    except VagusError:  # then status says why, and the subjects go without accusers
        document["health"] = []
    return document


def _line(turn: dict[str, Any] | VagusError) -> dict[str, Any]:
    if isinstance(turn, VagusError):
        return {"state": "unreachable", "errors": [words(turn)]}
    return summarise(turn)
