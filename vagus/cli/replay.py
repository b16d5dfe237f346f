"""`vagus replay`: policies on a trace, here or against the running service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.output import console, emit_json, json_option
from vagus.cli.session import Span, check_file, write_file
from vagus.config import seconds
from vagus.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vagus.cli.figure import Line
    from vagus.controllers.decide.choosing import Fixed
    from vagus.controllers.decide.players import PlayerSetup
    from vagus.controllers.decide.trace import LoggedTrace, Trace

MOST_SEEDS = 1000
MOST_POLICIES = 20


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path, readable=False))
@click.option("--policy", "policies", default="auto", show_default=True, metavar="NAME[,NAME...]")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Of the policies; may repeat.")
@click.option("--delay", type=Span(), default="2s", show_default=True, help="Until a reward is known.")
@click.option("--rate", type=float, default=10.0, show_default=True, help="Sessions per second in each group.")
@click.option("--noise", type=float, default=0.0, show_default=True, help="Standard deviation of rewards, their unit.")
@click.option("--tick", type=Span(), default="0.5s", show_default=True, help="How often weights are computed.")
@click.option("--seed", type=click.IntRange(0, 2**31), default=0, show_default=True)
@click.option("--seeds", type=click.IntRange(1, MOST_SEEDS), default=1, show_default=True, help="So many, from --seed.")
@click.option("--traces", is_flag=True, help="FILEs are `seconds Mbps` lines, each an arm, in bins of 1 s.")
@click.option("--arms", type=click.IntRange(2, 1000), help="Of --traces: so many FILEs in a row are one group.")
@click.option("--player", is_flag=True, help="Simulated players: rewards are throughputs in Mbps.")
@click.option("--players", type=click.IntRange(1, 100_000), help="So many players at a time, instead of --rate.")
@click.option("--chunks", type=click.IntRange(1, 100_000), default=15, show_default=True, help="Of a player's session.")
@click.option("--ladder", default="", metavar="MBPS,...", help="Bitrates.  [default: 0.3,0.75,1.2,1.85,2.85,4.3]")
@click.option("--live", is_flag=True, help="Against the running service, in real time, by HTTP.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, readable=False),
    help="Write a PNG to FILE instead of a plot here.",
)
@json_option
@click.pass_context
def replay(ctx: click.Context, /, files: tuple[Path, ...], output: Path | None, as_json: bool, **given: Any) -> None:
    """Replay policies on a trace: what they earn, beside random choice, the best single arm, and an oracle.

    FILE is CSV. With full information, what each arm was worth in a group from then on (larger is better; an empty
    cell: the arm cannot be chosen):

    \b
      t_s,group,cdn-a,cdn-b,cdn-c
      0,zurich,3.1,2.4,
      1,zurich,3.0,2.6,1.9

    Sessions arrive, a policy decides, rewards come late. Or logged, what was drawn and what came of it, with the
    probability that it was drawn by (`vagus decide log --csv` writes it): then a policy's reward is estimated, with
    an interval, the effective sample size, and warnings where the log cannot tell:

    \b
      t_s,group,arm,reward,propensity
      0.1,zurich,cdn-a,3.1,0.6

    --live asks the running service, in real time, instead of a policy here; the trace's group is sent as the feature
    `group`, by which the service should group (decide.group_by).

    \b
    Examples:
      vagus replay regret.csv --policy auto,ucb,uniform --seeds 10
      vagus replay regret.csv --policy auto --delay 5s --noise 0.1 -o regret.png
      vagus replay --traces bandwidth/norway* --arms 5 --policy auto,thompson --json | jq .policies[0].score
      vagus replay --traces a b c --player --policy auto,static:a,uniform -o quality.png
      vagus replay log.csv --policy auto,greedy,uniform,static
      vagus replay regret.csv --live --rate 20
    """
    if output is not None:
        if output.suffix.lower() != ".png":
            raise click.UsageError(f"{output}: only PNG is drawn; name it FILE.png.")
        check_file(output)
    named = tuple(dict.fromkeys(name.strip() for name in given["policies"].split(",") if name.strip()))
    if not 1 <= len(named) <= MOST_POLICIES:
        raise click.BadParameter(f"1 to {MOST_POLICIES} names, separated by commas", param_hint="--policy")
    given |= {"policies": named, "options": options_of(given["options"])}
    traces = read(files, given)
    if not isinstance(traces, list):
        from vagus.cli.replay_logged import run_logged

        if given["player"] or given["live"]:
            raise click.UsageError("--player and --live need what every arm was worth; this is a log.")
        run_logged(traces, given, output, as_json)
    elif given["player"] or given["players"]:
        from vagus.cli.replay_players import run_players

        run_players(ctx, traces, given, output, as_json)
    else:
        _regret(ctx, traces, given, output, as_json)


def options_of(pairs: Sequence[str]) -> dict[str, Any]:
    """Options of a policy: numbers, true and false among the values are taken as such. Raises BadParameter."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"{pair[:80]!r} is not NAME=VALUE", param_hint="--option")
        found[name] = {"true": True, "false": False}.get(text, text)
        for kind in (float, int):
            try:
                found[name] = kind(text)
            except ValueError:
                continue
    return found


def read(files: Sequence[Path], given: dict[str, Any]) -> list[Trace] | LoggedTrace:
    """The traces. Raises ConfigError."""
    from vagus.controllers.decide.throughput import read_throughputs
    from vagus.controllers.decide.trace import Trace, read_trace

    if given["traces"]:
        traces, left = read_throughputs(files, given["arms"] or 0)
        if left:
            click.echo(f"left out, too few for a group: {', '.join(path.name for path in left)}", err=True)
        return traces
    if given["arms"]:
        raise click.UsageError("--arms goes with --traces.")
    found = [read_trace(path) for path in files]
    full = [trace for trace in found if isinstance(trace, Trace)]
    if len(full) == len(found):
        return full
    if len(found) > 1:
        raise ConfigError("several files, and a log among them; give one log alone, or traces of all arms")
    (log,) = found
    assert not isinstance(log, Trace)
    return log


def _regret(ctx: click.Context, traces: list[Trace], given: dict[str, Any], output: Path | None, as_json: bool) -> None:
    from vagus.cli.view_replay import print_replay, regret_lines, replay_document
    from vagus.controllers.decide.replay import ReplayResult, Setup
    from vagus.controllers.decide.replay import replay as run

    numbers = {"delay_s": seconds(given["delay"]), "rate": given["rate"], "noise": given["noise"]}
    setup = Setup(**numbers, tick_s=seconds(given["tick"]))
    seeds = range(given["seed"], given["seed"] + given["seeds"])
    results: list[ReplayResult]
    if given["live"]:
        from vagus.cli.replay_live import live_replay

        results = [live_replay(ctx, traces, setup, seeds)]
    else:
        results = [
            run(traces, _decider(name, traces), options=given["options"], setup=setup, seeds=seeds)._replace(
                policy=name
            )
            for name in given["policies"]
        ]
    document = {"traces": [trace.name for trace in traces], **numbers, "tick_s": setup.tick_s, "seeds": len(seeds)}
    if as_json:
        emit_json(replay_document(results, document))
    else:
        print_replay(results, console())
    show(regret_lines(results), f"regret on {_titled(traces)}", output, as_json)


def _decider(policy: str, traces: Sequence[Trace]) -> str | Callable[[Any], Fixed]:
    """A name of BANDITS as it is; `static:ARM` as what decides so. Raises ConfigError where no trace has the arm."""
    from vagus.controllers.decide.choosing import Fixed

    if not policy.startswith("static:"):
        return policy
    arm, known = policy.partition(":")[2], {arm for trace in traces for arm in trace.arms}
    if arm not in known:
        raise ConfigError(f"{policy[:80]}: there is no such arm; there are: {', '.join(sorted(known))[:400]}")
    return lambda _: Fixed(arm)


def show(lines: list[Line], title: str, output: Path | None, as_json: bool) -> None:
    """A plot in the terminal, or a file."""
    from vagus.cli.figure import choose, draw_png, draw_terminal
    from vagus.cli.view_replay import SECONDS

    if output is not None:
        write_file(output, draw_png(choose(lines), title, SECONDS))
        click.echo(str(output), err=True)
    elif not as_json:
        draw_terminal(choose(lines), title, console(), SECONDS)


def _titled(traces: Sequence[Trace]) -> str:
    return traces[0].name + (f" and {len(traces) - 1} more" if len(traces) > 1 else "")


def player_setup(given: dict[str, Any]) -> PlayerSetup:
    """Of the options. Raises BadParameter, ConfigError."""
    from vagus.controllers.decide.players import LADDER_MBPS, PlayerSetup, check_setup

    ladder: tuple[float, ...] = LADDER_MBPS
    if given["ladder"]:
        try:
            ladder = tuple(float(cell) for cell in given["ladder"].split(","))
        except ValueError:
            raise click.BadParameter("bitrates in Mbps, separated by commas", param_hint="--ladder") from None
    setup = PlayerSetup(
        rate=given["rate"],
        players=given["players"] or 0,
        delay_s=seconds(given["delay"]),
        chunks=given["chunks"],
        ladder_mbps=ladder,
        penalty=max(ladder),
    )
    check_setup(setup)
    return setup
