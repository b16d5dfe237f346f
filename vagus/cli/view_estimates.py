"""What policies would have earned: as a table, as JSON, as a picture of intervals."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.output import cell, counted, quantity, table

if TYPE_CHECKING:
    from rich.console import Console

    from vagus.controllers.decide.logged import Judged, Rows
    from vagus.policies.offpolicy import Value


def estimates_document(rows: Rows, judged: Sequence[Judged], confidence: float) -> dict[str, Any]:
    """All of it, for programs."""
    log = rows.log
    return {
        "rows": len(log.reward),
        "groups": len(log.groups),
        "arms": list(log.arms),
        "mean_reward": float(log.reward.mean()),
        "propensities": "counted" if rows.counted else "logged",
        "confidence": confidence,
        "policies": [
            {
                "policy": each.policy,
                "ips": _value(each.estimate.ips),
                "snips": _value(each.estimate.snips),
                "dr": _value(each.estimate.dr),
                "used": each.estimate.used,
                "ess": each.estimate.ess,
                "support": each.estimate.support,
                "clipped": each.estimate.clipped,
                "learned": each.learned,
                "warnings": [{"code": w.code, "text": w.text} for w in each.estimate.warnings],
            }
            for each in judged
        ],
    }


def _value(value: Value) -> dict[str, float]:
    return {"estimate": value.estimate, "error": value.error, "low": value.low, "high": value.high}


def print_estimates(rows: Rows, judged: Sequence[Judged], confidence: float, to: Console) -> None:
    """A line for each policy, the best first; below, what speaks against an estimate, once."""
    lines = []
    for each in sorted(judged, key=lambda one: -one.estimate.best.estimate):
        estimate, best = each.estimate, each.estimate.best
        lines.append(
            (
                each.policy,
                quantity(best.estimate),
                f"{quantity(best.low)} to {quantity(best.high)}",
                quantity(estimate.ips.estimate),
                quantity(estimate.snips.estimate),
                f"{estimate.ess:.0f}",
                "" if each.learned is None else str(each.learned),
                cell(" ".join(w.code for w in estimate.warnings), "yellow"),
            )
        )
    columns = ("policy", "reward", f"{confidence:.0%} interval", "IPS", "SNIPS", "ESS", "learned", "warnings")
    right = ("reward", "IPS", "SNIPS", "ESS", "learned")
    table(to, columns, lines, right=right, wide={"warnings": 20, "policy": 24}, spare=("SNIPS", "IPS", "learned"))
    for text in dict.fromkeys(f"{w.code}: {each.policy}: {w.text}" for each in judged for w in each.estimate.warnings):
        to.print(cell(text, "yellow"), soft_wrap=True)
    log = rows.log
    click.echo(
        f"{counted(len(log.reward), 'rewarded decision')} of {counted(len(log.groups), 'group')}, "
        f"mean reward {quantity(float(log.reward.mean()))}; reward: doubly robust, where that can be told",
        err=True,
    )


def draw_estimates(judged: Sequence[Judged], title: str, confidence: float) -> bytes:
    """A PNG: each policy's estimate with its interval, the best on top; pale where a warning speaks against it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ordered = sorted(judged, key=lambda each: each.estimate.best.estimate)
    figure = Figure(figsize=(10, 1.5 + 0.4 * len(ordered)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for at, each in enumerate(ordered):
        best, colour = each.estimate.best, "#bbbbbb" if each.estimate.warnings else "#1f77b4"
        axis.plot([best.low, best.high], [at, at], color=colour, lw=2)
        axis.plot([best.estimate], [at], "o", color=colour)
    axis.set_yticks(range(len(ordered)), [each.policy for each in ordered])
    axis.set_xlabel(f"estimated mean reward, {confidence:.0%} interval; grey: see the warnings")
    axis.grid(axis="x", color="#dddddd", lw=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, x=0.01, ha="left")
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
