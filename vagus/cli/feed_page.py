"""`vagus feed page`: the address of the page that shows feeds live."""

from __future__ import annotations

from urllib.parse import quote

import click

from vagus.cli.health_page import show_page
from vagus.cli.output import json_option
from vagus.cli.session import server_option


@click.command()
@click.argument("name", default="")
@click.option("--open", "in_browser", is_flag=True, help="Open it in this machine's browser as well.")
@server_option
@json_option
@click.pass_context
def page(ctx: click.Context, name: str, in_browser: bool, as_json: bool) -> None:
    """The address of the page with each feed's newest items as a table, live: sorted, narrowed by an expression.

    NAME is the feed that it opens with. The address carries the token behind its #, as that of `vagus health page`;
    whoever has the address has the token.

    \b
    Examples:
      vagus feed page
      vagus feed page comon --open
    """
    show_page(ctx, f"/feeds?feed={quote(name, safe='')}" if name else "/feeds", "/v1/feeds", in_browser, as_json)
