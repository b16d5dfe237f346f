"""`vagus tail`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vagus.cli.lazy import one_line
from vagus.cli.output import cell, clock_time, console, emit_ndjson, json_option, quantity
from vagus.cli.session import ask, connected, node_option
from vagus.model import labels_text

if TYPE_CHECKING:
    from rich.text import Text

    from vagus.client.connection import Connection
    from vagus.client.tail import Tick


@click.command()
@click.argument("selector", default="*")
@click.option("-n", "count", type=click.IntRange(0), default=0, help="End after so many samples; 0: never.")
@node_option
@json_option
@click.pass_context
def tail(ctx: click.Context, selector: str, count: int, node: str, as_json: bool) -> None:
    """Samples of the whole cluster as they come in, a line each, until Ctrl-C.

    A reader that does not keep up loses the oldest, and is told how many.

    \b
    Examples:
      vagus tail pressure.cpu
      vagus tail 'host.cpu.user{node="a"}' -n 10
      vagus tail 'net.*' --json | jq .values
    """
    with connected(ctx) as connection:
        found = ask(connection, "/v1/sensors", selector=selector, node=node)["sensors"]
        if not any(sensor["live"] for sensor in found):
            click.secho("no such stream is live now: waiting", fg="yellow", err=True)
        _follow(connection, selector, node, count, as_json)


def _follow(connection: Connection, selector: str, node: str, count: int, as_json: bool) -> None:
    to = console()
    told: dict[str, object] = {}
    left = count
    with connection.tail(selector, node=node) as tailed:
        for tick in tailed.ticks():
            if as_json:
                emit_ndjson(tick)
            else:
                to.print(_line(tick), soft_wrap=True)
            _tell({"dropped": tailed.dropped, **tailed.missing}, told)
            left -= 1
            if not left:
                return


def _line(tick: Tick) -> Text:
    from rich.text import Text

    name = tick.kind + labels_text({**tick.labels, "node": tick.node})
    values = "  ".join(f"{field}={quantity(value) or '–'}" for field, value in tick.values.items())
    return Text.assemble((clock_time(tick.t_ns)[11:] + "  ", "dim"), cell(name, "cyan"), "  ", cell(values))


def _tell(trouble: dict[str, object], told: dict[str, object]) -> None:
    """Says once what is lost: chunks that came too fast for this reader, nodes that do not answer."""
    for name, what in trouble.items():
        if what and told.get(name) != what:
            told[name] = what
            text = f"too slow: {what} chunks of samples lost" if name == "dropped" else f"without {name}: {what}"
            click.secho(one_line(text), fg="yellow", err=True)
