"""`vagus decide evaluate`: what other policies would have earned, by the log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.decide_log import MOST, fetch
from vagus.cli.output import console, counted, emit_json, json_option
from vagus.cli.replay import options_of
from vagus.cli.session import Moment, Span, check_file, connected, node_option, span_params, write_file
from vagus.cli.view_estimates import draw_estimates, estimates_document, print_estimates
from vagus.cli.view_status import warn_partial
from vagus.clock import NS
from vagus.config import seconds
from vagus.errors import ConfigError, NoData

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vagus.controllers.decide.logged import Rows


@click.command()
@click.option(
    *("--policy", "policies"), default="logged,auto,greedy,uniform,static", show_default=True, metavar="NAME[,NAME...]"
)
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Of learning policies; may repeat.")
@click.option("--group", default=None, metavar="GROUP", help="Only by this group's decisions.")
@click.option("--since", type=Span(), default="", metavar="DURATION", help="How far back.  [default: 24h]")
@click.option("--start", type=Moment(), default="", metavar="TIME", help="From then, instead of --since.")
@click.option("--end", type=Moment(), default="", metavar="TIME", help="Until then.  [default: now]")
@click.option("--limit", type=click.IntRange(1, MOST), default=100_000, show_default=True, help="The newest N.")
@click.option(
    "--file", type=click.Path(path_type=Path, readable=False), help="A log as `vagus decide log --csv` writes, instead."
)
@click.option("--delay", type=Span(), default="2s", show_default=True, help="Until a learning policy has a reward.")
@click.option("--tick", type=Span(), default="0.5s", show_default=True, help="How often it computes its weights.")
@click.option("--clip", type=click.FloatRange(0.0), default=0.0, help="The largest weight.  [default: none is clipped]")
@click.option("--confidence", type=click.FloatRange(0.5, 0.9999), default=0.95, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**31), default=0, show_default=True)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, readable=False), help="Also draw the intervals into a PNG."
)
@node_option
@json_option
@click.pass_context
def evaluate(ctx: click.Context, /, file: Path | None, output: Path | None, as_json: bool, **given: Any) -> None:
    """What another policy would have earned, estimated from the log of the present one, whose draws have known
    probabilities.

    \b
    Policies:
      logged       the one that wrote the log: a check, its estimate is the mean reward
      static:ARM   always that arm; `static`: each arm in turn
      uniform      every arm alike
      greedy       in each group the arm with the best mean; chosen on other rows than it is judged by
      auto, ucb …  a learning policy, replayed over the log: it learns from rows that it would have drawn itself

    `reward` is the doubly robust estimate: a model of rewards (means of group and arm, cross-fitted), corrected by
    what was observed, weighted by how much likelier the policy is to do it than the log was. IPS has the weights
    alone, SNIPS divides by their sum. ESS is how many rows the weighted ones are worth. What a warning is about
    cannot be told by this log: see the interval, or explore more.

    \b
    Examples:
      vagus decide evaluate
      vagus decide evaluate --policy auto,ucb,uniform,static:cdn-a --since 24h
      vagus decide evaluate --group zurich --policy greedy --json | jq .policies[0].dr
      vagus decide evaluate --file log.csv -o policies.png
    """
    from vagus.controllers.decide.logged import check_policies, judge, narrowed, rows_of
    from vagus.controllers.decide.trace import Trace, read_trace

    if output is not None:
        if output.suffix.lower() != ".png":
            raise click.UsageError(f"{output}: only PNG is drawn; name it FILE.png.")
        check_file(output)
    named = tuple(dict.fromkeys(name.strip() for name in given["policies"].split(",") if name.strip()))
    check_policies(named)
    answer: dict[str, Any] = {}
    if file is not None:
        trace = read_trace(file)
        if isinstance(trace, Trace):
            raise ConfigError(f"{file} says what every arm was worth: `vagus replay` replays it; a log is needed here")
        rows = rows_of(trace)
        rows = rows if given["group"] is None else narrowed(rows, given["group"])
    else:
        asked = {"group": given["group"], "node": given["node"]}
        asked |= span_params(given["since"], given["start"], given["end"], "24h")
        with connected(ctx) as connection:
            answer = fetch(connection, asked, given["limit"])
        rows = _rows(answer["decisions"], given["limit"])
    judged = judge(
        rows,
        named,
        options=options_of(given["options"]),
        delay_s=seconds(given["delay"]),
        tick_s=seconds(given["tick"]),
        clip=given["clip"],
        confidence=given["confidence"],
        seed=given["seed"],
    )
    if as_json:
        parts = {name: answer.get(name, empty) for name, empty in (("partial", False), ("missing", []))}
        emit_json({**estimates_document(rows, judged, given["confidence"]), **parts})
    else:
        to = console()
        warn_partial(answer, to)
        print_estimates(rows, judged, given["confidence"], to)
    if output is not None:
        write_file(output, draw_estimates(judged, "what policies would have earned", given["confidence"]))
        click.echo(str(output), err=True)


def _rows(decisions: Sequence[dict[str, Any]], limit: int) -> Rows:
    """Those that have a reward, oldest first. Raises NoData."""
    import numpy as np

    from vagus.controllers.decide.logged import Rows
    from vagus.policies.logs import log_of

    rewarded = [one for one in reversed(decisions) if one["reward"] is not None]
    if not rewarded:
        raise NoData(
            f"{counted(len(decisions), 'decision')} in that time, none with a reward yet; give a longer --since, "
            "and send rewards (`vagus update`)"
        )
    if len(decisions) == limit:
        click.echo(f"only the newest {limit} decisions are judged by; --limit takes more", err=True)
    log = log_of(
        [one["group"] for one in rewarded],
        [one["arm"] for one in rewarded],
        [one["reward"] for one in rewarded],
        [one["propensity"] for one in rewarded],
        [one["arms"] or [one["arm"]] for one in rewarded],
    )
    return Rows(log, np.array([one["t_ns"] for one in rewarded]) / NS)
