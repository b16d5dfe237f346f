"""`vagus page`: the address of the page that shows the cluster live."""

from __future__ import annotations

import click

from vagus.cli.health_page import show_page
from vagus.cli.output import json_option
from vagus.cli.session import server_option


@click.command()
@click.option("--open", "in_browser", is_flag=True, help="Open it in this machine's browser as well.")
@server_option
@json_option
@click.pass_context
def page(ctx: click.Context, in_browser: bool, as_json: bool) -> None:
    """The address of the page with the cluster at a glance, live: nodes, health, feeds, decisions, limits, forecasts.

    The address carries the token behind its #, as that of `vagus health page`; whoever has the address has the token.

    \b
    Examples:
      vagus page
      vagus page --open
    """
    show_page(ctx, "/", "/v1/status", in_browser, as_json)
