"""`vagus health matrix`: who says what of whom, at one glance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vagus.cli.output import console, emit_json, json_option
from vagus.cli.refusals import words
from vagus.cli.session import ask, connected, node_option, server_option
from vagus.errors import VagusError

if TYPE_CHECKING:
    from rich.console import Console


@click.command()
@click.option("--watch", is_flag=True, help="Show it again and again (with --json: a line each).")
@click.option("--every", "every_s", type=click.FloatRange(0.2, 3600), default=1.0, show_default=True, metavar="SECONDS")
@server_option
@node_option
@json_option
@click.pass_context
def matrix(ctx: click.Context, watch: bool, every_s: float, node: str, as_json: bool) -> None:
    """Observers × subjects: in each cell the status that the observer reported last, beside it the verdict.

    Where the terminal is narrow, statuses are letters and observers numbers, explained below the table.

    \b
    Examples:
      vagus health matrix
      vagus health matrix --watch
      vagus health matrix --json | jq '.cells[] | select(.status == "UNHEALTHY")'
    """

    def fetch() -> dict[str, Any]:
        with connected(ctx) as connection:
            return ask(connection, "/v1/matrix", node=node)

    if watch:
        from vagus.cli import redraw

        def form(turn: dict[str, Any] | VagusError) -> Any:
            return {"error": words(turn)} if isinstance(turn, VagusError) else turn

        redraw.watch(fetch, _render, every_s, form if as_json else None)
    answer = fetch()
    if as_json:
        emit_json(answer)
    else:
        _render(answer, console())


def _render(answer: dict[str, Any], to: Console) -> None:
    from vagus.cli.view_matrix import render_matrix
    from vagus.cli.view_status import warn_partial

    warn_partial(answer, to)
    render_matrix(answer, to)
