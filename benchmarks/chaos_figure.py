"""A run of `benchmarks.chaos` as one picture: who was away when, who said so, which limits held, what was acknowledged."""

from __future__ import annotations

import io
import math
from collections import Counter
from typing import Any

from benchmarks.chaos_judge import Changes, Death
from benchmarks.chaos_run import Shown
from benchmarks.chaos_schedule import ACTOR

COLOURS = {"away": "#d62728", "starting": "#ff9f1c", "limit": "#1f77b4"}
STEP_S = 1.0


def draw(shown: Shown) -> bytes:
    """A PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = len(shown.nodes)
    figure = Figure(figsize=(14, 3.5 + 0.45 * rows), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    killed = sum(not death.problem for death in shown.deaths)
    figure.suptitle(f"{killed} kills among {rows} nodes, seed {shown.seed}", fontsize=13, x=0.01, ha="left")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[rows, 3])
    for place, node in enumerate(shown.nodes):
        for death in shown.deaths:
            if death.kill.node == node and not death.problem:
                _draw_death(top, place, death)
        for changes in shown.limits:
            if changes.node == node:
                _draw_limit(top, place, changes)
    top.set_yticks(range(rows), shown.nodes)
    top.set_ylim(rows - 0.4, -0.6)
    top.set_title("red: killed, orange: until all its actors are back, blue: its limit holds, v: first verdict DEAD",
                  fontsize=9, loc="left")  # fmt: skip
    at, counts = per_second(shown.acknowledged)
    bottom.step(at, counts, where="post", color="#2ca02c", lw=1.2)
    bottom.set_ylabel("acknowledged a second")
    bottom.set_xlabel("seconds")
    bottom.set_ylim(0, None)
    for axis in (top, bottom):
        axis.grid(color="#dddddd", lw=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.01)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def per_second(acknowledged: list[tuple[float, int]]) -> tuple[list[float], list[int]]:
    """How many in each second from the first to the last, those without any too."""
    counts: Counter[int] = Counter()
    for t_s, count in acknowledged:
        counts[math.floor(t_s / STEP_S)] += count
    if not counts:
        return [], []
    span = range(min(counts), max(counts) + 1)
    return [step * STEP_S for step in span], [counts[step] for step in span]


def _draw_death(axis: Any, place: int, death: Death) -> None:
    end_s = death.killed_s + 1.0 if death.back_s is None else death.back_s
    if death.kill.kind == ACTOR:
        axis.barh(place, end_s - death.killed_s, left=death.killed_s, height=0.35, color=COLOURS["starting"])
        axis.plot([death.killed_s], [place], marker="x", color="#333333", ms=6)
        axis.text(death.killed_s, place - 0.3, death.kill.role, fontsize=7, va="bottom")
        return
    joined_s = end_s if death.joined_s is None else death.joined_s
    axis.barh(place, joined_s - death.killed_s, left=death.killed_s, height=0.6, color=COLOURS["away"])
    axis.barh(place, end_s - joined_s, left=joined_s, height=0.6, color=COLOURS["starting"])
    axis.text(death.killed_s, place - 0.35, death.kill.kind, fontsize=8, va="bottom", weight="bold")
    if death.dead_s:
        axis.plot([min(death.dead_s.values())], [place], marker="v", color="#000000", ms=6)


def _draw_limit(axis: Any, place: int, changes: Changes) -> None:
    ends = [*changes.t_s[1:], changes.last_s]
    for start_s, end_s, value in zip(changes.t_s, ends, changes.values, strict=True):
        if value != changes.original:
            axis.barh(place + 0.38, end_s - start_s, left=start_s, height=0.12, color=COLOURS["limit"])
