"""Which lines a figure shows, and drawing them: in the terminal with plotext, as PNG with matplotlib."""

from __future__ import annotations

import io
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from vagus.cli.output import byte_size, cell
from vagus.errors import VagusError

if TYPE_CHECKING:
    from rich.console import Console

MOST_LINES = 12
MOST_PANELS = 4
MOST_POINTS = 1500  # of a line: more cannot be told apart on 1200 pixels
COLOURS = (12, 10, 9, 14, 13, 11, 6, 2, 5, 3, 4, 1)  # of the terminal, bright ones first
LETTERS = "abcdefghijkl"


@dataclass
class Line:
    """One series of a figure: seconds since the epoch (or what `across` says), values; NaN breaks the line."""

    name: str
    unit: str
    t_s: list[float]
    values: list[float]


@dataclass
class Choice:
    """The lines to draw, by unit: a panel each; what was left out."""

    panels: dict[str, list[Line]] = field(default_factory=dict)
    total: int = 0

    @property
    def lines(self) -> list[Line]:
        """All lines that are drawn."""
        return [line for panel in self.panels.values() for line in panel]

    @property
    def remark(self) -> str:
        """What a title must say when lines were left out."""
        shown = len(self.lines)
        return f" (the {shown} most varying of {self.total} series)" if shown < self.total else ""


def choose(lines: Sequence[Line]) -> Choice:
    """At most 12 lines in at most 4 panels of one unit each.

    Within a unit the lines with the largest standard deviation come first; the units take turns, those with most
    lines first, so that no unit crowds out the others. Lines that never change are left out where others do.
    """
    by_unit: dict[str, list[Line]] = {}
    moving = [line for line in lines if _spread(line) > 0] if len(lines) > MOST_LINES else []
    for line in moving or lines:
        by_unit.setdefault(line.unit, []).append(line)
    ranked = sorted(by_unit.items(), key=lambda item: (-len(item[1]), item[0]))[:MOST_PANELS]
    queues = {unit: sorted(group, key=lambda line: (-_spread(line), line.name)) for unit, group in ranked}
    choice = Choice({unit: [] for unit in queues}, len(lines))
    while len(choice.lines) < MOST_LINES and any(queues.values()):
        for unit, queue in queues.items():
            if queue and len(choice.lines) < MOST_LINES:
                choice.panels[unit].append(queue.pop(0))
    for panel in choice.panels.values():
        panel.sort(key=lambda line: line.name)
    return choice


def _spread(line: Line) -> float:
    known = [v for v in line.values if math.isfinite(v)]
    return statistics.pstdev(known) if len(known) > 1 else 0.0


def thin(line: Line, most: int = MOST_POINTS) -> Line:
    """The line with at most about `most` points: the lowest and the highest of each stretch, so that peaks stay."""
    count = len(line.values)
    if count <= most:
        return line
    step = math.ceil(2 * count / most)
    kept: list[int] = []
    for start in range(0, count, step):
        known = [i for i in range(start, min(start + step, count)) if math.isfinite(line.values[i])]
        if not known:
            kept.append(start)  # a gap stays one
            continue
        ends = {min(known, key=line.values.__getitem__), max(known, key=line.values.__getitem__)}
        kept += sorted(ends)
    return Line(line.name, line.unit, [line.t_s[i] for i in kept], [line.values[i] for i in kept])


def short_names(names: Sequence[str]) -> list[str]:
    """Names without the labels that all of them share."""
    parts = [
        (name.partition("{")[0], set(filter(None, name.partition("{")[2].rstrip("}").split('",')))) for name in names
    ]
    common = set.intersection(*(labels for _, labels in parts)) if len(parts) > 1 else set()
    shortened = []
    for name, (kind, labels) in zip(names, parts, strict=True):
        own = [
            text.rstrip('"') + '"' for text in name.partition("{")[2].rstrip("}").split('",') if text in labels - common
        ]
        shortened.append(kind + ("{" + ",".join(own) + "}" if own else ""))
    return shortened


def break_gaps(line: Line) -> Line:
    """The line with a NaN in each pause of more than five usual periods, so that an outage is not drawn over."""
    steps = [b - a for a, b in zip(line.t_s, line.t_s[1:], strict=False)]
    if len(steps) < 3:
        return line
    longest = 5 * statistics.median(steps)
    t_s, values = line.t_s[:1], line.values[:1]
    for step, t, value in zip(steps, line.t_s[1:], line.values[1:], strict=True):
        if step > longest:
            t_s.append(t - step / 2)
            values.append(math.nan)
        t_s.append(t)
        values.append(value)
    return Line(line.name, line.unit, t_s, values)


def axis_text(value: float, unit: str) -> str:
    """A number at an axis: bytes in binary steps, large counts with k, M, G."""
    if unit.startswith("bytes"):
        return byte_size(value)
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.4g}{letter}"
    return f"{value:.4g}"


def nice_ticks(low: float, high: float, unit: str = "", most: int = 6) -> list[float]:
    """At most about `most` round numbers between low and high: steps of 1, 2 or 5, for bytes powers of two."""
    if not high > low:
        return [low]
    raw = (high - low) / most
    if unit.startswith("bytes"):
        step = 2.0 ** round(math.log2(raw))
    else:
        decade = 10.0 ** math.floor(math.log10(raw))
        step = next(decade * m for m in (1, 2, 5, 10) if decade * m >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]


# --- PNG -------------------------------------------------------------------------------------------------------------


def draw_png(choice: Choice, title: str, across: str = "") -> bytes:
    """A PNG of 1200 x 600 pixels (taller with several panels): local times, units on the axes, a legend.

    across: what `t_s` of the lines is, where it is not seconds since the epoch.
    """
    import matplotlib as mpl
    from matplotlib import dates as untyped
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    dates: Any = untyped
    here = datetime.now().astimezone().tzinfo
    count = max(1, len(choice.panels))
    figure = Figure(figsize=(12, 6 if count == 1 else 1 + 3 * count), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title + choice.remark, fontsize=13, x=0.01, ha="left")
    palette = mpl.colormaps["tab20" if len(choice.lines) > 10 else "tab10"]
    axes = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    numbers: dict[str, int] = {}  # a name has one colour in all panels
    for axis, (unit, panel) in zip(axes, choice.panels.items(), strict=True):
        for line, name in zip(panel, short_names([line.name for line in panel]), strict=True):
            drawn, number = thin(break_gaps(line)), numbers.setdefault(line.name, len(numbers))
            days = drawn.t_s if across else [t / 86400 for t in drawn.t_s]  # matplotlib counts days since the epoch
            axis.plot(days, drawn.values, lw=1.4, color=palette(number), label=shorten(name, 60))
        axis.set_ylabel(unit or "count")
        low, high = axis.get_ylim()
        axis.set_yticks(nice_ticks(low, high, unit))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _, unit=unit: axis_text(value, unit)))
        axis.grid(color="#dddddd", lw=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.01)
        axis.legend(loc="upper left", bbox_to_anchor=(1.005, 1), frameon=False, fontsize=9, borderaxespad=0)
    if not across:
        locator = dates.AutoDateLocator(tz=here, maxticks=10)
        axes[-1].xaxis.set_major_locator(locator)
        axes[-1].xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=here, formats=_TIMES))
    axes[-1].set_xlabel(across or f"local time ({datetime.now().astimezone():%Z, UTC%z})")
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


_TIMES = ["%Y", "%b", "%d", "%H:%M", "%H:%M", "%H:%M:%S"]  # of years, months … seconds


def shorten(text: str, most: int) -> str:
    """Text of at most `most` characters, its middle left out."""
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[-(most - most // 2) :]}"


# --- terminal --------------------------------------------------------------------------------------------------------


def draw_terminal(choice: Choice, title: str, to: Console, across: str = "") -> None:
    """A plot for each unit, as wide as the terminal, with a legend below it that also says the newest values.

    Lines are told apart by colour on a terminal, by letters elsewhere. across: as of draw_png.
    """
    try:
        import plotext
    except ImportError as error:
        raise VagusError(f"plots in the terminal need plotext 6 or later ({error}); -o FILE.png does not") from error
    if not hasattr(plotext, "figure"):
        raise VagusError("plots in the terminal need plotext 6 or later; -o FILE.png does not")
    width, height = (min(to.width, 160), to.height) if to.is_terminal else (100, 30)
    rows = max(9, min(24, (height - 4) // max(1, len(choice.panels)) - 3))
    plotext.terminal.limit(False, False)
    to.print(cell(title + choice.remark, "bold"), soft_wrap=True)
    for unit, panel in choice.panels.items():
        figure = plotext.figure
        figure.clear()
        figure.theme("simple")
        figure.plot_size(width, rows)
        for index, line in enumerate(panel):
            marker = plotext.marker("braille", COLOURS[index]) if to.is_terminal else plotext.marker(LETTERS[index])
            for part in _pieces(thin(break_gaps(line), 4 * width)):
                signal = figure.signal([p[0] for p in part], [p[1] for p in part], marker=marker)
                figure.draw(signal.lines(len(part) > 1))
        figure.axes(to.is_terminal)
        _rulers(figure, panel, unit, across)
        text = figure.build().string(colorless=not to.is_terminal)
        to.print(cell(f"{unit or 'count'}", "dim"), soft_wrap=True)
        to.file.write(text.rstrip("\n") + "\n")
        _legend(panel, unit, to)


def _pieces(line: Line) -> list[list[tuple[float, float]]]:
    """The parts of a line between its gaps."""
    parts: list[list[tuple[float, float]]] = [[]]
    for t, value in zip(line.t_s, line.values, strict=True):
        if math.isfinite(value):
            parts[-1].append((t, value))
        elif parts[-1]:
            parts.append([])
    return [part for part in parts if part]


def _rulers(figure: Any, panel: list[Line], unit: str, across: str) -> None:
    times = [t for line in panel for t in (line.t_s[0], line.t_s[-1])]
    first, last = min(times), max(times)
    at = [first + (last - first) * i / 4 for i in range(5)] if last > first else [first]
    form = "%H:%M:%S" if last - first < 86400 else "%m-%d %H:%M"
    figure.ruler("x").lim(first, last if last > first else first + 1)  # its own choice goes wrong with large values
    texts = [axis_text(t, across) if across else time.strftime(form, time.localtime(t)) for t in at]
    figure.ruler("x").ticks(at, texts)
    known = [v for line in panel for v in line.values if math.isfinite(v)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if low == high:  # a flat line needs some room
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    figure.ruler("y").lim(low, high)
    marks = nice_ticks(low, high, unit, 5)
    figure.ruler("y").ticks(marks, [axis_text(mark, unit) for mark in marks])


def _legend(panel: list[Line], unit: str, to: Console) -> None:
    for index, (line, name) in enumerate(zip(panel, short_names([line.name for line in panel]), strict=True)):
        newest = next((v for v in reversed(line.values) if math.isfinite(v)), math.nan)
        mark, style = ("━━", f"color({COLOURS[index]})") if to.is_terminal else (LETTERS[index], "")
        to.print(cell(f"  {mark} ", style) + cell(f"{name}  ") + cell(axis_text(newest, unit), "dim"), soft_wrap=True)
