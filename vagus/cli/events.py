"""`vagus events`: the records of what happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from vagus.cli.output import STATUS_STYLE, cell, clock_time, console, emit_json, json_option, quantity
from vagus.cli.session import Span, ask, connected, node_option
from vagus.cli.view_receipts import receipt_style, receipt_text
from vagus.cli.view_status import warn_partial
from vagus.model import Level

EMPTY: tuple[object, ...] = (None, "", "None", [], {})  # fields that say nothing
RECORDS = ("event", "receipt", "decision", "reward", "report", "item")


@click.command()
@click.option("--record", type=click.Choice(RECORDS), default="event", show_default=True, help="Which records.")
@click.option("--since", type=Span(), default="1h", show_default=True, metavar="DURATION", help="How far back.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most the newest N.")
@click.option("--event", default="", metavar="NAME", help='Events of this name; * crosses dots. NAME{label="v"} too.')
@click.option("--where", multiple=True, metavar="FIELD>N", help="Predicate on a field; several must all hold.")
@click.option("--level", type=click.Choice([level.value for level in Level]), default=None, help="At least this level.")
@click.option("--match", default="", metavar="TEXT", help="Only lines that contain TEXT.")
@node_option
@json_option
@click.pass_context
def events(
    ctx: click.Context,
    record: str,
    since: str,
    limit: int,
    event: str,
    where: tuple[str, ...],
    level: str | None,
    match: str,
    node: str,
    as_json: bool,
) -> None:
    """What happened, the newest at the end: events of logs and of vagus itself, receipts of actuators, decisions,
    rewards, reports, items of feeds.

    A predicate is FIELD, one of = != < <= > >= =~ !~, and a value: the field's own type decides how they compare
    ("..." around a value makes it a text); a pattern (=~) is of the whole value. node, source and level may be asked
    as fields.

    \b
    Examples:
      vagus events --since 10m
      vagus events --event 'log.*' --level warning
      vagus events --where 'VAL>2' --where 'DST=10.1.1.11' --since 24h
      vagus events --where 'error=~.*refused.*'
      vagus events --record receipt
      vagus events --record decision --limit 5 --json | jq '.records[].arm'
    """
    params: dict[str, Any] = {"kind": record, "since": since, "limit": limit, "node": node}
    if event or where or level:
        if record != "event":
            raise click.UsageError(f"--event, --where and --level ask for events, not for --record {record}.")
        params |= {"event": event, "where": where, "level": level or ""}
    with connected(ctx) as connection:
        answer: dict[str, Any] = ask(connection, "/v1/records", **params)
    lines = [(r, _LINES[record](r)) for r in answer["records"]]
    if match:
        lines = [(r, line) for r, line in lines if match.lower() in line.lower()]
    if as_json:
        emit_json({**answer, "records": [r for r, _ in lines]})
        return
    from rich.text import Text

    to = console()
    warn_partial(answer, to)
    for item, line in reversed(lines):
        when = clock_time(item.get("t_ns") or item.get("arrived_ns") or 0)
        to.print(Text.assemble((when + "  ", "dim"), cell(line, _style(item))), soft_wrap=True)
    if not lines:
        click.echo(f"no {record}s in the last {since}" + (f" that contain {match!r}" if match else ""), err=True)


def _style(item: dict[str, Any]) -> str:
    return receipt_style(item) if "dry" in item else STATUS_STYLE.get(str(item.get("level", "")), "")


def _pairs(fields: dict[str, Any]) -> str:
    return "  ".join(f"{k}={quantity(v) if isinstance(v, float) else v}" for k, v in fields.items() if v not in EMPTY)


def event_text(e: dict[str, Any]) -> str:
    """An event as a line: level, node, name, source, fields."""
    source = f" ({e['source']})" if e.get("source") else ""
    return f"{e['level']:<7} {e['node']}  {e['event']}{source}  {_pairs(e['fields'])}".rstrip()


def _decision(d: dict[str, Any]) -> str:
    arms = f" of {', '.join(d['arms'])}" if d.get("arms") else ""
    return (
        f"{d['decision_id']}  {d['arm']}{arms}  group {d['group'] or 'all'}, probability {d['propensity']:.3g}, "
        f"version {d['version']}  {_pairs(d['features'])}".rstrip()
    )


def _reward(r: dict[str, Any]) -> str:
    return f"{r['decision_id']}  {quantity(r['reward'])}" + (f"  for {r['arm']}" if r.get("arm") else "")


def _report(r: dict[str, Any]) -> str:
    contexts = "  ".join(f"{n}:{m['status']}:{quantity(m['score'])}" for n, m in r["contexts"].items())
    return f"{r['observer']} on {r['subject']}  {contexts}"


def _item(item: dict[str, Any]) -> str:
    return _pairs({k: v for k, v in item.items() if not k.endswith("_ns")})


_LINES: dict[str, Callable[[dict[str, Any]], str]] = {
    "event": event_text,
    "receipt": receipt_text,
    "decision": _decision,
    "reward": _reward,
    "report": _report,
    "item": _item,
}
