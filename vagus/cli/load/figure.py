"""A load as one picture: response time over time, successful requests per second, CDF of the response time."""

from __future__ import annotations

import io
import math
from typing import Any

from vagus.cli.figure import axis_text, nice_ticks
from vagus.cli.load import histogram
from vagus.cli.load.tally import KINDS, Tally, latency

_LINES = (("p50", "tab:blue"), ("p99", "tab:orange"), ("max", "tab:red"))


def draw(tally: Tally, rate: float, title: str) -> bytes:
    """A PNG. rate: requests that were due per second, decisions and outcomes; a line in the second panel."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(12, 10), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=13, x=0.01, ha="left")
    over_time, per_second, shares = figure.subplots(3, 1)
    seconds = sorted(tally.seconds.items())
    at = [t + 0.5 for t, _ in seconds]
    for name, colour in _LINES:
        values = [latency(second.us)[name] for _, second in seconds]
        over_time.plot(at, values, color=colour, lw=1.4, marker=".", label=name)
    over_time.set_ylabel("response time (ms)")
    over_time.set_xlabel("when the request was due (s)")
    _log(over_time, [v for _, s in seconds for v in (latency(s.us)["p50"], latency(s.us)["max"])])
    per_second.plot(at, [second.done for _, second in seconds], color="tab:green", lw=1.4, marker=".", label="answered")
    if tally.failures:
        per_second.plot(at, [s.failed for _, s in seconds], color="tab:red", lw=1.4, marker=".", label="failed")
    per_second.axhline(rate, color="#555555", lw=1, ls=":", label=f"due: {axis_text(rate, '')}/s")
    per_second.set_ylim(bottom=0)
    per_second.set_ylabel("successful requests (1/s)")
    per_second.set_xlabel("seconds")
    for kind in KINDS:
        points = list(histogram.cumulative(tally.kinds.get(kind, {}), tally.due.get(kind, 0)))
        if points:
            shares.step([us / 1000 for us, _ in points], [s for _, s in points], where="post", lw=1.4, label=kind)
    shares.set_xscale("log")
    shares.set_ylim(0, 1.01)
    shares.set_ylabel("share of all requests")
    shares.set_xlabel("response time (ms)")
    for scale in (over_time.yaxis, shares.xaxis):
        scale.set_major_formatter(FuncFormatter(lambda value, _: axis_text(value, "")))
    for axis in (over_time, per_second, shares):
        axis.grid(color="#dddddd", lw=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(loc="upper left", bbox_to_anchor=(1.005, 1), frameon=False, fontsize=9, borderaxespad=0)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def _log(axis: Any, values: list[float]) -> None:
    """A logarithmic axis where values differ much, else a linear one from 0 on."""
    known = [v for v in values if math.isfinite(v) and v > 0]
    if known and max(known) > 20 * min(known):
        axis.set_yscale("log")
    elif known:
        axis.set_ylim(0, 1.05 * max(known))
        axis.set_yticks(nice_ticks(0, 1.05 * max(known)))
