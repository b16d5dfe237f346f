"""A trace as a waterfall: a bar for each span over the time of the request, the critical path dark."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from vagus.cli.figure import shorten
from vagus.cli.output import cell
from vagus.cli.view_trace import branches, on_path, title_of, took

if TYPE_CHECKING:
    from rich.console import Console

    from vagus.gateway.traces import TraceView

MOST_ROWS = 150
NAME_WIDTH = 40
LEAST_WIDTH, MOST_WIDTH = 80, 160


def chosen(view: TraceView, most: int) -> list[int]:
    """The spans that are drawn, in order: those on the critical path first, then the longest, with all above them."""
    if len(view.spans) <= most:
        return list(range(len(view.spans)))
    held = on_path(view)
    ranked = sorted(range(len(view.spans)), key=lambda place: (place not in held, -view.spans[place].duration_ns))
    kept: set[int] = set()
    for place in ranked:
        above = []
        while place >= 0 and place not in kept:
            above.append(place)
            place = view.parents[place]
        if len(kept) + len(above) <= most:
            kept.update(above)
        if len(kept) >= most:
            break
    return sorted(kept)


def _between(view: TraceView) -> tuple[int, int]:
    """From the first begin to the last end of all spans."""
    return min(span.start_ns for span in view.spans), max(span.end_ns for span in view.spans)


def _left_out(view: TraceView, rows: list[int]) -> str:
    return f" ({len(rows)} of them drawn)" if len(rows) < len(view.spans) else ""


def _label(view: TraceView, branch: str, place: int, most: int) -> str:
    """A span's name behind its branch, in at most `most` characters; deep branches lose their beginning."""
    branch = branch[-most // 2 :]
    return branch + shorten(f"{view.spans[place].service} {view.spans[place].operation}", most - len(branch))


def draw_waterfall(view: TraceView, form: str, title: str = "") -> bytes:
    """A picture, 1200 pixels wide. form: png or svg."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    rows = chosen(view, MOST_ROWS)
    names = branches(view)
    begin_ns, end_ns = _between(view)
    scale, unit = next(
        (s, u) for s, u in ((10**9, "s"), (10**6, "ms"), (10**3, "µs"), (1, "ns")) if end_ns - begin_ns >= s or s == 1
    )
    figure = Figure(figsize=(12, 1.6 + 0.26 * len(rows)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(shorten((title or title_of(view)) + _left_out(view, rows), 110), fontsize=13, x=0.01, ha="left")
    axis = figure.subplots()
    lines = {place: line for line, place in enumerate(rows)}
    for place in rows:
        span = view.spans[place]
        colour = "#e0a0a0" if span.error else "#a9c4e4"
        width = max((span.end_ns - span.start_ns) / scale, (end_ns - begin_ns) / scale / 600)
        axis.barh(lines[place], width, left=(span.start_ns - begin_ns) / scale, height=0.7, color=colour)
        axis.text(
            (span.end_ns - begin_ns) / scale,
            lines[place],
            f" {took(span.duration_ns)}",
            va="center",
            fontsize=8,
            color="#555555",
        )
    for stretch in view.critical:
        if stretch.span in lines:
            dark = "#b02020" if view.spans[stretch.span].error else "#1f4e8c"
            left, width = (stretch.begin_ns - begin_ns) / scale, (stretch.end_ns - stretch.begin_ns) / scale
            width = max(width, (end_ns - begin_ns) / scale / 600)
            axis.barh(lines[stretch.span], width, left=left, height=0.7, color=dark)
    labels = [_label(view, names[place], place, 60) for place in rows]
    longest = max(map(len, labels))
    labels = [label + "\u00a0" * (longest - len(label)) for label in labels]  # so that they begin at one line
    axis.set_yticks(range(len(rows)), labels, fontsize=9, family="DejaVu Sans Mono")
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlim(0, max((end_ns - begin_ns) / scale * 1.1, 1e-9))
    axis.set_xlabel(f"{unit} since the first span began")
    axis.grid(axis="x", color="#dddddd", lw=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    key = [
        Patch(color="#1f4e8c", label="on the critical path"),
        Patch(color="#a9c4e4", label="waits for others, or is not waited for"),
    ]
    if any(span.error for span in view.spans):
        key.append(Patch(color="#b02020", label="failed"))
    axis.legend(
        handles=key,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=len(key),
        fontsize=8,
        frameon=False,
        borderaxespad=0,
    )
    out = io.BytesIO()
    figure.savefig(out, format=form, metadata={"Date": None} if form == "svg" else None)
    return out.getvalue()


def print_waterfall(view: TraceView, to: Console) -> None:
    """The same in the terminal: `█` on the critical path, `░` elsewhere."""
    from rich.text import Text

    width = max(LEAST_WIDTH, min(to.width, MOST_WIDTH)) if to.is_terminal else 100
    rows = chosen(view, MOST_ROWS)
    names = branches(view)
    begin_ns, end_ns = _between(view)
    bars = width - NAME_WIDTH - 12
    each = max(1, end_ns - begin_ns) / bars
    to.print(cell(title_of(view) + _left_out(view, rows), "bold"), soft_wrap=True)
    stretches: dict[int, list[tuple[int, int]]] = {}
    for stretch in view.critical:
        stretches.setdefault(stretch.span, []).append((stretch.begin_ns, stretch.end_ns))

    def columns(from_ns: int, to_ns: int) -> range:
        first = min(bars - 1, int((from_ns - begin_ns) / each))
        return range(first, min(bars, max(first + 1, round((to_ns - begin_ns) / each))))

    for place in rows:
        span = view.spans[place]
        drawn = [" "] * bars
        for at in columns(span.start_ns, span.end_ns):
            drawn[at] = "░"
        for from_ns, to_ns in stretches.get(place, ()):
            for at in columns(from_ns, to_ns):
                drawn[at] = "█"
        name = _label(view, names[place], place, NAME_WIDTH - 1).ljust(NAME_WIDTH)
        line = Text.assemble(
            cell(name, "red" if span.error else ""),
            cell("".join(drawn), "red" if span.error else "cyan"),
            cell(took(span.duration_ns).rjust(12)),
        )
        to.print(line, soft_wrap=True)
    to.print(cell("█ on the critical path  ░ waits for others, or is not waited for", "dim"), soft_wrap=True)
