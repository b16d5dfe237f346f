"""`vagus status`."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.output import cell, console, emit_json, emit_ndjson, json_option
from vagus.cli.refusals import words
from vagus.cli.session import ask, connected, node_option
from vagus.cli.view_status import render_status, summarise
from vagus.errors import VagusError

if TYPE_CHECKING:
    from rich.console import Console

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

    Exit status: 0 all of vagus is well, 1 no gateway answers, 3 something of vagus is degraded: a node is missing, an
    actor is not healthy, a collector fails. An unhealthy subject is an answer of vagus, not a fault of it: it shows,
    and changes nothing here.

    \b
    Examples:
      vagus status
      vagus status --watch
      vagus status --json | jq .series
      vagus status --json | jq -r '.actors[] | select(.state != "HEALTHY") | .name'
    """
    if watch:
        _watch(ctx, as_json, every_s, node)
    with connected(ctx) as connection:
        document = fetch_status(connection, node)
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


def _watch(ctx: click.Context, as_json: bool, every_s: float, node: str) -> None:
    """Never returns; a gateway that does not answer is shown, and asked again."""
    to = console()
    with contextlib.ExitStack() as stack:
        show = _shown_as(to, as_json, stack)
        while True:
            try:
                with connected(ctx) as connection:
                    document: dict[str, Any] | VagusError = fetch_status(connection, node)
            except VagusError as error:
                document = error
            show(document)
            time.sleep(every_s)


def _shown_as(to: Console, as_json: bool, stack: contextlib.ExitStack) -> Callable[[dict[str, Any] | VagusError], None]:
    """How a turn of `--watch` is shown: a line of JSON, a page drawn over the last one, or text one after the other."""
    if as_json:
        return lambda document: emit_ndjson(
            {"state": "unreachable", "errors": [words(document)]}
            if isinstance(document, VagusError)
            else summarise(document)
        )
    if not to.is_terminal:
        return lambda document: _page(document, to)
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    live = stack.enter_context(Live(console=to, screen=True, auto_refresh=False))

    def draw(document: dict[str, Any] | VagusError) -> None:
        page = Console(file=io.StringIO(), force_terminal=True, width=to.width, highlight=False)
        with page.capture() as captured:
            _page(document, page)
        live.update(Text.from_ansi(captured.get()), refresh=True)

    return draw


def _page(document: dict[str, Any] | VagusError, to: Console) -> None:
    if isinstance(document, VagusError):
        to.print(cell(f"error: {words(document)}", "red"), soft_wrap=True)
    else:
        render_status(document, to)
    if not to.is_terminal:
        to.print()
