"""`vagus health tail`: changes of verdicts as they come."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import click

from vagus.cli.lazy import one_line
from vagus.cli.output import emit_ndjson, json_option
from vagus.cli.session import Span, ask, connected, node_option, server_option
from vagus.cli.view_panorama import coloured, instant
from vagus.client.connection import Connection
from vagus.model import Event

EVENT = "health.changed"
PATIENCE = "60s"


@click.command()
@click.argument("subjects", nargs=-1, metavar="[SUBJECT...]")
@click.option("--since", type=Span(), default="", help="Begin so far back, such as 5m, then go on live.")
@click.option("-n", "count", type=click.IntRange(0), default=0, help="End after so many; 0: never.")
@server_option
@node_option
@json_option
@click.pass_context
def tail(ctx: click.Context, subjects: tuple[str, ...], since: str, count: int, node: str, as_json: bool) -> None:
    """Changes of verdicts as they come, each once, until Ctrl-C: what the node that is asked infers (or --node).

    SUBJECT: only these; glob patterns. A lost connection is taken up again where it broke off.

    \b
    Examples:
      vagus health tail
      vagus health tail 'node:*' --since 1h
      vagus health tail --json | jq -r 'select(.status == "DEAD") | .subject'
    """
    left = count
    with connected(ctx) as connection, contextlib.closing(_changes(connection, since, node)) as found:
        for change in found:
            if subjects and not any(fnmatchcase(change["subject"], pattern) for pattern in subjects):
                continue
            if as_json:
                emit_ndjson(change)
            else:
                click.echo(_line(change))
            left -= 1
            if not left:
                return


def _changes(connection: Connection, since: str, node: str) -> Generator[dict[str, Any], None, None]:
    node = node or str(ask(connection, "/healthz", scope="node").get("node", ""))  # the others infer the same
    with connection.subscribe(events=EVENT, since=since or 0.0, node=node, patience=PATIENCE) as tailed:
        for item in tailed.ticks():
            if isinstance(item, Event) and item.event == EVENT:
                yield {"t_ns": item.t_ns, "node": item.node, **item.fields}


def _line(change: Mapping[str, Any]) -> str:
    """`2017-05-19T17:16:25Z db@2: HEALTHY -> UNHEALTHY (read), accused by api@1`; of a context alone `db@2 read: …`."""
    text = {name: one_line(str(change.get(name, ""))) for name in ("subject", "context", "contexts", "accusers")}
    was, status = coloured(str(change.get("was", "NA"))), coloured(str(change.get("status", "")))
    name = f"{text['subject']} {text['context']}".strip()
    said = f"{instant(change['t_ns'])} {name}: {was} -> {status}"
    said += f" ({text['contexts']})" if text["contexts"] else ""
    return said + (f", accused by {text['accusers']}" if text["accusers"] else "")
