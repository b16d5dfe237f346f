"""The failover experiment as one picture: who answered, and how good the answers were."""

from __future__ import annotations

import io
import math

from vagus.cli.experiment.timeline import WINDOW_S, Timeline, score, served_share


def draw(timeline: Timeline, title: str) -> bytes:
    """A PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=13, x=0.01, ha="left")
    top, bottom = figure.subplots(2, 1, sharex=True)
    at = range(math.floor(timeline.end_s) + 1)
    served = [100 * served_share(timeline.part(t, t + 1)) for t in at]
    middle = [t + 0.5 for t in at]
    top.stackplot(
        middle, served, [100 - s for s in served], labels=("the service", "the default"), colors=("#9ecae1", "#fdae6b")
    )
    top.set_ylim(0, 105)
    top.set_ylabel("sessions answered by (%)")
    half = WINDOW_S // 2
    smooth = [score(timeline.part(t - half, t - half + WINDOW_S)) for t in at]
    bottom.plot(middle, smooth, color="tab:blue", lw=1.6, label=f"quality, mean of {WINDOW_S} s")
    bottom.axhline(1, color="tab:green", lw=1, ls=":", label="the best arm always")
    bottom.axhline(0, color="tab:red", lw=1, ls=":", label="an arm at random")
    bottom.set_ylim(-0.2, 1.1)
    bottom.set_ylabel("quality")
    bottom.set_xlabel("seconds")
    for axis in (top, bottom):
        for what, start_s in timeline.phases[1:]:
            axis.axvline(start_s, color="#333333", lw=1)
            if axis is top:
                axis.text(start_s, 105, f" {what}", fontsize=9, va="bottom", ha="left")
        axis.grid(color="#dddddd", lw=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.01)
        axis.legend(loc="upper left", bbox_to_anchor=(1.005, 1), frameon=False, fontsize=9, borderaxespad=0)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
