"""`vagus decide log`: decisions, the probabilities that they were drawn by, and what became of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.output import cell, clock_time, console, counted, emit_json, json_option, quantity, span, table
from vagus.cli.session import Moment, Span, ask, connected, node_option, span_params
from vagus.cli.view_status import warn_partial
from vagus.clock import NS

if TYPE_CHECKING:
    from vagus.client.connection import Connection

PAGE = 10_000  # as many as a gateway gives at once
MOST = 500_000
COLUMNS = ("t_s", "group", "arm", "reward", "propensity")


@click.command()
@click.option("--group", default=None, metavar="GROUP", help="Only of this group ('' is the one of all).")
@click.option("--since", type=Span(), default="", metavar="DURATION", help="How far back.  [default: 1h]")
@click.option("--start", type=Moment(), default="", metavar="TIME", help="From then, instead of --since.")
@click.option("--end", type=Moment(), default="", metavar="TIME", help="Until then.  [default: now]")
@click.option("--limit", type=click.IntRange(1, MOST), default=None, help="The newest N.  [default: 50; CSV: 100000]")
@click.option("--csv", "as_csv", is_flag=True, help="t_s,group,arm,reward,propensity, as `vagus replay` reads it.")
@node_option
@json_option
@click.pass_context
def log(
    ctx: click.Context,
    group: str | None,
    since: str,
    start: str,
    end: str,
    limit: int | None,
    as_csv: bool,
    node: str,
    as_json: bool,
) -> None:
    """Decisions, the newest at the end: arm, group, the probability that it was drawn by, and its reward.

    --csv writes those that have a reward, in order of time, so that other policies can be judged by them:
    `vagus replay FILE.csv`, `vagus decide evaluate --file FILE.csv`.

    \b
    Examples:
      vagus decide log
      vagus decide log --group zurich --since 10m
      vagus decide log --since 24h --csv > log.csv
      vagus decide log --json | jq '.decisions[] | select(.reward == null)'
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other.")
    asked = {"group": group, "node": node, **span_params(since, start, end, "1h")}
    with connected(ctx) as connection:
        answer = fetch(connection, asked, limit or (100_000 if as_csv else 50))
    if as_json:
        emit_json(answer)
        return
    warn_partial(answer, console() if not as_csv else _stderr())
    found = answer["decisions"][::-1]
    rewarded = [one for one in found if one["reward"] is not None]
    if as_csv:
        click.echo(csv_of(rewarded), nl=False)
        click.echo(f"{counted(len(rewarded), 'decision')} with a reward, of {len(found)}", err=True)
    elif found:
        _print(found)
        click.echo(f"{counted(len(found), 'decision')}, {len(rewarded)} with a reward", err=True)
    else:
        click.echo("no decisions in that time; `vagus decide ARM...` makes one", err=True)


def fetch(connection: Connection, asked: dict[str, Any], limit: int) -> dict[str, Any]:
    """The newest decisions, newest first, fetched in pages: `decisions`, `partial`, `missing`."""
    found: dict[str, dict[str, Any]] = {}
    missing: dict[str, dict[str, Any]] = {}
    page, asked = dict[str, Any](), {name: value for name, value in asked.items() if value is not None}
    group = {"group": asked.pop("group")} if "group" in asked else {}
    while len(found) < limit:
        asked = {name: value for name, value in asked.items() if value} | group
        wanted = min(PAGE, limit - len(found) + bool(found))  # a later page begins with the last one's end
        page = ask(connection, "/v1/decide/log", **asked, limit=wanted)
        missing |= {each["node"]: each for each in page["missing"]}
        fresh = {one["decision_id"]: one for one in page["decisions"] if one["decision_id"] not in found}
        found |= fresh
        if not fresh or len(page["decisions"]) < wanted:
            break
        asked |= _before(asked, page["decisions"][-1]["t_ns"])
    return {"decisions": list(found.values())[:limit], "partial": bool(missing), "missing": list(missing.values())}


def _before(asked: dict[str, Any], t_ns: int) -> dict[str, Any]:
    """The span up to and with `t_ns`: several may have the same time."""
    if asked.get("since"):
        from time import time_ns

        from vagus.config import seconds

        return {"since": "", "start": str(time_ns() - round(seconds(asked["since"]) * NS)), "end": str(t_ns + 1)}
    return {"end": str(t_ns + 1)}


def csv_of(decisions: Sequence[dict[str, Any]]) -> str:
    """Decisions that have rewards, oldest first, as a trace."""
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow(COLUMNS)
    for one in decisions:
        lines.writerow((f"{one['t_ns'] / NS:.6f}", one["group"], one["arm"], one["reward"], one["propensity"]))
    return out.getvalue()


def _stderr() -> Any:
    import sys

    return console(sys.stderr)


def _print(decisions: Sequence[dict[str, Any]]) -> None:
    lines = [
        (
            cell(clock_time(one["t_ns"]), "dim"),
            one["group"] or "all",
            cell(one["arm"], "bold"),
            f"{one['propensity']:.3g}",
            quantity(one["reward"]) if one["reward"] is not None else cell("–", "dim"),
            span((one["reward_t_ns"] - one["t_ns"]) / NS) if one["reward_t_ns"] else "",
            ", ".join(one["arms"]),
            one["decision_id"],
        )
        for one in decisions
    ]
    columns = ("time", "group", "arm", "probability", "reward", "after", "of", "decision_id")
    right = ("probability", "reward", "after")
    table(console(), columns, lines, right=right, wide={"of": 24, "group": 20}, spare=("decision_id", "of", "after"))
