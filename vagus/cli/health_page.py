"""`vagus health page`: the address of the page that shows health live."""

from __future__ import annotations

from urllib.parse import quote

import click

from vagus.cli.output import emit_json, json_option
from vagus.cli.session import ask, connected, server_option
from vagus.errors import VagusError


@click.command()
@click.option("--open", "in_browser", is_flag=True, help="Open it in this machine's browser as well.")
@server_option
@json_option
@click.pass_context
def page(ctx: click.Context, in_browser: bool, as_json: bool) -> None:
    """The address of the page with observers × subjects, live, and the evidence behind each cell.

    The address carries the token behind its #, which browsers send to nobody; the page takes it out of the address at
    once and keeps it for its tab. Whoever has the address has the token; with --open the browser is given another one
    that is good once, since all users may read the arguments of programs. A gateway listens on its own machine only:
    from another one, forward its port first.

    \b
    Examples:
      vagus health page
      vagus health page --open
      ssh -L 7117:127.0.0.1:7117 node1      then, on your machine, open the address that node1 printed
    """
    show_page(ctx, "/health", "/v1/subjects", in_browser, as_json)


def show_page(ctx: click.Context, path: str, probe: str, in_browser: bool, as_json: bool) -> None:
    """Prints a page's address with the token behind its #, and opens it on request; `probe` is asked first."""
    from vagus.client import endpoint

    with connected(ctx) as connection:
        ask(connection, probe)  # says clearly when nothing listens there, or the token is not good
    options = ctx.find_root().obj
    found = endpoint.find(options.url, options.token, home=options.home or None)
    url = f"{found.url}{path}#token={quote(found.token, safe='')}"
    if as_json:
        emit_json({"url": url})
    else:
        click.echo(url)
    if in_browser:
        from vagus.cli import once

        if not once.open_in_browser(url):
            raise VagusError("no browser came for it on this machine; open the address yourself")
