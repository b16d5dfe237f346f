"""`vagus tail`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vagus.cli.lazy import one_line
from vagus.cli.output import cell, clock_time, console, emit_ndjson, json_option, quantity
from vagus.cli.session import Span, ask, connected, node_option
from vagus.model import Event, labels_text

if TYPE_CHECKING:
    from rich.text import Text

    from vagus.client.tail import Tail, Tick

PATIENCE = "60s"


@click.command()
@click.argument("selector", default="")
@click.option("--since", type=Span(), default="", help="Begin so far back, such as 5m, then go on live.")
@click.option("--events", metavar="PATTERNS", default="", help="Events too: glob patterns of names, such as 'log.*'.")
@click.option("-n", "count", type=click.IntRange(0), default=0, help="End after so many; 0: never.")
@click.option("--direct", is_flag=True, help="Ask the node that has the streams itself.")
@node_option
@json_option
@click.pass_context
def tail(
    ctx: click.Context, selector: str, since: str, events: str, count: int, direct: bool, node: str, as_json: bool
) -> None:
    """Samples of the whole cluster as they come in, a line each, until Ctrl-C; with --since the past first.

    Nothing is left out or twice between past and present, nor when the gateway restarts: the stream goes on where it
    broke off. A reader that does not keep up loses the oldest, and is told how many.

    \b
    Examples:
      vagus tail pressure.cpu
      vagus tail 'host.cpu.user{node="a"}' --since 5m -n 10
      vagus tail 'net.*' --json | jq .values
      vagus tail --events 'log.*,actor.*' --since 1h
    """
    with connected(ctx) as connection:
        if selector or not events:
            found = ask(connection, "/v1/sensors", selector=selector or "*", node=node)["sensors"]
            if not any(sensor["live"] for sensor in found):
                click.secho("no such stream is live now: waiting", fg="yellow", err=True)
        with connection.subscribe(
            selector, events=events, since=since or 0.0, node=node, direct=direct, patience=PATIENCE
        ) as tailed:
            _follow(tailed, count, as_json)


def _follow(tailed: Tail, count: int, as_json: bool) -> None:
    to = console()
    told: dict[str, object] = {}
    left = count
    for item in tailed.ticks():
        if as_json:
            emit_ndjson(item)
        else:
            to.print(_line(item), soft_wrap=True)
        again = {"again": f"{tailed.reconnects} x"} if tailed.reconnects else {}
        _tell({"dropped": tailed.dropped, **tailed.missing, **tailed.gaps, **again}, told)
        left -= 1
        if not left:
            return


def _line(item: Tick | Event) -> Text:
    from rich.text import Text

    if isinstance(item, Event):
        name, given = f"{item.event}{labels_text({'node': item.node})}", item.fields.items()
        values = "  ".join([item.level.value, *(f"{field}={value}" for field, value in given)])
    else:
        name = item.kind + labels_text({**item.labels, "node": item.node})
        values = "  ".join(f"{field}={quantity(value) or '–'}" for field, value in item.values.items())
    return Text.assemble((clock_time(item.t_ns)[11:] + "  ", "dim"), cell(name, "cyan"), "  ", cell(values))


def _tell(trouble: dict[str, object], told: dict[str, object]) -> None:
    """Says once what is lost: items that came too fast for this reader, nodes that do not answer."""
    for name, what in trouble.items():
        if what and told.get(name) != what:
            told[name] = what
            known = {"dropped": f"too slow: {what} items lost", "again": f"connected again: {what}"}
            text = known.get(name, f"without {name}: {what}")
            click.secho(one_line(text), fg="yellow", err=True)
