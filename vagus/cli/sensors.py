"""`vagus sensors`: what there is to subscribe to, and what tells about a path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from vagus.cli.output import age, cell, console, counted, emit_json, json_option, near, quantity, table, unit_text
from vagus.cli.session import ask, connected, node_option
from vagus.cli.view_path import render_path
from vagus.cli.view_status import warn_partial
from vagus.model import escape_label, labels_text

MOST_FIELDS = 6
TYPES = ("stream", "gateway", "observer", "feed", "policy", "actuator")


@click.command()
@click.argument("selector", required=False)
@click.option("--kind", default="", metavar="KIND", help="Only this kind, such as host.cpu or 'net.*'.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Only with this label; may be repeated.")
@click.option("--history", is_flag=True, help="Also what has ended.")
@click.option("--type", "of_type", type=click.Choice([*TYPES, "all"]), default="stream", show_default=True)
@click.option("--path", "ends", nargs=2, metavar="A B", help="What tells about the path from node A to B.")
@click.option("--fields", "by_field", is_flag=True, help="A line for each field: unit, type, value, forecast.")
@node_option
@json_option
@click.pass_context
def sensors(
    ctx: click.Context,
    selector: str | None,
    kind: str,
    labels: Sequence[str],
    history: bool,
    of_type: str,
    ends: tuple[str, str] | None,
    by_field: bool,
    node: str,
    as_json: bool,
) -> None:
    """The streams that are sensed now: kind, labels, fields, how much is stored; with --history also what has ended.

    A selector is kind[.field]{label="value", label=~"pattern"}; * crosses dots; node is a label like any other.
    --type lists what else can be discovered: gateways, observers, feeds, policies, actuators.

    --path traces the route from node A to B (a node, a network device that is read by SNMP, or any address) and lists
    its hops in order, each with the streams that tell about it: both ends, the routers' interfaces, the probes.

    \b
    Examples:
      vagus sensors
      vagus sensors 'host.*' --fields
      vagus sensors --kind net.link --label dev=eth0 --history
      vagus sensors --type feed
      vagus sensors --path web1 db2
      vagus sensors --json | jq -r '.sensors[].stream.kind' | sort -u
    """
    wanted = _labels_of(labels)
    if ends:
        if selector or kind or wanted or node or by_field or of_type != "stream":
            raise click.UsageError("--path goes with --history and --json only.")
        _path(ctx, ends, history, as_json)
    elif of_type == "stream":
        _streams(ctx, _selector(selector, kind, wanted), node, history, by_field, as_json)
    else:
        if selector or kind or by_field:
            raise click.UsageError(f"a selector, --kind and --fields are for streams; --type {of_type} has none.")
        _entries(ctx, "" if of_type == "all" else of_type, wanted, node, history, as_json)


def _labels_of(pairs: Sequence[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise click.UsageError(f"--label {pair[:80]}: expected NAME=VALUE, such as dev=eth0.")
        found[name] = value
    return found


def _selector(selector: str | None, kind: str, labels: dict[str, str]) -> str:
    """One selector of all that was given."""
    if selector and kind:
        raise click.UsageError("give a selector or --kind, not both.")
    if not labels:
        return selector or kind or "*"
    name, brace, rest = (selector or kind or "*").partition("{")
    own = rest.rstrip().removesuffix("}").strip().rstrip(",") if brace else ""
    given = ",".join(f'{label}="{escape_label(value)}"' for label, value in labels.items())
    return f"{name}{{{own + ',' if own else ''}{given}}}"


# --- streams ---------------------------------------------------------------------------------------------------------


def _streams(ctx: click.Context, selector: str, node: str, history: bool, by_field: bool, as_json: bool) -> None:
    asked = {"selector": selector, "node": node, "history": "1" if history else ""}
    with connected(ctx) as connection:
        answer: dict[str, Any] = ask(connection, "/v1/sensors", **asked)
        known = [] if as_json or answer["sensors"] else ask(connection, "/v1/sensors", node=node)["sensors"]
    if as_json:
        emit_json(answer)
        return
    to = console()
    warn_partial(answer, to)
    if not answer["sensors"]:
        kind = selector.partition("{")[0]
        hint = near(kind, {s["stream"]["kind"] for s in known} - {kind})
        click.echo(f"no stream matches {selector!r}{_ended(answer) or hint}", err=True)
        return
    found = sorted(answer["sensors"], key=lambda s: (s["stream"]["kind"], s["stream"]["node"], _labels(s["stream"])))
    if by_field:
        _print_fields(to, found)
    else:
        _print_streams(to, found)
    series = sum(len(s["stream"]["fields"]) for s in found)
    live = sum(len(s["stream"]["fields"]) for s in found if s["live"])
    click.echo(f"{counted(len(found), 'stream')}, {series} series, {live} of them live{_ended(answer)}", err=True)


def _ended(answer: dict[str, Any]) -> str:
    return f"; {answer['ended']} have ended: --history shows them" if answer.get("ended") else ""


def _print_streams(to: Any, found: Sequence[dict[str, Any]]) -> None:
    rows = [
        (
            s["stream"]["kind"],
            s["stream"]["node"],
            _labels(s["stream"]),
            len(s["stream"]["fields"]),
            quantity(s["samples"]),
            cell("live", "green") if s["live"] else cell(f"ended {age(s['last_ns'])} ago", "dim"),
            age(s["first_ns"]),
            s["source"],
            _field_names(s["stream"]),
        )
        for s in found
    ]
    columns = ("kind", "node", "labels", "series", "samples", "state", "since", "source", "fields")
    right = ("series", "samples", "since")
    wide = {"labels": 30, "fields": 24, "kind": 24}
    table(to, columns, rows, right=right, wide=wide, spare=("fields", "source", "series", "node"))


def _print_fields(to: Any, found: Sequence[dict[str, Any]]) -> None:
    """A line a field; value, forecast, its error and the trend where any field has them: those of counters as rates."""
    known = any(s["outlook"] for s in found)
    rows = []
    for s in found:
        outlook = {o["field"]: o for o in s["outlook"]}
        for f in s["stream"]["fields"]:
            unit = unit_text(f["unit"], f["counter"] and known)
            row: list[Any] = [
                f"{s['stream']['kind']}.{f['name']}",
                s["stream"]["node"],
                _labels(s["stream"]),
                unit,
                _type(f),
            ]
            rows.append((*row, *_outlook(outlook.get(f["name"]), unit)) if known else tuple(row))
    columns: tuple[str, ...] = ("series", "node", "labels", "unit", "type")
    right: tuple[str, ...] = ()
    if known:
        columns, right = (*columns, "value", "forecast", "±", "trend"), ("value", "forecast", "±")
    table(to, columns, rows, right=right, wide={"labels": 24, "series": 32}, spare=("type",))


def _outlook(outlook: dict[str, Any] | None, unit: str) -> tuple[str, str, str, str]:
    """Value, forecast, the root of its mean squared error, trend."""
    if outlook is None:
        return "", "", "", ""
    mse = outlook["mse"]
    error = quantity(mse**0.5, unit) if mse is not None and mse >= 0 else ""
    return quantity(outlook["value"], unit), quantity(outlook["forecast"], unit), error, outlook["trend"]


def _labels(stream: dict[str, Any]) -> str:
    return labels_text(stream["labels"]) if stream["labels"] else ""


def _field_names(stream: dict[str, Any]) -> str:
    names = [f["name"] for f in stream["fields"]]
    more = len(names) - MOST_FIELDS
    return " ".join(names[:MOST_FIELDS]) + (f" and {more} more" if more > 0 else "")


def _type(field: dict[str, Any]) -> str:
    return str(field["dtype"]) + (" counter" if field["counter"] else "")


# --- what else there is ----------------------------------------------------------------------------------------------


def _entries(ctx: click.Context, of_type: str, labels: dict[str, str], node: str, history: bool, as_json: bool) -> None:
    text = ",".join(f"{name}={value}" for name, value in labels.items())
    asked = {"type": of_type, "node": node, "label": text, "history": "1" if history else ""}
    with connected(ctx) as connection:
        answer: dict[str, Any] = ask(connection, "/v1/directory", **asked)
    if as_json:
        emit_json(answer)
        return
    to = console()
    warn_partial(answer, to)
    rows = [
        (
            e["type"],
            e["name"],
            e["node"],
            labels_text(e["labels"]) if e["labels"] else "",
            cell("live", "green") if e["live"] else cell(f"ended {age(e['last_ns'])} ago", "dim"),
            age(e["since_ns"]),
            e["online"] or e["note"],
        )
        for e in answer["entries"]
    ]
    columns = ("type", "name", "node", "labels", "state", "since", "at")
    if rows:
        table(to, columns, rows, right=("since",), wide={"labels": 30, "at": 24}, spare=("since",))
    click.echo(f"{counted(len(rows), 'entry')}{_ended(answer)}", err=True)


# --- a path ----------------------------------------------------------------------------------------------------------


def _path(ctx: click.Context, ends: tuple[str, str], history: bool, as_json: bool) -> None:
    asked = {"from": ends[0], "to": ends[1], "history": "1" if history else ""}
    with connected(ctx) as connection:
        answer: dict[str, Any] = ask(connection, "/v1/path", **asked)
    if as_json:
        emit_json(answer)
        return
    to = console()
    warn_partial(answer, to)
    render_path(answer, to)
