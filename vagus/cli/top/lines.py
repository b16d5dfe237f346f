"""Lines of text for a terminal: cells of a width, small curves, folded text. Pure."""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from vagus.cli.lazy import one_line
from vagus.cli.output import STATUS_STYLE, quantity

if TYPE_CHECKING:
    Block = list[Text]
    """What belongs together: it is shown or filtered as one."""

LEVELS = "▁▂▃▄▅▆▇█"
MAX_FOLDED = 3  # lines of a long text
PLAIN = str.maketrans("▁▂▃▄▅▆▇█·…–→─", "_.-:=+*#..->-")
"""For terminals without these characters."""


def text(value: object, style: str = "") -> Text:
    """Text in a style, without control characters; ends where it is not to be shown."""
    return Text(one_line(str(value)), style=style, no_wrap=True, end="")


def status(word: str) -> Text:
    """A status word in its colour."""
    return text(word, STATUS_STYLE.get(word, ""))


def cut(line: Text, width: int) -> Text:
    """At most so wide, with … where something is left off."""
    if cell_len(line.plain) > width:
        line = line.copy()
        line.truncate(max(0, width), overflow="ellipsis" if width > 1 else "crop")
    return line


def fit(value: Text | str, width: int, right: bool = False) -> Text:
    """Exactly so wide."""
    made = cut(text(value) if isinstance(value, str) else value, width).copy()
    blank = " " * max(0, width - cell_len(made.plain))
    return Text.assemble(blank, made) if right else Text.assemble(made, blank)


def row(*parts: Text | str) -> Text:
    """Parts with two blanks between them; what is empty is left out."""
    shown = [text(part) if isinstance(part, str) else part for part in parts]
    return Text("  ").join(part for part in shown if part.plain)


def folded(value: object, width: int, indent: int, style: str = "", most: int = MAX_FOLDED) -> list[Text]:
    """Free text over a few lines, behind an indent."""
    room = max(8, width - indent)
    found = textwrap.wrap(one_line(str(value)), room, max_lines=most, placeholder=" …")
    return [text(" " * indent + line, style) for line in found]


def widest(values: Iterable[str], most: int, least: int = 1) -> int:
    """A column's width: of its longest value, within bounds."""
    return max(least, min(most, max((cell_len(one_line(value)) for value in values), default=0)))


def curve(values: Sequence[float | None], width: int, top: float, bottom: float = 0.0) -> str:
    """The last values as blocks of eight heights from `bottom` to `top`, blank where there is none."""
    span = top - bottom
    marks = []
    for value in values[-width:] if width > 0 else ():
        if value is None or not math.isfinite(value):
            marks.append(" ")
        else:
            share = (value - bottom) / span if span > 0 else 0.0
            marks.append(LEVELS[max(0, min(len(LEVELS) - 1, int(share * len(LEVELS))))])
    return "".join(marks).rjust(max(0, width))


def amount(value: float | None, unit: str) -> str:
    """A number for people: per cent of a ratio, bytes in binary steps; a dash when unknown."""
    if value is None or not math.isfinite(value):
        return "–"
    if unit == "ratio":
        return f"{100 * value:.0f} %"
    return quantity(value, unit) if unit.startswith("bytes") else quantity(float(f"{value:.3g}"))


def clock(t_ms: int) -> str:
    """The time of day, local; a dash when never."""
    if not 0 < t_ms < 1 << 47:
        return "–"
    return time.strftime("%H:%M:%S", time.localtime(t_ms // 1000))
