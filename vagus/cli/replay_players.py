"""`vagus replay --player`: simulated players on a trace of throughputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.output import console, emit_json
from vagus.cli.replay import player_setup, show
from vagus.cli.view_replay import players_document, print_players, quality_lines
from vagus.config import seconds
from vagus.errors import NoData

if TYPE_CHECKING:
    from vagus.controllers.decide.trace import Trace


def run_players(
    ctx: click.Context, traces: list[Trace], given: dict[str, Any], output: Path | None, as_json: bool
) -> None:
    """Plays, prints, draws."""
    from vagus.controllers.decide.choosing import chooser_of
    from vagus.controllers.decide.players import PlayerResult, play

    setup = player_setup(given)
    seeds = range(given["seed"], given["seed"] + given["seeds"])
    if given["live"]:
        from vagus.cli.replay_live import live_players

        results = [live_players(ctx, traces, setup, seeds)]
    else:
        results = []
        for policy in given["policies"]:
            options = {} if policy.startswith("static:") else given["options"]
            sessions = [
                session
                for trace in traces
                for seed in seeds
                for session in play(
                    trace,
                    chooser_of(policy, trace, options=options, tick_s=seconds(given["tick"]), seed=seed),
                    setup,
                    seed,
                )
            ]
            results.append(PlayerResult(policy, tuple(sessions)))
    if not results[0].sessions:
        raise NoData("no session began while the trace lasts; give a higher --rate, or --players")
    document = {"traces": [trace.name for trace in traces], **setup._asdict(), "seeds": len(seeds)}
    if as_json:
        emit_json(players_document(results, document))
    else:
        print_players(results, console())
    show(quality_lines(results), f"quality on {traces[0].name}", output, as_json)
