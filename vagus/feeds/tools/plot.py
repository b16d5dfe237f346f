"""A PNG of chosen numbers over time, a line for each location, a panel for each field; rewritten, never larger."""

from __future__ import annotations

import io
from collections.abc import Iterable
from datetime import timezone
from typing import Annotated, Any

import msgspec

from vagus.clock import NS
from vagus.config import Duration, Settings
from vagus.errors import ConfigError
from vagus.feeds.contracts import Notice, ToolContext
from vagus.feeds.item import Item
from vagus.feeds.location import shown
from vagus.feeds.tools import checked
from vagus.feeds.tools.fields import Key, Numbers
from vagus.feeds.tools.files import replace
from vagus.feeds.tools.options import path_of, seconds_of
from vagus.feeds.tools.plot_lines import Line, Lines

MAX_PANELS = 8
LEGEND_LINE = 18  # pixels; where all names do not fit beside the plot, there are none
LEGEND_WIDTH = 600  # pixels of a plot that has room for them


class PlotOptions(Settings, frozen=True):
    """Options of `plot`."""

    file: str
    fields: tuple[str, ...] | dict[str, str] = ()  # numbers (expressions, or name: expression); empty: the first 8
    key: str = ""  # what lines are of: an expression; empty: the location
    title: str = ""  # empty: the feed's name
    span: Duration = "24h"  # how far back it shows
    every: Duration = "60s"  # how often it is drawn anew, if something came
    points: Annotated[int, msgspec.Meta(ge=10, le=10_000)] = 500  # of a line
    lines: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 100  # of all panels
    width: Annotated[int, msgspec.Meta(ge=200, le=4_000)] = 1200  # pixels
    height: Annotated[int, msgspec.Meta(ge=0, le=4_000)] = (
        0  # pixels, if that is enough for the panels; 0: as they want it
    )


class Plot:
    """`Plot(context, file="load.png", fields=["load1"])`; all options: PlotOptions. Raises ConfigError.

    matplotlib is imported when it first draws.
    """

    name = "plot"

    def __init__(self, context: ToolContext, **options: Any) -> None:
        self.options = given = checked(PlotOptions, options)
        self._path = path_of(context, given.file)
        if self._path.suffix.lower() != ".png":
            raise ConfigError(f"file: {given.file[:80]!r} is not NAME.png")
        self._numbers = Numbers(given.fields, context)
        if len(self._numbers.names) > MAX_PANELS:
            raise ConfigError(f"{len(self._numbers.names)} fields; a plot shows at most {MAX_PANELS}")
        self._key = Key(given.key, context)
        self._every_ns = round(seconds_of("every", given.every, 1.0) * NS)
        self._lines = Lines(given.lines, given.points, seconds_of("span", given.span, 1.0))
        self._panels: list[str] = list(self._numbers.names)
        self._title = given.title or context.feed
        self._fresh = False
        self._drawn_ns: int | None = None

    def take(self, item: Item[Any]) -> Iterable[Notice]:
        """Adds an item's numbers; a failed item is a gap."""
        key = self._key.of(item)
        if key is None:
            return ()
        found = self._numbers.of(item)
        if not self._numbers.names:
            self._panels += [name for name in found if name not in self._panels][: MAX_PANELS - len(self._panels)]
        if found:
            self._lines.add(key, ((name, found[name]) for name in self._panels if name in found), item.meta.due_ns)
        else:
            self._lines.gap(key, item.meta.due_ns)
        self._fresh = True
        return ()

    def tick(self, now_ns: int) -> Iterable[Notice]:
        """Draws when it is due and something came. Raises OSError."""
        if self._fresh and (self._drawn_ns is None or not 0 <= now_ns - self._drawn_ns < self._every_ns):
            self._draw(now_ns)
        return ()

    def finish(self, now_ns: int) -> Iterable[Notice]:
        """Draws what came since. Raises OSError."""
        if self._fresh:
            self._draw(now_ns)
        return ()

    def _draw(self, now_ns: int) -> None:
        self._drawn_ns = now_ns
        replace(self._path, self._png(self._lines.at(now_ns)))
        self._fresh = False

    def _png(self, lines: list[tuple[str, str, Line]]) -> bytes:
        import matplotlib as mpl
        from matplotlib import dates as untyped
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        dates: Any = untyped
        given, panels = self.options, self._panels or ["nothing yet"]
        height = max(given.height or 150 + 300 * len(panels), 100 + 120 * len(panels))
        figure = Figure(figsize=(given.width / 100, height / 100), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        more = f" (and {self._lines.left_out} more lines)" if self._lines.left_out else ""
        figure.suptitle(_plain(self._title + more), fontsize=12, x=0.01, ha="left")
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        keys = sorted({key for key, _, _ in lines})
        palette = mpl.colormaps["tab20" if len(keys) > 10 else "tab10"]
        for axis, panel in zip(axes, panels, strict=True):
            for key, field, line in lines:
                if field == panel:
                    days = [t_ns / NS / 86400 for t_ns in line.t_ns]  # matplotlib counts days since the epoch
                    colour = palette(keys.index(key) % palette.N)
                    alone = "." if sum(value == value for value in line.values) == 1 else ""
                    axis.plot(
                        days, line.values, lw=1.2, color=colour, marker=alone, label=_plain(shown(key, 50) or "?")
                    )
            axis.set_ylabel(_plain(panel[:40]))
            axis.grid(color="#dddddd", lw=0.6)
            axis.spines[["top", "right"]].set_visible(False)
        if 0 < len(keys) <= (height - 80) // LEGEND_LINE and given.width >= LEGEND_WIDTH and axes[0].lines:
            axes[0].legend(loc="upper left", bbox_to_anchor=(1.005, 1), frameon=False, fontsize=8, borderaxespad=0)
        locator = dates.AutoDateLocator(tz=timezone.utc, maxticks=10)
        axes[-1].xaxis.set_major_locator(locator)
        axes[-1].xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=timezone.utc))
        axes[-1].set_xlabel("UTC")
        out = io.BytesIO()
        figure.savefig(out, format="png")
        return out.getvalue()


def _plain(text: str) -> str:
    """Text that matplotlib takes for text: `$` begins no formula, an underscore at the start hides no label."""
    text = "".join(char if ord(char) < 0x2E80 and char.isprintable() else "?" for char in text)  # what its font has
    return ("\u200a" + text if text.startswith("_") else text).replace("$", r"\$")
