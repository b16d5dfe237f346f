"""Replays of policies on traces: tables, JSON, and the lines of their figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.output import cell, counted, quantity, table

if TYPE_CHECKING:
    from rich.console import Console

    from vagus.cli.figure import Line
    from vagus.controllers.decide.players import PlayerResult
    from vagus.controllers.decide.replay import ReplayResult

SECONDS = "seconds of the trace"
BINS = 40  # of a curve of quality


# --- regret ----------------------------------------------------------------------------------------------------------


def replay_document(results: Sequence[ReplayResult], setup: dict[str, Any]) -> dict[str, Any]:
    """All of it, for programs; curves are by tick, what was lost so far, mean of groups and seeds."""
    first = results[0]
    return {
        **setup,
        "sessions": sum(run.sessions for run in first.runs),
        "random": first.random,
        "static": first.static,
        "static_score": first.static_score,
        "oracle": first.oracle,
        "policies": [
            {
                "policy": result.policy,
                "mean": result.mean,
                "score": result.score,
                "scores": result.scores(),
                "regret": float(result.regret[-1]),
                "runs": [
                    {**run._asdict(), "score": run.score, "static_score": run.static_score} for run in result.runs
                ],
            }
            for result in results
        ],
        "curve": {
            "t_s": first.t_s.tolist(),
            "random": first.random_regret.tolist(),
            "static": first.static_regret.tolist(),
            **{result.policy: result.regret.tolist() for result in results},
        },
    }


def print_replay(results: Sequence[ReplayResult], to: Console) -> None:
    """A line for each policy and for what it is measured by."""
    first = results[0]
    arms = {run.static_arm for run in first.runs}
    best = f"best static arm ({arms.pop() if len(arms) == 1 else 'of each group'})"
    lines: list[tuple[Any, ...]] = [
        (cell(result.policy, "bold"), _score(result.score), quantity(result.mean), quantity(float(result.regret[-1])))
        for result in sorted(results, key=lambda result: -result.score)
    ]
    lines += [
        ("dynamic oracle", _score(1.0), quantity(first.oracle), "0"),
        (best, _score(first.static_score), quantity(first.static), quantity(float(first.static_regret[-1]))),
        ("random", _score(0.0), quantity(first.random), quantity(float(first.random_regret[-1]))),
    ]
    table(to, ("policy", "score", "mean reward", "regret"), lines, right=("score", "mean reward", "regret"))
    runs = first.runs
    sessions, groups = sum(run.sessions for run in runs), {(run.trace, run.group) for run in runs}
    seeds = len({run.seed for run in runs})
    text = f"{counted(sessions, 'session')} of {counted(len(groups), 'group')}, {counted(seeds, 'seed')}"
    click.echo(f"{text}; score: 0 as random choice, 1 as an oracle that knows each moment's best arm", err=True)


def _score(score: float) -> str:
    return f"{score:.3f}" if score == score else "–"


def regret_lines(results: Sequence[ReplayResult]) -> list[Line]:
    """What each policy lost to the oracle so far."""
    from vagus.cli.figure import Line

    first, unit = results[0], "regret"
    t_s = first.t_s.tolist()
    lines = [Line(result.policy, unit, t_s, result.regret.tolist()) for result in results]
    lines.append(Line("(random)", unit, t_s, first.random_regret.tolist()))
    lines.append(Line("(best static arm)", unit, t_s, first.static_regret.tolist()))
    return lines


# --- players ---------------------------------------------------------------------------------------------------------

_FIELDS = ("quality", "join_s", "stalled_s", "bitrate_mbps", "switches", "arms")


def players_document(results: Sequence[PlayerResult], setup: dict[str, Any]) -> dict[str, Any]:
    """All of it, for programs."""
    return {
        **setup,
        "policies": [
            {
                "policy": result.policy,
                "sessions": len(result.sessions),
                **{f"mean_{name}": result.mean(name) for name in _FIELDS},
                "rebuffering_ratio": result.rebuffering_ratio,
                "quality_percentiles": dict(zip(("p10", "p50", "p90"), _percentiles(result), strict=True)),
            }
            for result in results
        ],
    }


def _percentiles(result: PlayerResult) -> list[float]:
    import numpy as np

    found: list[float] = np.percentile([session.quality for session in result.sessions], [10, 50, 90]).tolist()
    return found


def print_players(results: Sequence[PlayerResult], to: Console) -> None:
    """A line for each policy, the best quality first."""
    lines = [
        (
            cell(result.policy, "bold"),
            quantity(result.quality),
            quantity(_percentiles(result)[0]),
            f"{result.mean('join_s'):.2f}",
            f"{result.rebuffering_ratio:.2%}",
            f"{result.mean('bitrate_mbps'):.2f}",
            f"{result.mean('switches'):.1f}",
            f"{result.mean('arms'):.1f}",
        )
        for result in sorted(results, key=lambda result: -result.quality)
    ]
    columns = ("policy", "quality", "10th pct.", "join s", "rebuffering", "Mbps", "switches", "arm changes")
    table(to, columns, lines, right=columns[1:], spare=("arm changes", "switches"), wide={"policy": 24})
    click.echo(
        f"{counted(len(results[0].sessions), 'session')}; quality: Mbps - changes - penalty x stalled seconds, per chunk",
        err=True,
    )


def quality_lines(results: Sequence[PlayerResult]) -> list[Line]:
    """Mean quality and bitrate of the sessions that began in each of 40 spans, by when they began."""
    import numpy as np

    from vagus.cli.figure import Line

    starts = [session.start_s for result in results for session in result.sessions]
    edges = np.linspace(min(starts), max(starts) + 1e-9, BINS + 1)
    lines = []
    for name, unit in (("quality", "quality, Mbps"), ("bitrate_mbps", "bitrate, Mbps")):
        for result in results:
            at = np.digitize([session.start_s for session in result.sessions], edges) - 1
            count = np.bincount(at, minlength=BINS)[:BINS]
            total = np.bincount(at, [getattr(session, name) for session in result.sessions], minlength=BINS)[:BINS]
            there = count > 0
            middle = (edges[:-1] + edges[1:])[there] / 2
            lines.append(Line(result.policy, unit, middle.tolist(), (total[there] / count[there]).tolist()))
    return lines
