"""`vagus sensors`."""

from __future__ import annotations

from typing import Any

import click

from vagus.cli.output import age, cell, console, emit_json, json_option, quantity, table
from vagus.cli.session import ask, connected, node_option
from vagus.cli.view_status import warn_partial
from vagus.model import labels_text

MOST_FIELDS = 6


@click.command()
@click.argument("selector", default="*")
@click.option("--fields", "by_field", is_flag=True, help="A line for each field, with its unit and type.")
@click.option("--live", "live_only", is_flag=True, help="Only streams that still send.")
@node_option
@json_option
@click.pass_context
def sensors(ctx: click.Context, selector: str, by_field: bool, live_only: bool, node: str, as_json: bool) -> None:
    """The streams that are sensed now, or were: kind, labels, fields, how much is stored.

    A selector is kind[.field]{label="value", label=~"pattern"}; * crosses dots; node is a label like any other.

    \b
    Examples:
      vagus sensors
      vagus sensors 'host.*' --fields
      vagus sensors '*{dev=~"eth.*"}' --live
      vagus sensors --json | jq -r '.sensors[].stream.kind' | sort -u
    """
    with connected(ctx) as connection:
        answer: dict[str, Any] = ask(connection, "/v1/sensors", selector=selector, node=node)
    if live_only:
        answer["sensors"] = [s for s in answer["sensors"] if s["live"]]
    if as_json:
        emit_json(answer)
        return
    to = console()
    warn_partial(answer, to)
    found = sorted(answer["sensors"], key=lambda s: (s["stream"]["kind"], s["stream"]["node"], _labels(s["stream"])))
    rows: list[tuple[Any, ...]]
    if by_field:
        rows = [
            (
                f"{s['stream']['kind']}.{f['name']}",
                s["stream"]["node"],
                _labels(s["stream"]),
                f["unit"] or "–",
                _type(f),
            )
            for s in found
            for f in s["stream"]["fields"]
        ]
        table(
            to, ("series", "node", "labels", "unit", "type"), rows, wide={"labels": 24, "series": 32}, spare=("type",)
        )
    else:
        rows = [
            (
                s["stream"]["kind"],
                s["stream"]["node"],
                _labels(s["stream"]),
                len(s["stream"]["fields"]),
                quantity(s["samples"]),
                cell("live", "green") if s["live"] else cell(f"ended {age(s['last_ns'])} ago", "dim"),
                age(s["first_ns"]),
                _field_names(s["stream"]),
            )
            for s in found
        ]
        columns = ("kind", "node", "labels", "series", "samples", "state", "since", "fields")
        right = ("series", "samples", "since")
        table(
            to,
            columns,
            rows,
            right=right,
            wide={"labels": 30, "fields": 24, "kind": 24},
            spare=("fields", "series", "node"),
        )
    series = sum(len(s["stream"]["fields"]) for s in found)
    live = sum(len(s["stream"]["fields"]) for s in found if s["live"])
    click.echo(f"{len(found)} streams, {series} series, {live} of them live", err=True)


def _labels(stream: dict[str, Any]) -> str:
    return labels_text(stream["labels"]) if stream["labels"] else ""


def _field_names(stream: dict[str, Any]) -> str:
    names = [f["name"] for f in stream["fields"]]
    more = len(names) - MOST_FIELDS
    return " ".join(names[:MOST_FIELDS]) + (f" and {more} more" if more > 0 else "")


def _type(field: dict[str, Any]) -> str:
    return str(field["dtype"]) + (" counter" if field["counter"] else "")
